/**
 * What outlives a process that forgets it: names of shared memory that somebody has to unlink.
 *
 * The counterpart of CPython's `resource_tracker.py`. Whoever makes a block registers its name, and unregisters
 * it when it unlinks it. When the process ends by itself (nothing left to do, `process.exit`, an uncaught
 * error), and in a forked child on its way out, what is still registered is unlinked, with CPython's warning on
 * stderr. It is the last thing that happens: children have been joined, listeners for 'exit' have run.
 *
 * Each process answers for what it has made itself. A forked child inherits the list and does not touch what is
 * its parent's. A name that has been unlinked elsewhere, or means another block by now, is left alone: a block
 * is known by its identity, not by its name. Each Worker has a list of its own, and an end of its own.
 *
 * When a process is killed by a signal, nothing here runs and the name stays, until a reboot at the latest.
 */

import { native } from './native.js';
import { atVeryEnd } from './util.js';

/** The kinds of resources, by CPython's names. */
export type ResourceType = 'shared_memory';

/** By name, with a slash: which block it was. */
let registered = new Map<string, BigUint64Array>();
/** The process whose list it is. */
let owner: number | undefined;

/** @param identity as the addon filled it in when the block was made. */
export function register(name: string, _type: ResourceType, identity: BigUint64Array): void {
  own();
  registered.set(name, identity);
}

/** Does nothing when the name is not registered by this process. */
export function unregister(name: string, _type: ResourceType): void {
  if (registered.size > 0) registered.delete(name);
}

/** Begins a list of this process's own. */
function own(): void {
  const self = native.getpid();
  if (owner === self) return;
  owner = self;
  registered = new Map();
}

/** At once: the first block may be made by a listener for 'exit'. */
atVeryEnd(cleanUp);

function cleanUp(): void {
  if (owner !== native.getpid() || registered.size === 0) return;
  const leaked: string[] = [];
  const problems: string[] = [];
  for (const [name, identity] of registered) {
    try {
      if (native.sharedUnlink(name, identity)) leaked.push(name);
    } catch (error) {
      problems.push(`'${name}': ${(error as Error).message}`);
    }
  }
  registered.clear();
  if (leaked.length > 0) {
    warn(
      `There appear to be ${leaked.length} leaked shared_memory objects to clean up at shutdown: ` +
        `{${leaked.map((name) => `'${name}'`).join(', ')}}`,
    );
  }
  for (const problem of problems) warn(problem);
}

/** As node prints a warning; by itself it would do so in a turn that does not come any more. */
function warn(message: string): void {
  const text = `(node:${native.getpid()}) UserWarning: resource_tracker: ${message}\n`;
  try {
    native.writeAllSync(2, Buffer.from(text));
  } catch {
    // Nobody reads stderr.
  }
}
