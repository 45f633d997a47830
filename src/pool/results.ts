/**
 * What the calls of a pool answer: `AsyncResult` and the iterators of `imap`. The counterparts of `ApplyResult`,
 * `MapResult`, `IMapIterator` and `IMapUnorderedIterator` in CPython's `pool.py`.
 *
 * A result is settled by the parent's engine, in the order: value, callback, whoever waits. Nothing here needs a turn
 * of the event loop but what says so (`Async`, `then`).
 */

import { inspect } from 'node:util';
import { checkAbortSignal } from '../arguments.js';
import { abortable, timeoutMs } from '../clock.js';
import { RuntimeError, StopIteration, TimeoutError, ValueError } from '../errors.js';
import { Fifo } from '../fifo.js';
import type { AsyncOptions } from '../process.js';
import { Line } from '../waiting.js';
import type { Engine, Job } from './engine.js';
import type { Progress } from './progress.js';
import { EACH } from './protocol.js';
import type { Callable } from './worker.js';

export interface JobOptions<T> {
  /** Called with the result, in the parent, before anybody who waits goes on. */
  callback?: ((value: T) => unknown) | null | undefined;
  /** Called with the error. */
  errorCallback?: ((error: unknown) => unknown) | null | undefined;
  /** Seconds for each task; of `map` and its like for each item. Beyond it the worker is killed: TimeoutError. */
  timeout?: number | null | undefined;
  /** Calls the tasks off, whether they wait or run. */
  signal?: AbortSignal | null | undefined;
}

export interface JobSetup<T> extends JobOptions<T> {
  fn: Callable;
  mode: number;
  progress?: Progress | undefined;
  /** Whoever has asked for it blocks until it is there. */
  urgent?: boolean;
}

/** What is thrown by the program's own callback is an uncaught error, and nobody's result. */
function call(callback: ((value: never) => unknown) | null | undefined, value: unknown): void {
  if (callback === null || callback === undefined) return;
  try {
    callback(value as never);
  } catch (error) {
    process.nextTick(() => {
      throw error;
    });
  }
}

/** A limit in milliseconds; undefined: none. */
function limitOf(timeout: number | null | undefined): number | undefined {
  const milliseconds = timeoutMs(timeout);
  return milliseconds < 0 ? undefined : milliseconds;
}

interface Listening {
  actions: Set<(reason: unknown) => void>;
  abort: () => void;
}

/** A signal has one listener of ours, however many jobs it may call off. */
const listenings = new WeakMap<AbortSignal, Listening>();

/** Answers how to stop. */
function onAbort(signal: AbortSignal, action: (reason: unknown) => void): () => void {
  let listening = listenings.get(signal);
  if (listening === undefined) {
    const all = new Set<(reason: unknown) => void>();
    listening = {
      actions: all,
      abort() {
        for (const each of all) each(signal.reason);
      },
    };
    listenings.set(signal, listening);
  }
  const { actions, abort } = listening;
  if (actions.size === 0) signal.addEventListener('abort', abort, { once: true });
  actions.add(action);
  return () => {
    if (actions.delete(action) && actions.size === 0) signal.removeEventListener('abort', abort);
  };
}

/** What all jobs have. */
abstract class BaseJob<T> {
  readonly fn: Callable;
  readonly flags: number;
  readonly limit: number | undefined;
  readonly canBeOff: boolean;
  readonly urgent: boolean;
  protected readonly engine: Engine;
  protected readonly options: Omit<JobSetup<T>, 'fn' | 'mode'>;
  readonly #stopListening: (() => void) | undefined;

  constructor(engine: Engine, { fn, mode, ...options }: JobSetup<T>, flags = 0) {
    this.engine = engine;
    this.fn = fn;
    this.flags = mode | flags;
    this.limit = limitOf(options.timeout);
    this.options = options;
    this.urgent = options.urgent ?? false;
    const signal = checkAbortSignal(options.signal);
    this.canBeOff = signal !== undefined;
    engine.checkUsable();
    if (signal !== undefined) this.#stopListening = onAbort(signal, (why) => this.aborted(why));
  }

