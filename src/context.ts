/**
 * Contexts: the whole of `multiprocessing`, bound to one start method.
 *
 * The counterpart of CPython's `context.py`. The module itself is the default context, whose method can be
 * set once; `getContext('fork')` answers one whose classes use that method whatever the default is.
 */

import { wrongType } from './arguments.js';
import { sleep } from './clock.js';
import { cpuCount } from './cpu.js';
import { ERROR_CLASSES, RuntimeError, ValueError } from './errors.js';
import { forkProblem, nodeProblem } from './fork.js';
import { lazyPart } from './lazy_builtin.js';
import { Pipe } from './pipe.js';
import type * as ForkServer from './forkserver.js';
import { launch as launchByFork } from './popen/fork.js';
import { launch as launchByServer } from './popen/forkserver.js';
import { launch as launchBySpawn } from './popen/spawn.js';
import type * as PoolPart from './pool.js';
import type { PoolConstructor, PoolContext } from './pool.js';
import type * as Spawn from './spawn.js';
import {
  activeChildren,
  BaseProcess,
  currentProcess,
  onStartMethod,
  parentProcess,
  type Popen,
} from './process.js';

import { reduction } from './reduction.js';
import { JoinableQueue, Queue, SimpleQueue } from './queues.js';
import { Array as SharedArray, RawArray, RawValue, Value } from './sharedctypes.js';
import {
  Barrier,
  BoundedSemaphore,
  Condition,
  Event,
  Lock,
  RLock,
  Semaphore,
} from './synchronize.js';

export type StartMethod = 'fork' | 'spawn' | 'forkserver';

/** The class behind the top level's `Process`: it starts by the method that is the default then. */
export class Process extends BaseProcess {
  override _Popen(): Popen {
    return LAUNCHERS[defaultContext.getStartMethod() as StartMethod](this);
  }
}

/** `getContext('fork').Process`. */
export class ForkProcess extends BaseProcess {
  static override readonly startMethod = 'fork';
  override _Popen(): Popen {
    return launchByFork(this);
  }
}

/** `getContext('spawn').Process`. */
export class SpawnProcess extends BaseProcess {
  static override readonly startMethod = 'spawn';
  override _Popen(): Popen {
    return launchBySpawn(this, getStartMethod());
  }
}

/** `getContext('forkserver').Process`. */
export class ForkServerProcess extends BaseProcess {
  static override readonly startMethod = 'forkserver';
  override _Popen(): Popen {
    return launchByServer(this, getStartMethod());
  }
}

// What a child that is not forked from its parent finds its own class by.
for (const Class of [Process, ForkProcess, SpawnProcess, ForkServerProcess]) {
  reduction.register(`multiprocessing.${Class.name}`, Class);
}

const LAUNCHERS: Record<StartMethod, (child: BaseProcess) => Popen> = {
  fork: launchByFork,
  spawn: (child) => launchBySpawn(child, 'spawn'),
  forkserver: (child) => launchByServer(child, 'forkserver'),
};

const DEFAULT_METHOD: StartMethod = process.platform === 'linux' ? 'fork' : 'spawn';

/** Looking whether this process can be forked takes milliseconds: only who wants to know pays for it. */
function isAvailable(method: string): method is StartMethod {
  if (method === 'fork') return forkProblem() === null;
  // The server forks on a main thread of its own.
  if (method === 'forkserver') return nodeProblem() === null;
  return method === 'spawn';
}

/** The start methods that work here, the default first. */
function available(): StartMethod[] {
  const others = ['fork', 'spawn', 'forkserver'].filter((method) => method !== DEFAULT_METHOD);
  return [DEFAULT_METHOD, ...others].filter(isAvailable);
}

function quotedList(names: readonly string[]): string {
  return names.length === 0 ? 'none' : names.map((name) => `'${name}'`).join(', ');
}

/** Start methods whose processes have, when they start, all that this process has. */
const COPYING: readonly string[] = ['fork'];

/** What says by which start method processes are made: a context, or what a program has in its place. */
interface Maker {
  Process: { readonly startMethod?: string | null };
  getStartMethod?: (() => string | null) | undefined;
}

/** Whether the processes of a context have, when they start, all that this process has. */
export function startsCopies({ Process: { startMethod }, getStartMethod: ask }: Maker): boolean {
  return COPYING.includes(startMethod ?? ask?.() ?? getStartMethod()!);
}

/**
 * A Pool class bound to a context. It stands for the one in pool/, which is loaded with the first pool: an import need
 * not pay for it.
 */
