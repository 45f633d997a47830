/**
 * What a process does when it ends. About its children: daemons are terminated, the others joined. Then, when
 * everybody else is done, what `atVeryEnd` was given.
 *
 * The counterpart of `_exit_function` in CPython's `multiprocessing/util.py`. It runs at the end of every
 * process that has started children, main or child, also after an uncaught error; where SIGINT or SIGTERM
 * ends the process without JavaScript, native/core/at_death.cc does the same.
 */

import { compiledBeforeFork, isRehearsal, onLeave } from './at_fork.js';
import { osConstants } from './lazy_builtin.js';
import { native } from './native.js';
import { activeChildren } from './process.js';

const steps: (() => void)[] = [];

/**
 * Registers what a process does at its end for children that do not end by themselves, before the others are joined.
 * A forked child inherits it.
 */
export function beforeChildrenEnd(step: () => void): void {
  steps.push(step);
}

/** Terminates the daemons, then waits for every child. */
export function endChildren(): void {
  if (isRehearsal()) return;
  for (const step of steps) step();
  for (const child of activeChildren()) {
    if (child.daemon) child._popen?.signal(osConstants().signals.SIGTERM);
  }
  for (const child of activeChildren()) child.join();
}

compiledBeforeFork(endChildren);

const beginnings: (() => void)[] = [];

/** Registers what a process does before it starts a child, each time: what the child is to inherit. */
export function beforeChildren(step: () => void): void {
  beginnings.push(step);
}

/** The process that has arranged for its end; a forked one inherits the number and arranges anew. */
let arranged: number | undefined;

/** Before each child; arranges for the end of this process at its first one. */
export function arrangeEnd(): void {
  for (const step of beginnings) step();
  const self = native.getpid();
  if (arranged !== self) {
    arranged = self;
    process.removeListener('exit', endChildren);
    process.on('exit', endChildren);
  }
  // A listener of the program decides for itself; it may also have been there and gone since.
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    if (process.listenerCount(signal) === 0) native.handleDeathBy(osConstants().signals[signal]);
  }
}

const endings: (() => void)[] = [];

/**
 * Registers what a process does last, whichever way it ends by itself: its children have ended, and every
 * listener for 'exit' has run, also those that were added later. A forked child inherits it. To be called when a
 * module is loaded: once 'exit' is being emitted, it is too late for the end of an empty event loop.
 */
export function atVeryEnd(ending: () => void): void {
  endings.push(ending);
  if (endings.length === 1) installEnd();
}

type Emit = (this: unknown, event: string | symbol, ...args: unknown[]) => boolean;

/**
 * The natural end, process.exit() and an uncaught error emit 'exit'; a listener that calls process.exit() goes
 * straight on to reallyExit(). A forked child leaves by a way of its own.
 */
function installEnd(): void {
  onLeave(runEndings);
  const self = native.getpid();
  const end = (): void => {
    if (native.getpid() === self) runEndings();
  };
  const target = process as unknown as {
    emit: Emit;
    reallyExit(code: number): never;
    _exiting?: boolean;
  };
  const { emit, reallyExit } = target;
  let depth = 0;
  Object.assign(target, {
    emit(this: unknown, event: string | symbol, ...args: unknown[]): boolean {
      if (event !== 'exit') return Reflect.apply(emit, this, [event, ...args]);
      depth++;
      try {
        return Reflect.apply(emit, this, [event, ...args]);
      } finally {
        depth--;
        // A program may emit it by hand, at any time.
        if (depth === 0 && target._exiting !== false) end();
      }
    },
    reallyExit(code: number): never {
      end();
      return reallyExit.call(process, code);
    },
  });
}

function runEndings(): void {
  for (const ending of endings) ending();
}