  protected abstract aborted(reason: unknown): void;

  /** Nobody need listen for an abort any more. */
  protected settled(): void {
    this.options.progress?.stop();
    this.#stopListening?.();
  }
}

/**
 * A result that will be there. Mirrors `multiprocessing.pool.AsyncResult`; `await` it, too.
 */
export abstract class AsyncResult<T> extends BaseJob<T> implements PromiseLike<T>, Job {
  #state: 'pending' | 'done' | 'failed' = 'pending';
  #value: unknown;
  #isSettling = false;
  readonly #waiting = new Set<() => void>();

  get finished(): boolean {
    return this.#state !== 'pending';
  }

  /** @internal */ abstract nextTask(): unknown[] | undefined;
  /** @internal */ abstract get fed(): boolean;
  /** @internal */ abstract succeed(index: number, value: unknown): void;
  /** @internal */ abstract fail(index: number, error: unknown): void;

  /** @internal */
  abandon(error: unknown): void {
    this.reject(error);
  }

  protected resolve(value: T): void {
    this.#settle('done', value, this.options.callback);
  }

  protected reject(error: unknown): void {
    this.#settle('failed', error, this.options.errorCallback);
  }

  /** A result without a callback: Python gives none to an empty map. */
  protected resolveSilently(value: T): void {
    this.#settle('done', value, undefined);
  }

