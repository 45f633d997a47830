/**
 * `Future`: the counterpart of `Future` in CPython's `concurrent/futures/_base.py`.
 *
 *   PENDING ──▶ RUNNING ──▶ FINISHED        with a result, or with an error
 *      └──────▶ CANCELLED
 *
 * A future of an executor has a source, the engine that it is settled by. Every question looks after the source first,
 * so that the answer needs no turn of the event loop. Done callbacks run when the engine has finished its round:
 * they may block, submit and cancel as any code may.
 *
 * A child that inherits a future sees it as it was at the fork: it is the parent's.
 */

import { inspect } from 'node:util';
import { wrongType } from '../arguments.js';
import { onNewIdentity } from '../at_fork.js';
import { abortable, endAfter, leftUntil, timeoutMs, waitInSlices } from '../clock.js';
import { CancelledError, InvalidStateError, RuntimeError, TimeoutError } from '../errors.js';
import { native } from '../native.js';
import type { AsyncOptions } from '../process.js';

type State = 'PENDING' | 'RUNNING' | 'CANCELLED' | 'CANCELLED_AND_NOTIFIED' | 'FINISHED';

const DESCRIPTIONS: Record<State, string> = {
  PENDING: 'pending',
  RUNNING: 'running',
  CANCELLED: 'cancelled',
  CANCELLED_AND_NOTIFIED: 'cancelled',
  FINISHED: 'finished',
};

/** What settles futures: an engine of pool/. */
export interface Source {
  /** Takes what has come. */
  service(): unknown;
  /** Waits, looking after everything, until `done` or the time is up. */
  waitUntil(done: () => boolean, milliseconds: number): boolean;
}

/** Settled futures whose callbacks have not run. */
let due: Future[] = [];

// What a parent has promised to call is not its child's business.
onNewIdentity(() => (due = []));

/** Runs the callbacks of what has been settled. */
export function runCallbacks(): void {
  for (let future; (future = due.shift()) !== undefined;) future._callBack();
}

/**
 * A result that will be there. Mirrors `concurrent.futures.Future`; `await` it, too.
 */
export class Future<T = unknown> implements PromiseLike<T> {
  #state: State = 'PENDING';
  /** The result; or, if it has failed, the error. */
  #value: unknown;
  #failed = false;
  #callbacks: ((future: never) => unknown)[] = [];
  readonly #watchers = new Set<(future: Future) => void>();
  readonly #source: Source | undefined;

  /** By hand only in tests, and for executors of other kinds: `setResult` and its like settle it. */
  constructor();
  /** @internal */
  constructor(source?: Source);
  constructor(source?: Source) {
    this.#source = source;
  }

  // --- for executors

  /** @internal */
  get _source(): Source | undefined {
    return this.#source;
  }

  /** @internal As of the last look. */
  get _isDone(): boolean {
    return this.#state !== 'PENDING' && this.#state !== 'RUNNING';
  }

  /** @internal Whether it was settled with an error. */
  get _hasFailed(): boolean {
    return this.#failed;
  }

  /** @internal It is on its way to a worker. */
  _begin(): void {
    if (this.#state === 'PENDING') this.#state = 'RUNNING';
  }

  /** @internal Its callbacks are due. */
  _settle(value: unknown, failed: boolean): void {
    if (this._isDone) return;
    this.#value = value;
    this.#failed = failed;
    this.#state = 'FINISHED';
    this.#notify();
  }

  #notify(): void {
    for (const watcher of this.#watchers) watcher(this);
    this.#watchers.clear();
    if (this.#callbacks.length > 0) due.push(this);
  }

  /** @internal */
  _callBack(): void {
    const callbacks = this.#callbacks;
    this.#callbacks = [];
    for (const callback of callbacks) this.#call(callback);
  }

  #call(callback: (future: never) => unknown): void {
    const complain = (error: unknown): void => {
      const text = error instanceof Error ? inspect(error) : `Uncaught ${inspect(error)}`;
      process.stderr.write(`exception calling callback for ${this.toString()}\n${text}\n`);
    };
    try {
      const answer = callback(this as never) as PromiseLike<unknown> | null | undefined;
      if (typeof answer?.then === 'function') answer.then(undefined, complain);
    } catch (error) {
      complain(error);
    }
  }

  /** @internal Calls back, once, when it is done; before the callbacks of the program. Answers how to stop. */
  _watch(watcher: (future: Future) => void): () => void {
    this.#watchers.add(watcher);
    return () => this.#watchers.delete(watcher);
  }

  /**
   * Marks it as running, unless it was cancelled. Mirrors `Future.set_running_or_notify_cancel`; for executors and tests.
   *
   * @returns whether the work should be done. @throws RuntimeError it is not pending any more.
   */
  setRunningOrNotifyCancel(): boolean {
    if (this.#state === 'CANCELLED') {
      this.#state = 'CANCELLED_AND_NOTIFIED';
      return false;
    }
    if (this.#state !== 'PENDING') throw new RuntimeError('Future in unexpected state');
    this.#state = 'RUNNING';
    return true;
  }

  /** Settles it. Mirrors `Future.set_result`; for executors and tests. @throws InvalidStateError it is done. */
  setResult(result: T): void {
    this.#set(result, false);
  }

  /** Settles it. Mirrors `Future.set_exception`; for executors and tests. @throws InvalidStateError it is done. */
  setException(error: unknown): void {
    this.#set(error, true);
  }

  #set(value: unknown, failed: boolean): void {
    if (this._isDone) throw new InvalidStateError(`${this.#state}: ${this.toString()}`);
    this._settle(value, failed);
    runCallbacks();
  }

  // --- questions

  #look(): void {
    if (!this._isDone) this.#source?.service();
  }