function poolOf(of: () => Pick<Context, 'Process' | 'getStartMethod'>): PoolConstructor {
  function Pool(...given: unknown[]): object {
    if (new.target === undefined) {
      throw new TypeError("Class constructor Pool cannot be invoked without 'new'");
    }
    const { Pool: Real } = lazyPart<typeof PoolPart>('pool');
    Object.setPrototypeOf(Pool.prototype, Real.prototype);
    const maker = of();
    const context: PoolContext = { Process: maker.Process, areCopies: startsCopies(maker) };
    return Reflect.construct(Real, [context, given], new.target) as object;
  }
  return Pool as unknown as PoolConstructor;
}

/** What every context offers. */
const shared = {
  ...ERROR_CLASSES,
  currentProcess,
  parentProcess,
  activeChildren,
  cpuCount,
  sleep,
  Lock,
  RLock,
  Semaphore,
  BoundedSemaphore,
  Condition,
  Event,
  Barrier,
  Pipe,
  Queue,
  SimpleQueue,
  JoinableQueue,
  Value,
  Array: SharedArray,
  RawValue,
  RawArray,
  reduction,
  /** The start methods that this platform has. Mirrors `multiprocessing.get_all_start_methods`. */
  getAllStartMethods(): StartMethod[] {
    return available();
  },
  /** The node that children run which are not forked. Mirrors `multiprocessing.set_executable`. */
  setExecutable(executable: string | null): void {
    lazyPart<typeof Spawn>('spawn').setExecutable(executable);
  },
  /** See forkserver.ts. */
  setForkserverPreload: ((names) => {
    lazyPart<typeof ForkServer>('forkserver').setForkserverPreload(names);
  }) as typeof ForkServer.setForkserverPreload,
  /** For programs frozen to one executable on Windows; does nothing here. */
  freezeSupport(): void {},
};

/** A context bound to one start method, as `getContext` answers it. */
export type Context = typeof shared & {
  Process: typeof BaseProcess;
  Pool: PoolConstructor;
  getContext(method?: string | null): Context;
  getStartMethod(allowNone?: boolean): string | null;
  setStartMethod(method: string | null, force?: boolean): void;
};

function concrete(method: StartMethod, ProcessClass: typeof BaseProcess): Context {
  const context: Context = {
    ...shared,
    Process: ProcessClass,
    Pool: poolOf(() => context),
    getContext: (other) => (other === undefined || other === null ? context : getContext(other)),
    getStartMethod: () => method,
    setStartMethod() {
      throw new ValueError('cannot set start method of concrete context');
    },
  };
  return context;
}

const CONTEXTS: Partial<Record<string, Context>> = {
  fork: concrete('fork', ForkProcess),
  spawn: concrete('spawn', SpawnProcess),
  forkserver: concrete('forkserver', ForkServerProcess),
};

let actual: Context | StartMethod | null = null;

// Unchecked: whether this process can be forked is asked when it is to be.
onStartMethod((method) => {
  actual = CONTEXTS[method] ?? null;
});

/**
 * The context of a start method, or, without an argument, the default one, which is thereby settled.
 * Mirrors `multiprocessing.get_context`.
 *
 * @throws ValueError no such method here; the message names those there are.
 */
export function getContext(method?: string | null): Context {
  if (method === undefined || method === null) {
    actual ??= CONTEXTS[DEFAULT_METHOD] ?? DEFAULT_METHOD;
    return typeof actual === 'string' ? defaultContext : actual;
  }
  const context = isAvailable(method) ? CONTEXTS[method] : undefined;
  if (context === undefined) {
    let reason = method === 'fork' ? forkProblem() : null;
    if (method === 'forkserver') reason = nodeProblem();
    throw new ValueError(
      `cannot find context for '${method}'; available here: ${quotedList(available())}` +
        (reason === null ? '' : ` (${reason})`),
    );
  }
  return context;
}

/**
 * Settles the start method of the top level, once per program.
 *
 * @param method null with `force` makes it open again.
 * @throws RuntimeError it is settled already and `force` is not given. ValueError no such method here.
 */
export function setStartMethod(method: string | null, force = false): void {
  if (method === undefined) throw wrongType('method', 'a string or null', method);
  if (actual !== null && !force) throw new RuntimeError('context has already been set');
  if (method === null && force) {
    actual = null;
    return;
  }
  actual = getContext(method);
}

/**
 * The start method of the top level. Asking settles it, unless `allowNone` is given: then the answer is
 * null as long as it is open.
 */
export function getStartMethod(allowNone = false): string | null {
  if (actual === null && allowNone) return null;
  const context = actual ?? getContext();
  return typeof context === 'string' || context === defaultContext
    ? DEFAULT_METHOD
    : context.getStartMethod();
}

/** The top level: its start method can be set once. */
export const defaultContext: Context = {
  ...shared,
  Process,
  Pool: poolOf(() => getContext()),
  getContext,
  getStartMethod,
  setStartMethod,
};
