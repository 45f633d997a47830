/**
 * What a process does about its children when it ends: daemons are terminated, the others joined.
 *
 * The counterpart of `_exit_function` in CPython's `multiprocessing/util.py`. It runs at the end of every
 * process that has started children, main or child, also after an uncaught error; where SIGINT or SIGTERM
 * ends the process without JavaScript, native/core/at_death.cc does the same.
 */

import { constants } from 'node:os';
import { compiledBeforeFork, isRehearsal } from './fork_child.js';
import { native } from './native.js';
import { activeChildren } from './process.js';

/** Terminates the daemons, then waits for every child. */
export function endChildren(): void {
  if (isRehearsal()) return;
  for (const child of activeChildren()) {
    if (child.daemon) child._popen?.signal(constants.signals.SIGTERM);
  }
  for (const child of activeChildren()) child.join();
}

compiledBeforeFork(endChildren);

/** The process that has arranged for its end; a forked one inherits the number and arranges anew. */
let arranged: number | undefined;

/** Once per process, at its first child. */
export function arrangeEnd(): void {
  const self = native.getpid();
  if (arranged !== self) {
    arranged = self;
    process.removeListener('exit', endChildren);
    process.on('exit', endChildren);
  }
  // A listener of the program decides for itself; it may also have been there and gone since.
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    if (process.listenerCount(signal) === 0) native.handleDeathBy(constants.signals[signal]);
  }
}