  /** Whether it was cancelled, or has an outcome. */
  done(): boolean {
    this.#look();
    return this._isDone;
  }

  /** Whether a worker has it, or will have it next: it cannot be cancelled any more. */
  running(): boolean {
    this.#look();
    return this.#state === 'RUNNING';
  }

  /** Whether it was cancelled. */
  cancelled(): boolean {
    this.#look();
    return this.#isCancelled;
  }

  get #isCancelled(): boolean {
    return this.#state === 'CANCELLED' || this.#state === 'CANCELLED_AND_NOTIFIED';
  }

  /** Cancels it, if it is pending. @returns whether it is cancelled. */
  cancel(): boolean {
    this.#look();
    if (this.#state === 'PENDING') {
      this.#state = 'CANCELLED';
      this.#notify();
      runCallbacks();
    }
    return this.#isCancelled;
  }

  /**
   * Has `callback(future)` called when it is done; at once if it is. Callbacks run in the order in which they were added, in
   * this process; what one throws is written to stderr.
   */
  addDoneCallback(callback: (future: Future<T>) => unknown): void {
    if (typeof callback !== 'function') throw wrongType('fn', 'a function', callback);
    this.#look();
    if (this._isDone) this.#call(callback);
    else this.#callbacks.push(callback);
  }

  // --- the outcome

  #result(): T {
    if (this.#isCancelled) throw new CancelledError('the future was cancelled');
    if (!this._isDone) throw new TimeoutError('the future is not done yet');
    if (this.#failed) throw this.#value;
    return this.#value as T;
  }

  #exception(): unknown {
    try {
      this.#result();
      return null;
    } catch (error) {
      if (this.#state === 'FINISHED') return this.#value;
      throw error;
    }
  }

  #wait(timeout: number | null | undefined): void {
    const milliseconds = timeoutMs(timeout);
    if (this._isDone) return;
    waitFor(
      () => [this],
      () => this._isDone,
      milliseconds,
    );
  }

  async #waitAsync(
    timeout: number | null | undefined,
    { signal }: AsyncOptions = {},
  ): Promise<void> {
    const milliseconds = timeoutMs(timeout);
    signal?.throwIfAborted();
    this.#look();
    if (this._isDone) return;
    await abortable(milliseconds, signal, (done) => this._watch(done));
  }

  /**
   * Waits for the result.
   *
   * @param timeout seconds; undefined and null wait for ever.
   * @throws TimeoutError not there in time. CancelledError. BrokenProcessPool a worker died. What the function threw; its
   *   `cause` has the stack in the worker.
   */
  result(timeout?: number | null): T {
    this.#wait(timeout);
    return this.#result();
  }

  /** As `result`, without blocking the event loop. @throws the signal's reason. */
  async resultAsync(timeout?: number | null, options?: AsyncOptions): Promise<T> {
    await this.#waitAsync(timeout, options);
    return this.#result();
  }

  /**
   * Waits for what the function throws; null: it has returned.
   *
   * @param timeout seconds; undefined and null wait for ever. @throws TimeoutError. CancelledError.
   */
  exception(timeout?: number | null): unknown {
    this.#wait(timeout);
    return this.#exception();
  }

  /** As `exception`, without blocking the event loop. @throws the signal's reason. */
  async exceptionAsync(timeout?: number | null, options?: AsyncOptions): Promise<unknown> {
    await this.#waitAsync(timeout, options);
    return this.#exception();
  }

  // oxlint-disable-next-line unicorn/no-thenable -- a Future is awaitable
  then<R = T, E = never>(
    onFulfilled?: ((value: T) => R | PromiseLike<R>) | null,
    onRejected?: ((reason: unknown) => E | PromiseLike<E>) | null,
  ): Promise<R | E> {
    return this.resultAsync().then(onFulfilled, onRejected);
  }

  /** Python's representation, without an address: `<Future state=finished returned number>`. */
  toString(): string {
    const state = DESCRIPTIONS[this.#state];
    if (this.#state !== 'FINISHED') return `<${this.constructor.name} state=${state}>`;
    const how = this.#failed ? 'raised' : 'returned';
    return `<${this.constructor.name} state=${state} ${how} ${typeName(this.#value)}>`;
  }

  [inspect.custom](): string {
    return this.toString();
  }
}

function typeName(value: unknown): string {
  if (value === null) return 'null';
  if (typeof value !== 'object') return typeof value;
  if (value instanceof Error) return value.name;
  const { constructor } = value as { constructor?: unknown };
  return typeof constructor === 'function' ? constructor.name : 'object';
}

/** A wait for what no engine settles looks so often, or as often as engines that are at work are looked after. */
const SLICE_MS = 250;

/**
 * Waits until `done`, which the outcome of some of the futures decides, looking after whatever settles them.
 *
 * @param milliseconds negative: without a limit. @returns whether it is done.
 */
export function waitFor(
  futures: () => Iterable<Future>,
  done: () => boolean,
  milliseconds: number,
): boolean {
  const end = endAfter(milliseconds);
  for (;;) {
    // A source looks after the other ones, too.
    let source: Source | undefined;
    for (const future of futures()) {
      if (!future._isDone) source = future._source;
      if (source !== undefined) break;
    }
    const left = leftUntil(end);
    if (source === undefined) {
      // Only a callback can settle it.
      const slice = left < 0 ? SLICE_MS : Math.min(left, SLICE_MS);
      waitInSlices(slice, (some) => {
        native.sleepMs(some);
        return done();
      });
    } else if (source.waitUntil(done, left)) {
      return true;
    }
    if (done()) return true;
    if (left === 0) return false;
  }
}
