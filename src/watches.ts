/**
 * What `wait` and the asynchronous calls stand on besides words: descriptors that the event loop watches, and how an
 * object that is no descriptor takes part.
 *
 * A file by itself, because queues need it and connections, which are loaded late, do.
 */

import { onNewIdentity } from './at_fork.js';
import { native } from './native.js';
import type { Watch } from '#native';

/**
 * Watches of this process. One that is not armed does not hold its owner. A child inherits the descriptors of its
 * parent's watches, and lets go of them at once: it waits for nothing that its parent waited for.
 */
const watches = new Set<Watch>();

onNewIdentity(() => {
  for (const watch of watches) watch.close();
  watches.clear();
});

/** @throws Error EMFILE, ENFILE, ENOSPC: no room to watch. */
export function newWatch(fd?: number): Watch {
  const watch = new native.Watch(fd);
  watches.add(watch);
  return watch;
}

export function endWatch(watch: Watch): void {
  watches.delete(watch);
  watch.close();
}

/**
 * How an object that is no descriptor takes part in `wait`: its method of this name answers a Waitable.
 * `Symbol.for`, so that two copies of the package understand each other.
 */
export const waitable: unique symbol = Symbol.for('node-multiprocessing.waitable');

/**
 * An object's side of one `wait`, which asks `ready()` first, and, when nothing is ready, calls `arm()`, asks
 * again, and sleeps until `fd` is readable; after each wake-up it does the same, and at the end, `disarm()`.
 */
export interface Waitable {
  /** Whether the object is ready at this moment. */
  ready(): boolean;
  /** Readable when, since the last `arm()`, the object may have become ready. */
  readonly fd: number;
  /** Has `fd` tell of what happens from now on, and of nothing that happened before. */
  arm(): void;
  disarm(): void;
}
