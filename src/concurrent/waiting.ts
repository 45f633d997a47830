/**
 * `wait` and `asCompleted`: waiting for several futures, of one executor or of several.
 *
 * Nobody looks through all futures again and again: each one tells when it is done.
 */

import { inspect } from 'node:util';
import { checkOptions } from '../arguments.js';
import { abortable, endAfter, leftUntil, timeoutMs } from '../clock.js';
import { TimeoutError, ValueError } from '../errors.js';
import type { AsyncOptions } from '../process.js';
import { Future, waitFor } from './future.js';

export const FIRST_COMPLETED = 'FIRST_COMPLETED';
export const FIRST_EXCEPTION = 'FIRST_EXCEPTION';
export const ALL_COMPLETED = 'ALL_COMPLETED';

export type ReturnWhen = typeof FIRST_COMPLETED | typeof FIRST_EXCEPTION | typeof ALL_COMPLETED;

export interface WaitOptions {
  /** Seconds; undefined and null wait for ever. */
  timeout?: number | null | undefined;
  /** ALL_COMPLETED by default. */
  returnWhen?: ReturnWhen | undefined;
}

/** Mirrors `concurrent.futures.DoneAndNotDoneFutures`. */
export interface DoneAndNotDone<F> {
  /** Those that were cancelled or have an outcome. */
  done: Set<F>;
  notDone: Set<F>;
}

/** Each of them once, and up to date. */
function distinct<F extends Future>(fs: Iterable<F>): Set<F> {
  if (typeof (fs as Partial<Iterable<F>> | null)?.[Symbol.iterator] !== 'function') {
    throw new TypeError(`fs must be an iterable of futures, not ${inspect(fs, { depth: 0 })}`);
  }
  const futures = new Set<F>();
  for (const future of fs) {
    if (!(future instanceof Future)) {
      throw new TypeError(`fs must be futures, not ${inspect(future, { depth: 0 })}`);
    }
    futures.add(future);
  }
  const sources = new Set([...futures].map((future) => future._source));
  for (const source of sources) source?.service();
  return futures;
}

/** Tells when enough of them are done. */
class Watch<F extends Future> {
  readonly #futures: Set<F>;
  readonly #pending: F[];
  readonly #stops: (() => void)[] = [];
  readonly #returnWhen: ReturnWhen;
  #left: number;
  /** What is waited for has happened. */
  met: boolean;
  onMet: () => void = () => {};