  #settle(
    state: 'done' | 'failed',
    value: unknown,
    callback: ((value: never) => unknown) | null | undefined,
  ): void {
    // The callback may end the pool, or abort what it is called for.
    if (this.finished || this.#isSettling) return;
    this.#isSettling = true;
    // Whoever asks in the callback learns that it is not settled before the callback has returned.
    this.#value = value;
    this.settled();
    call(callback, value);
    this.#state = state;
    for (const wake of this.#waiting) wake();
    this.#waiting.clear();
  }

  protected override aborted(reason: unknown): void {
    if (this.finished) return;
    this.reject(reason);
    this.engine.callOff(this);
  }

  #outcome(): T {
    if (this.#state === 'failed') throw this.#value;
    return this.#value as T;
  }

  /**
   * Waits for the result.
   *
   * @param timeout seconds; undefined and null wait for ever.
   * @throws TimeoutError not there in time. What the function threw. WorkerLostError its worker was killed.
   */
  get(timeout?: number | null): T {
    this.wait(timeout);
    if (!this.finished) throw new TimeoutError('the result is not there yet');
    return this.#outcome();
  }

  /** Waits until the result is there, or the time is up. */
  wait(timeout?: number | null): void {
    const milliseconds = timeoutMs(timeout);
    if (this.finished) return;
    if (this.#isSettling) {
      throw new RuntimeError('a callback cannot wait for the result that it is called with');
    }
    this.engine.waitUntil(() => this.finished, milliseconds);
  }

  /** Whether the result, or an error, is there. */
  ready(): boolean {
    if (!this.finished) {
      this.engine.checkOwner();
      this.engine.service();
    }
    return this.finished;
  }

  /** Whether there is a result and no error. @throws ValueError not ready. */
  successful(): boolean {
    if (!this.ready()) throw new ValueError(`${this.toString()} not ready`);
    return this.#state === 'done';
  }

  /** As `get`, without blocking the event loop. @throws the signal's reason. */
  async getAsync(timeout?: number | null, options: AsyncOptions = {}): Promise<T> {
    await this.waitAsync(timeout, options);
    if (!this.finished) throw new TimeoutError('the result is not there yet');
    return this.#outcome();
  }

  /** As `wait`, without blocking the event loop. @throws the signal's reason. */
  async waitAsync(timeout?: number | null, { signal }: AsyncOptions = {}): Promise<void> {
    const milliseconds = timeoutMs(timeout);
    signal?.throwIfAborted();
    if (this.finished) return;
    this.engine.checkOwner();
    await abortable(milliseconds, signal, (done) => {
      this.#waiting.add(done);
      return () => this.#waiting.delete(done);
    });
  }

  // oxlint-disable-next-line unicorn/no-thenable -- an AsyncResult is awaitable
  then<R = T, E = never>(
    onFulfilled?: ((value: T) => R | PromiseLike<R>) | null,
    onRejected?: ((reason: unknown) => E | PromiseLike<E>) | null,
  ): Promise<R | E> {
    return this.getAsync().then(onFulfilled, onRejected);
  }

  override toString(): string {
    return `<${this.constructor.name}>`;
  }

  [inspect.custom](): string {
    return this.toString();
  }
}

/** Of `applyAsync`. */
export class ApplyResult<T> extends AsyncResult<T> {
  #items: unknown[] | undefined;

  constructor(engine: Engine, setup: JobSetup<T>, args: unknown[]) {
    super(engine, setup);
    this.#items = args;
  }

  get fed(): boolean {
    return this.#items === undefined;
  }

  nextTask(): unknown[] | undefined {
    const items = this.#items;
    this.#items = undefined;
    return items;
  }

  succeed(_: number, value: unknown): void {
    this.resolve(value as T);
  }

  fail(_: number, error: unknown): void {
    this.reject(error);
  }

  override toString(): string {
    return '<AsyncResult>';
  }
}

/** Of `mapAsync` and `starmapAsync`. As in Python, it is there when all chunks are, and the first error counts. */
export class MapResult<T> extends AsyncResult<T[]> {
  readonly #items: unknown[];
  readonly #chunksize: number;
  readonly #values: T[];
  #at = 0;
  #left: number;
  #failure: { error: unknown } | undefined;

  constructor(engine: Engine, setup: JobSetup<T[]>, items: unknown[], chunksize: number) {
    super(engine, setup);
    // What the caller does to its own list later is not for us.
    this.#items = items.slice();
    this.#chunksize = chunksize;
    this.#values = new Array<T>(items.length);
    this.#left = items.length;
    if (items.length === 0) this.resolveSilently([]);
  }

  get fed(): boolean {
    return this.#at >= this.#items.length;
  }

  nextTask(): unknown[] | undefined {
    if (this.fed) return undefined;
    const from = this.#at;
    this.#at = Math.min(from + this.#chunksize, this.#items.length);
    return this.#items.slice(from, this.#at);
  }

  succeed(index: number, value: unknown): void {
    const values = value as T[];
    const from = index * this.#chunksize;
    for (let i = 0; i < values.length; i++) this.#values[from + i] = values[i]!;
    this.#done(index);
  }

  fail(index: number, error: unknown): void {
    this.#failure ??= { error };
    this.#done(index);
  }

  #done(index: number): void {
    const from = index * this.#chunksize;
    const count = Math.min(this.#chunksize, this.#items.length - from);
    this.#left -= count;
    this.options.progress?.advance(count);
    if (this.#left > 0) return;
    if (this.#failure !== undefined) this.reject(this.#failure.error);
    else this.resolve(this.#values);
  }
}

type Item<T> = { value: T } | { error: unknown };

/** So many results that nobody has taken hold up the iterable that the tasks are made of. */
const MOST_UNTAKEN = 65_536;

/**
 * What `imap` answers: the results, in order, or of `imapUnordered` as they come. Iterate it with `for` (which blocks)
 * or with `for await`. An item that has failed throws, and the next call goes on with the one behind it. Mirrors
 * `multiprocessing.pool.IMapIterator`.
 */
export class IMapIterator<T> extends BaseJob<T> implements Job, IterableIterator<T> {
  readonly #source: Iterator<unknown>;
  readonly #chunksize: number;
  readonly #ordered: boolean;
  #exhausted = false;
  /** Chunks: made, back, and the one whose turn it is. */
  #made = 0;
  #back = 0;
  #turn = 0;
  readonly #early = new Map<number, Item<T>[]>();
  readonly #sizes = new Map<number, number>();
  /** What may be taken now. */
  readonly #ready = new Fifo<Item<T>>();
  #over: { error: unknown } | undefined;
  #isCalling = false;
  #wakeLine: (() => void) | undefined;
  /** Those who wait on the event loop: first come, first served. */
  readonly #line = new Line<{ result: IteratorResult<T> } | { error: unknown }>(
    (wake) => {
      this.#wakeLine = wake;
      if (this.#isThere()) queueMicrotask(() => this.#wake());
      return () => (this.#wakeLine = undefined);
    },
    () => this.#attempt(),
  );

  /** @internal */
  constructor(
    engine: Engine,
    setup: JobSetup<T>,
    iterable: Iterable<unknown>,
    chunksize: number,
    ordered: boolean,
  ) {
    super(engine, setup, EACH);
    this.#source = iterable[Symbol.iterator]();
    this.#chunksize = chunksize;
    this.#ordered = ordered;
  }

  // --- for the engine

  /** @internal */
  get finished(): boolean {
    return this.#over !== undefined;
  }

  /** @internal */
  get fed(): boolean {
    return this.#exhausted;
  }

  /** @internal */
  get isHeldUp(): boolean {
    return this.#ready.length > MOST_UNTAKEN;
  }

  /** @internal */
  nextTask(): unknown[] | undefined {
    if (this.#exhausted || this.isHeldUp) return undefined;
    const items: unknown[] = [];
    try {
      while (items.length < this.#chunksize) {
        const { done, value } = this.#source.next();
        if (done === true) {
          this.#exhausted = true;
          break;
        }
        items.push(value);
      }
    } catch (error) {
      // As in Python: what the iterable throws is the outcome of the item that it has not given.
      this.#exhausted = true;
      if (items.length === 0) {
        this.#give(this.#made++, [{ error }]);
        return undefined;
      }
      this.#sizes.set(this.#made, items.length);
      this.#made += 2;
      this.#give(this.#made - 1, [{ error }]);
      return items;
    }
    if (items.length === 0) {
      this.#wake();
      return undefined;
    }
    this.#sizes.set(this.#made++, items.length);
    return items;
  }

  /** @internal */
  succeed(index: number, value: unknown): void {
    this.#give(index, [{ value: value as T }]);
  }

  /** @internal */
  succeedEach(index: number, values: unknown[], errors: ReadonlyMap<number, unknown>): void {
    const items = values.map((value, at): Item<T> =>
      errors.has(at) ? { error: errors.get(at) } : { value: value as T },
    );
    this.#give(index, items);
  }

  /** @internal */
  fail(index: number, error: unknown): void {
    const size = this.#sizes.get(index) ?? 1;
    this.#give(
      index,
      Array.from({ length: size }, () => ({ error })),
    );
  }

  /** @internal */
  abandon(error: unknown): void {
    this.#over ??= { error };
    this.settled();
    this.#wake();
  }

  protected override aborted(reason: unknown): void {
    if (this.finished) return;
    this.abandon(reason);
    this.engine.callOff(this);
  }

  #give(index: number, items: Item<T>[]): void {
    this.#back++;
    this.#sizes.delete(index);
    const { callback, errorCallback } = this.options;
    this.#isCalling = true;
    for (const item of items) {
      if ('error' in item) call(errorCallback, item.error);
      else call(callback, item.value);
    }
    this.#isCalling = false;
    this.options.progress?.advance(items.length);
    if (this.#ordered) {
      this.#early.set(index, items);
      for (let next; (next = this.#early.get(this.#turn)) !== undefined; this.#turn++) {
        this.#early.delete(this.#turn);
        for (const item of next) this.#ready.push(item);
      }
    } else {
      for (const item of items) this.#ready.push(item);
    }
    if (this.#exhausted && this.#back === this.#made) this.settled();
    this.#wake();
  }

  #wake(): void {
    const wake = this.#wakeLine;
    this.#wakeLine = undefined;
    wake?.();
  }

  // --- for whoever iterates

  /** Undefined: it is not there yet. */
  #take(): { item: Item<T> } | { end: true } | undefined {
    const item = this.#ready.shift();
    if (item !== undefined) return { item };
    if (this.#over !== undefined) {
      // Once, and then it is at its end.
      const { error } = this.#over;
      this.#exhausted = true;
      this.#made = this.#back;
      this.#over = { error: undefined };
      return error === undefined ? { end: true } : { item: { error } };
    }
    return this.#exhausted && this.#back === this.#made ? { end: true } : undefined;
  }

  #isThere(): boolean {
    return (
      this.#ready.length > 0 ||
      this.#over !== undefined ||
      (this.#exhausted && this.#back === this.#made)
    );
  }

  #result(): IteratorResult<T> {
    const taken = this.#take();
    if (taken === undefined) throw new TimeoutError('the next result is not there yet');
    if ('end' in taken) return { done: true, value: undefined };
    if ('error' in taken.item) throw taken.item.error;
    return { done: false, value: taken.item.value };
  }

  #wait(milliseconds: number): IteratorResult<T> {
    if (!this.#isThere()) {
      if (this.#isCalling) {
        throw new RuntimeError('a callback cannot wait for the results that it is called with');
      }
      this.engine.waitUntil(() => this.#isThere(), milliseconds);
    }
    return this.#result();
  }

  async #waitAsync(
    milliseconds: number,
    signal?: AbortSignal | null | undefined,
  ): Promise<IteratorResult<T>> {
    signal?.throwIfAborted();
    if (!this.#line.empty || !this.#isThere()) {
      this.engine.resume();
      const outcome = await this.#line.wait(milliseconds, signal, undefined);
      if (outcome === undefined) throw new TimeoutError('the next result is not there yet');
      if ('error' in outcome) throw outcome.error;
      return outcome.result;
    }
    return this.#result();
  }

  /** For whoever waits first. */
  #attempt(): { result: IteratorResult<T> } | { error: unknown } | undefined {
    if (!this.#isThere()) return undefined;
    try {
      return { result: this.#result() };
    } catch (error) {
      return { error };
    }
  }

  /**
   * The next result. Mirrors `IMapIterator.next(timeout)`.
   *
   * @param timeout seconds; undefined and null wait for ever.
   * @throws StopIteration there are no more. TimeoutError not there in time. What the function threw for this item.
   */
  nextItem(timeout?: number | null): T {
    const { done, value } = this.#wait(timeoutMs(timeout));
    if (done === true) throw new StopIteration('there are no more results');
    return value;
  }

  /** As `nextItem`, without blocking the event loop. @throws the signal's reason. */
  async nextItemAsync(timeout?: number | null, { signal }: AsyncOptions = {}): Promise<T> {
    const { done, value } = await this.#waitAsync(timeoutMs(timeout), signal);
    if (done === true) throw new StopIteration('there are no more results');
    return value;
  }

  /** Blocks. */
  next(): IteratorResult<T> {
    return this.#wait(-1);
  }

  [Symbol.iterator](): this {
    return this;
  }

  [Symbol.asyncIterator](): AsyncIterableIterator<T> {
    const iterator: AsyncIterableIterator<T> = {
      next: () => this.#waitAsync(-1),
      [Symbol.asyncIterator]: () => iterator,
    };
    return iterator;
  }

  override toString(): string {
    return `<${this.#ordered ? 'IMapIterator' : 'IMapUnorderedIterator'}>`;
  }

  [inspect.custom](): string {
    return this.toString();
  }
}
