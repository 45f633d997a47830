/**
 * What a start method does not have, case by case, and why: everything else that is promised is promised of each.
 */

type Reasons = Record<string, string>;

const NAMELESS = 'what has no name does not travel';
const MEMORY = 'no fork has memory as it was at the call';
const INHERITED = 'a child does not inherit it';
const OUTPUT = 'children write where their server does';

/** Cases by fixture, of processes that begin afresh. */
const OF_FRESH: Record<string, Reasons> = {
  'pool/functions.mjs': {
    'module-level functions, closures, methods, bound ones, built-in ones': NAMELESS,
    'a new function sees memory as of the call, and what changes later is not seen': MEMORY,
    'equal arrows over different values are different': NAMELESS,
    'variables that change, in arrows that look the same': NAMELESS,
    'functions, classes and instances inside of results': NAMELESS,
    'a pool cannot be sent, and belongs to who made it': INHERITED,
    'what is left of functions': NAMELESS,
    'a worker of long ago takes nothing from its successors': MEMORY,
    'timers of a worker that leaves others their tasks go on': MEMORY,
  },
  'pool/resources.mjs': {
    'no room for a process': 'workers start with the pool, see fresh/pool.mjs',
    'memory of functions that were used once': NAMELESS,
  },
  'concurrent/process_pool.mjs': {
    'it belongs to the process that made it': INHERITED,
  },
  'process/attributes.mjs': {
    'repr in every state': 'a Process travels to its own child alone',
    'a child may not join, start or test what another process created':
      'a Process travels to its own child alone',
  },
  'process/lifecycle.mjs': {
    'a bound function is a target': 'bound functions do not travel, as docs/channels.md says',
    'exit codes are those of node': 'fresh/process.mjs has them by name',
    'a subclass has private members': 'what is private does not travel',
    'descriptors are inherited': 'descriptors are inherited only as named',
  },
  'queues/resources.mjs': {
    'a thousand queues at once': 'a message has room for 253 descriptors',
  },
  'reduction/references.mjs': {
    'what was registered before the fork is known on both sides':
      'a child knows what its modules register',
  },
  'synchronize/tasks.mjs': {
    'what waits when a child is forked waits in the parent only':
      'nothing of the parent waits there',
  },
};

/** Cases by fixture, of processes whose parent by the system is a server. */
const OF_SERVED: Record<string, Reasons> = {
  'concurrent/process_pool.mjs': { 'an initializer that fails': OUTPUT },
  'concurrent/shutdown.mjs': { 'a child that ends with an executor of its own': OUTPUT },
  'process/lifecycle.mjs': {
    'a child that somebody else has reaped has 255 and a warning': 'only the server can reap it',
  },
};

/** @throws Error a title that the fixture does not have. */
export function differencesOf(
  method: string,
  fixture: string,
  titles: readonly string[],
): Map<string, string> {
  const reasons = {
    ...(method !== 'fork' && OF_FRESH[fixture]),
    ...(method === 'forkserver' && OF_SERVED[fixture]),
  };
  const unknown = Object.keys(reasons).filter((title) => !titles.includes(title));
  if (unknown.length > 0) throw new Error(`${fixture} has no such cases: ${unknown.join(', ')}`);
  return new Map(Object.entries(reasons));
}