  constructor(fs: Iterable<F>, returnWhen: ReturnWhen) {
    if (![FIRST_COMPLETED, FIRST_EXCEPTION, ALL_COMPLETED].includes(returnWhen)) {
      throw new ValueError(`Invalid return condition: ${inspect(returnWhen)}`);
    }
    this.#returnWhen = returnWhen;
    this.#futures = distinct(fs);
    const all = [...this.#futures];
    this.#pending = all.filter((future) => !future._isDone);
    this.#left = this.#pending.length;
    const done = all.filter((future) => future._isDone);
    this.met = this.#left === 0 || done.some((future) => this.#isEnough(future));
    if (this.met) return;
    const look = (future: Future): void => {
      this.#left--;
      if (this.met || (this.#left > 0 && !this.#isEnough(future))) return;
      this.met = true;
      this.onMet();
    };
    for (const future of this.#pending) this.#stops.push(future._watch(look));
  }

  get pending(): readonly F[] {
    return this.#pending;
  }

  #isEnough(future: Future): boolean {
    if (this.#returnWhen === FIRST_COMPLETED) return true;
    return this.#returnWhen === FIRST_EXCEPTION && future._hasFailed;
  }

  end(): DoneAndNotDone<F> {
    for (const stop of this.#stops) stop();
    const done = new Set<F>();
    const notDone = new Set<F>();
    for (const future of this.#futures) (future._isDone ? done : notDone).add(future);
    return { done, notDone };
  }
}

const USAGE = 'wait(fs, { timeout, returnWhen })';

function checkWaitOptions(options: unknown): void {
  checkOptions(options, 'wait', USAGE, ['timeout', 'returnWhen']);
}

/**
 * Waits until all futures are done, or what `returnWhen` says: the first one, or the first that has failed. Mirrors
 * `concurrent.futures.wait`.
 *
 * @throws ValueError no such condition. TypeError something else than futures.
 */
export function wait<F extends Future>(
  fs: Iterable<F>,
  options: WaitOptions = {},
): DoneAndNotDone<F> {
  checkWaitOptions(options);
  const { timeout, returnWhen = ALL_COMPLETED } = options;
  const milliseconds = timeoutMs(timeout);
  const watch = new Watch(fs, returnWhen);
  try {
    if (!watch.met) {
      waitFor(
        () => watch.pending,
        () => watch.met,
        milliseconds,
      );
    }
  } catch (error) {
    watch.end();
    throw error;
  }
  return watch.end();
}

/** As `wait`, without blocking the event loop. @throws the signal's reason. */
export async function waitAsync<F extends Future>(
  fs: Iterable<F>,
  options: WaitOptions & AsyncOptions = {},
): Promise<DoneAndNotDone<F>> {
  const { signal, ...rest } = options;
  checkWaitOptions(rest);
  const { timeout, returnWhen = ALL_COMPLETED } = rest;
  const milliseconds = timeoutMs(timeout);
  signal?.throwIfAborted();
  const watch = new Watch(fs, returnWhen);
  try {
    if (!watch.met) {
      await abortable(milliseconds, signal, (done) => {
        watch.onMet = done;
        return () => (watch.onMet = () => {});
      });
    }
  } catch (error) {
    watch.end();
    throw error;
  }
  return watch.end();
}

/** What `asCompleted` answers. */
class Completed<F extends Future> implements IterableIterator<F> {
  readonly #pending = new Map<F, () => void>();
  #done: (F | undefined)[] = [];
  #first = 0;
  readonly #total: number;
  readonly #end: number;
  readonly #wake = new Set<() => void>();

  constructor(fs: Iterable<F>, timeout: number | null | undefined) {
    this.#end = endAfter(timeoutMs(timeout));
    const futures = distinct(fs);
    this.#total = futures.size;
    for (const future of futures) {
      if (future._isDone) this.#done.push(future);
      else
        this.#pending.set(
          future,
          future._watch(() => this.#completed(future)),
        );
    }
  }

  #completed(future: F): void {
    this.#pending.delete(future);
    this.#done.push(future);
    for (const wake of this.#wake) wake();
  }

  get #isThere(): boolean {
    return this.#first < this.#done.length || this.#pending.size === 0;
  }

  /** Undefined: there is none yet. */
  #take(): IteratorResult<F> | undefined {
    if (this.#first < this.#done.length) {
      const value = this.#done[this.#first]!;
      // What was given is not kept.
      this.#done[this.#first++] = undefined;
      if (this.#first === this.#done.length) {
        this.#done = [];
        this.#first = 0;
      }
      return { done: false, value };
    }
    return this.#pending.size === 0 ? { done: true, value: undefined } : undefined;
  }

  #takeInTime(): IteratorResult<F> {
    const taken = this.#take();
    if (taken !== undefined) return taken;
    const text = `${this.#pending.size} (of ${this.#total}) futures unfinished`;
    this.return();
    throw new TimeoutError(text);
  }

  /** Blocks. @throws TimeoutError */
  next(): IteratorResult<F> {
    const taken = this.#take();
    if (taken !== undefined) return taken;
    waitFor(
      () => this.#pending.keys(),
      () => this.#isThere,
      leftUntil(this.#end),
    );
    return this.#takeInTime();
  }

  async #nextAsync(): Promise<IteratorResult<F>> {
    const taken = this.#take();
    if (taken !== undefined) return taken;
    await abortable(leftUntil(this.#end), undefined, (done) => {
      const look = (): void => {
        if (this.#isThere) done();
      };
      this.#wake.add(look);
      return () => this.#wake.delete(look);
    });
    return this.#takeInTime();
  }

  /** The loop is left: nobody need tell. */
  return(): IteratorResult<F> {
    for (const stop of this.#pending.values()) stop();
    this.#pending.clear();
    this.#done = [];
    this.#first = 0;
    for (const wake of this.#wake) wake();
    return { done: true, value: undefined };
  }

  [Symbol.iterator](): this {
    return this;
  }

  [Symbol.asyncIterator](): AsyncIterableIterator<F> {
    const iterator: AsyncIterableIterator<F> = {
      next: () => this.#nextAsync(),
      return: async () => this.return(),
      [Symbol.asyncIterator]: () => iterator,
    };
    return iterator;
  }
}

/** Iterates both ways: `for` blocks, `for await` does not. */
export type BothWays<T> = IterableIterator<T> & {
  [Symbol.asyncIterator](): AsyncIterableIterator<T>;
};

/**
 * The futures as they are done, each once; those that are done already come first. Iterate it with `for` (which blocks) or
 * with `for await`. Mirrors `concurrent.futures.as_completed`.
 *
 * @param timeout seconds from this call on; undefined and null wait for ever. Beyond it the iteration throws a TimeoutError.
 */
export function asCompleted<F extends Future>(
  fs: Iterable<F>,
  timeout?: number | null,
): BothWays<F> {
  return new Completed(fs, timeout);
}
