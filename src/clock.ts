/**
 * Seconds, as users give them, turned into the milliseconds that native calls take; and sleeping.
 *
 * The rule for every timeout of the package: seconds, fractions allowed; undefined and null are for
 * ever, 0 or less does not wait. What is not a number is a TypeError, NaN a ValueError, as in
 * Python.
 *
 * Anyone above the native layer may import this file.
 */

import { checkAbortSignal, wrongType } from './arguments.js';
import { ValueError } from './errors.js';
import { onNewIdentity } from './at_fork.js';
import { native } from './native.js';

function checkSeconds(value: unknown, name: string): number {
  if (typeof value !== 'number') throw wrongType(name, 'a number of seconds', value);
  if (Number.isNaN(value)) throw new ValueError(`${name}: invalid value NaN (not a number)`);
  return value;
}

/**
 * A timeout for a native call: milliseconds, -1 for ever, 0 when it must not wait.
 *
 * @param timeout in seconds; undefined and null (Python's None) are for ever, as is Infinity.
 */
export function timeoutMs(timeout: number | null | undefined, name = 'timeout'): number {
  if (timeout === undefined || timeout === null) return -1;
  const seconds = checkSeconds(timeout, name);
  if (seconds === Infinity) return -1;
  return Math.max(0, seconds * 1000);
}

/** The time that a call with Python's `block, timeout` may wait, as `timeoutMs` answers. */
export function patience(block: boolean, timeout: number | null | undefined): number {
  // Options in the wrong place would be lost in silence.
  if (typeof block === 'object' && block !== null) throw wrongType('block', 'a boolean', block);
  const milliseconds = timeoutMs(timeout);
  return block ? milliseconds : 0;
}

/** When that is over, by `performance.now()`; Infinity: never. */
export function endAfter(milliseconds: number): number {
  return milliseconds < 0 ? Infinity : performance.now() + milliseconds;
}

/** What is left until then, as `timeoutMs` answers: -1 for ever, 0 when the time is up. */
export function leftUntil(end: number): number {
  return end === Infinity ? -1 : Math.max(0, end - performance.now());
}

/**
 * Blocks the calling thread for `seconds` (fractions allowed), by a clock that no change of the
 * time of day moves, and whatever signals arrive. Without a SIGINT listener Ctrl-C ends the process
 * as usual. Mirrors `time.sleep`.
 *
 * @throws TypeError not a number. ValueError negative or NaN. RangeError infinite.
 */
export function sleep(seconds: number): void {
  checkSeconds(seconds, 'seconds');
  if (seconds < 0) throw new ValueError('sleep length must be non-negative');
  if (seconds === Infinity) throw new RangeError('sleep length must be finite');
  waitInSlices(seconds * 1000, (milliseconds) => {
    native.sleepMs(milliseconds);
    return false;
  });
}

/** A Worker is ended between two lines of its JavaScript: there no call may block for longer than this. */
const SLICE_MS = native.isMainThread() ? Infinity : 250;

/** Whether this thread must wait in slices. */
export const waitsInSlices = SLICE_MS !== Infinity;

/** Pools with unfinished tasks must be looked after so often while the thread is blocked. */
const SERVICE_MS = 20;
const services = new Set<() => void>();

/** Has `service` called now and then while a call blocks. Answers how to stop. */
export function onBlocking(service: () => void): () => void {
  services.add(service);
  return () => services.delete(service);
}

/** Has the services called, but for the one that blocks in slices of its own. Answers whether there are any. */
export function serveOthers(own?: () => void): boolean {
  let others = false;
  for (const service of services) {
    if (service === own) continue;
    others = true;
    service();
  }
  return others;
}

// What a parent looks after is not its child's business.
onNewIdentity(() => services.clear());

/**
 * Calls a blocking `wait`, which answers whether what it waited for has come, until it has or the time is up.
 * On the main thread, with no pool at work, that is one call.
 *
 * @param milliseconds negative: without a limit.
 */
export function waitInSlices(
  milliseconds: number,
  wait: (milliseconds: number) => boolean,
): boolean {
  if (!waitsInSlices && (services.size === 0 || milliseconds === 0)) return wait(milliseconds);
  const end = endAfter(milliseconds);
  for (;;) {
    const left = end - performance.now();
    const slice = services.size > 0 ? SERVICE_MS : SLICE_MS;
    if (wait(Math.max(0, Math.min(left, slice)))) return true;
    if (left <= slice) return false;
    serveOthers();
  }
}

/** The longest delay that setTimeout takes: beyond 24.8 days it would fire at once. */
const LONGEST_TIMER_MS = 0x7fff_ffff;

/**
 * Waits on the event loop for `begin` to call back, for the time to be up, or for an abort.
 *
 * @param milliseconds as `timeoutMs` answers.
 * @param begin starts the wait and answers how to give it up.
 * @returns whether it was called back, false when the time is up.
 * @throws the signal's reason, when it aborts.
 */
export function abortable(
  milliseconds: number,
  givenSignal: AbortSignal | null | undefined,
  begin: (done: () => void) => () => void,
): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const signal = checkAbortSignal(givenSignal);
    signal?.throwIfAborted();
    let timer: NodeJS.Timeout | undefined;
    let cancel = (): void => {};
    let over = false;
    const finish = (): boolean => {
      if (over) return false;
      over = true;
      clearTimeout(timer);
      signal?.removeEventListener('abort', abort);
      cancel();
      return true;
    };
    const abort = (): void => {
      if (finish()) reject(signal!.reason as Error);
    };
    signal?.addEventListener('abort', abort, { once: true });
    if (milliseconds >= 0) {
      const deadline = performance.now() + milliseconds;
      const wait = (): void => {
        const left = deadline - performance.now();
        if (left <= 0) {
          if (finish()) resolve(false);
          return;
        }
        timer = setTimeout(wait, Math.min(Math.ceil(left), LONGEST_TIMER_MS));
      };
      wait();
    }
    try {
      cancel = begin(() => {
        if (finish()) resolve(true);
      });
    } catch (error) {
      if (finish()) reject(error as Error);
    }
    if (over) cancel();
  });
}
