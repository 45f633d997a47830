/**
 * Locks and their like, for processes: the counterpart of CPython's `synchronize.py`.
 *
 * Each object is a slot of shared memory that a fork inherits. A lock that nobody contends for is taken and
 * given back by one Atomics operation each, without a system call; who has to wait does so in native code
 * (native/core/lock.h has the states and what a death in each of them means) or, with the Async forms, on the
 * event loop.
 *
 * **When a process dies here.** Killed while it holds a Lock or RLock: the next one to acquire gets it within a
 * second, with a warning, or, if the lock is `robust`, an OwnerDiedError. Killed while it waits: nobody notices. A
 * process that ends normally leaves what it holds locked, as in Python. A Semaphore has no owner: what a process
 * took and died with stays taken.
 *
 * **Who holds.** The calls that block act for the process: what it acquired by them, any part of it may release,
 * and an RLock is entered again from anywhere in it. What `acquireAsync`, `guardAsync` and `with` acquire belongs to
 * the asynchronous context that called: other tasks of the same process are kept out until it is released.
 *
 * **What travels.** All of them, through every channel and at any time (CPython: RuntimeError outside of inheritance): as
 * the object that the receiver has already, or as one that it attaches to (src/sharing.ts).
 */

import { AsyncLocalStorage } from 'node:async_hooks';
import { inspect } from 'node:util';
import { checkAbortSignal, checkInt, wrongType } from './arguments.js';
import { endAfter, leftUntil, patience, timeoutMs, waitInSlices } from './clock.js';
import {
  AssertionError,
  BrokenBarrierError,
  OwnerDiedError,
  RuntimeError,
  ValueError,
} from './errors.js';
import { allocateSlots, Place, Segment, SLOT_WORDS, slotAt, Tag, tokenIn } from './heap.js';
import { native } from './native.js';
import { currentProcess, type AsyncOptions } from './process.js';
import { registerInternal } from './reduction.js';
import { malformed, objectAt, refuseToSend } from './sharing.js';
import { changed, Line, watch, WatchFor } from './waiting.js';
import { add, and, compareExchange, exchange, load, or, store, type Words } from './words.js';

/** A lock's word: 0, or its owner's token in the segment, with this bit when somebody waits. */
const WAITERS = 1;
const DEAD_AFTER_ALL = 2;

type Milliseconds = number;

/** For calls that need not wait. @throws as `patience`. */
function checkTimeout(timeout: number | null | undefined): void {
  if (timeout !== undefined) timeoutMs(timeout);
}

export interface LockOptions {
  /** Whether taking over the lock of a process that was killed throws OwnerDiedError (the lock is held then). */
  robust?: boolean | undefined;
}

// -------------------------------------------------------------------------------------------------
// What all that can be acquired has

/** The longest that `native.park` sleeps. */
const PARK_MS = 250;

/** Sleeps while the word is `expected`, for a while; may return for nothing. */
function park(words: Words, index: number, expected: number, milliseconds: number): void {
  const most = milliseconds < 0 ? PARK_MS : Math.min(milliseconds, PARK_MS);
  waitInSlices(most, (slice) => {
    native.park(words, index, expected, slice);
    return load(words, index) !== expected;
  });
}

/** A hold that ends with its scope: `using held = lock.guard()`. */
export class Guard {
  #release: (() => void) | undefined;

  /** @internal */
  constructor(release: () => void) {
    this.#release = release;
  }

  /** Releases, once. */
  release(): void {
    const release = this.#release;
    this.#release = undefined;
    release?.();
  }

  [Symbol.dispose](): void {
    this.release();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.release();
  }
}

const AsyncFunction = (async () => {}).constructor;

function isPromise(value: unknown): value is PromiseLike<unknown> {
  return typeof (value as PromiseLike<unknown> | null | undefined)?.then === 'function';
}

abstract class Acquirable {
  abstract acquire(block?: boolean, timeout?: number | null): boolean;
  abstract acquireAsync(
    block?: boolean,
    timeout?: number | null,
    options?: AsyncOptions,
  ): Promise<boolean>;
  abstract release(): void;

  /**
   * Acquires, and answers what releases at the end of a `using` scope. An OwnerDiedError means that the scope has
   * not begun: nothing is held.
   */
  guard(): Guard {
    this.#begin();
    return new Guard(() => this.release());
  }

  /** As `guard`, without blocking the event loop: `using held = await lock.guardAsync()`. */
  async guardAsync(options?: AsyncOptions): Promise<Guard> {
    if (options !== undefined && (typeof options !== 'object' || options === null)) {
      throw wrongType('options', 'an object', options);
    }
    try {
      await this.acquireAsync(true, null, options);
    } catch (error) {
      throw this.#notBegun(error);
    }
    return new Guard(() => this.release());
  }

  #begin(): void {
    try {
      this.acquire();
    } catch (error) {
      throw this.#notBegun(error);
    }
  }

  #notBegun(error: unknown): unknown {
    if (error instanceof OwnerDiedError) this.release();
    return error;
  }

  /**
   * Runs `fn` while it is held, and answers what `fn` does; released also when that throws or rejects. With an
   * async function, or while another task of this process holds it, it waits on the event loop and answers a
   * promise. An OwnerDiedError means that `fn` has not run and nothing is held.
   */
  with<T>(fn: () => T): T {
    if (fn instanceof AsyncFunction || this._heldByTask()) return this._withAsync(fn) as T;
    this.#begin();
    const result = this._run(fn);
    if (isPromise(result)) this._heldByTaskNow();
    return result;
  }

  /** @internal What was acquired by blocking is held until a promise settles. */
  _heldByTaskNow(): void {}

  /** @internal Whether waiting for it without the event loop would be waiting for ourselves. */
  abstract _heldByTask(): boolean;

  /** @internal */
  async _withAsync<T>(fn: () => T): Promise<Awaited<T>> {
    try {
      await this.acquireAsync();
    } catch (error) {
      throw this.#notBegun(error);
    }
    return (await this._run(fn)) as Awaited<T>;
  }

  [inspect.custom](): string {
    return this.toString();
  }

  /** @internal Runs with what is held, and releases. */
  _run<T>(fn: () => T): T {
    let result: T;
    try {
      result = fn();
    } catch (error) {
      this.release();
      throw error;
    }
    if (!isPromise(result)) {
      this.release();
      return result;
    }
    return Promise.resolve(result).finally(() => this.release()) as T;
  }
}

// -------------------------------------------------------------------------------------------------
// Lock

/** A lock's word and everything about it that Lock and RLock have in common. */
abstract class LockBase extends Acquirable {
  // Private: JSON.stringify would show the words of the whole segment.
  readonly #segment: Segment;
  readonly #words: Words;
  readonly #index: number;
  readonly #robust: boolean;
  /** Waiting tasks of this process. */
  #line: Line<1 | 2> | undefined;
  /** Whether the present hold of this process, if it is one, was acquired by a task. */
  #byTask = false;

  constructor(options?: LockOptions);
  /** @internal */
  constructor(options: LockOptions, place: Place);
  constructor({ robust = false }: LockOptions = {}, place?: unknown) {
    super();
    const { segment, words, index } = place instanceof Place ? place : allocateSlots(Tag.lock);
    this.#segment = segment;
    this.#words = words;
    this.#index = index;
    this.#robust = Boolean(robust);
    segment.objects.set(index, this);
  }

  /** @internal */
  _reference(): LockReference {
    return [this.#segment, this.#index, this.#robust];
  }

  /** @internal Whether this process holds it. */
  _ours(): boolean {
    const { token } = this.#segment;
    return token !== 0 && (load(this.#words, this.#index) & ~WAITERS) === token;
  }

  /** @internal Whether the present hold was acquired by a task; kept over a wait on a condition. */
  get _byTask(): boolean {
    return this.#byTask;
  }

  set _byTask(byTask: boolean) {
    this.#byTask = byTask;
  }

  /** Whether somebody holds it, at this moment. */
  locked(): boolean {
    return load(this.#words, this.#index) !== 0;
  }

  /** @internal Takes it if nobody holds it. */
  _tryTake(): boolean {
    const mine = tokenIn(this.#segment);
    if (compareExchange(this.#words, this.#index, 0, mine) !== 0) return false;
    this.#byTask = false;
    return true;
  }

  /** @internal The way of all who could not take it at once. */
  _take(milliseconds: Milliseconds): boolean {
    if (milliseconds < 0 && this._heldByTask()) {
      throw new RuntimeError(
        'a task of this process holds the lock, and cannot go on while the event loop is blocked: ' +
          'use acquireAsync() or with()',
      );
    }
    const mine = tokenIn(this.#segment);
    let outcome: 0 | 1 | 2 = 0;
    waitInSlices(milliseconds, (slice) => {
      outcome = native.acquireLock(this.#words, this.#index, mine, slice);
      return outcome !== 0;
    });
    if (outcome === 0) return false;
    this.#byTask = false;
    return this.#taken(outcome);
  }

  /** @internal */
  async _takeAsync(
    milliseconds: Milliseconds,
    signal: AbortSignal | null | undefined,
  ): Promise<boolean> {
    this.#line ??= new Line(
      (wake) => watch({ words: this.#words, index: this.#index }, WatchFor.lock, 0, wake),
      () => this.#attempt(),
    );
    let outcome = this.#line.empty ? this.#attempt() : undefined;
    if (outcome === undefined && milliseconds !== 0) {
      outcome = await this.#line.wait(milliseconds, signal, undefined);
    }
    if (outcome === undefined) return false;
    this.#byTask = true;
    return this.#taken(outcome);
  }

  #attempt(): 1 | 2 | undefined {
    const mine = tokenIn(this.#segment);
    const outcome = native.acquireLock(this.#words, this.#index, mine, 0);
    if (outcome === 0) return undefined;
    this.#byTask = true;
    return outcome;
  }

  #taken(outcome: number): true {
    if (outcome !== DEAD_AFTER_ALL) return true;
    this._ownerDied();
    if (this.#robust) throw new OwnerDiedError('the process that held the lock was killed');
    this._warn();
    return true;
  }

  /** @internal For what must be put right when a lock is taken over. */
  _ownerDied(): void {}

  /** @internal */
  _warn(): void {
    process.emitWarning(
      'a process was killed while it held a lock, which was recovered; what the lock protects may be half changed',
      { type: 'MultiprocessingWarning' },
    );
  }

  /** @internal Gives it back, whoever holds it. False: nobody does. */
  _give(): boolean {
    const { token } = this.#segment;
    const released =
      (token !== 0 && compareExchange(this.#words, this.#index, token, 0) === token) ||
      native.releaseLock(this.#words, this.#index);
    if (this.#line !== undefined) this.#line.poke();
    return released;
  }

  override _heldByTask(): boolean {
    return this.#byTask && this._ours();
  }

  override _heldByTaskNow(): void {
    this.#byTask = true;
  }

  /** @internal For the text forms, CPython's. */
  _holder(): string {
    const word = load(this.#words, this.#index);
    if (word === 0) return 'None';
    return this._ours() ? currentProcess().name : 'SomeOtherProcess';
  }

  /** @internal Whether the caller may wait on a condition with it. */
  abstract _isMine(): boolean;
  /** @internal Gives it back completely; answers what brings it back. */
  abstract _releaseSave(): unknown;
  /** @internal */
  abstract _acquireRestore(saved: unknown): void;
  /** @internal */
  abstract _acquireRestoreAsync(saved: unknown): Promise<void>;
}

/**
 * A lock that is not reentrant: a second `acquire` waits, also in the process that holds it, and any process may
 * release it. Mirrors `multiprocessing.Lock`.
 *
 * Killed holder: the next to acquire gets it within a second, with a warning, or, `robust`, an OwnerDiedError.
 */
export class Lock extends LockBase {
  /**
   * @param block false: do not wait. @param timeout seconds; null waits for ever, 0 or less polls.
   * @returns whether it was acquired.
   * @throws OwnerDiedError robust, and the holder was killed: it is acquired, but what it protects may be half
   *   changed. RuntimeError a task of this process holds it, and would for ever.
   */
  override acquire(block = true, timeout?: number | null): boolean {
    checkTimeout(timeout);
    if (this._tryTake()) return true;
    return this._take(patience(block, timeout));
  }

  /** As `acquire`, without blocking the event loop. @throws the signal's reason; it is as if never called. */
  override async acquireAsync(
    block = true,
    timeout?: number | null,
    { signal }: AsyncOptions = {},
  ): Promise<boolean> {
    const milliseconds = patience(block, timeout);
    checkAbortSignal(signal)?.throwIfAborted();
    return this._takeAsync(milliseconds, signal);
  }

  /** By any process. @throws ValueError nobody holds it. */
  release(): void {
    if (!this._give()) throw new ValueError('semaphore or lock released too many times');
  }

  _isMine(): boolean {
    return this._ours();
  }

  _releaseSave(): boolean {
    const byTask = this._byTask;
    this._give();
    return byTask;
  }

  _acquireRestore(byTask: boolean): void {
    try {
      this.acquire();
    } finally {
      this._byTask = byTask;
    }
  }

  async _acquireRestoreAsync(byTask: boolean): Promise<void> {
    try {
      await this._takeAsync(-1, undefined);
    } finally {
      this._byTask = byTask;
    }
  }

  override toString(): string {
    return `<${this.constructor.name}(owner=${this._holder()})>`;
  }
}

// -------------------------------------------------------------------------------------------------
// RLock

/** A task's hold of an RLock: what runs inside of it finds it in its asynchronous context. */
interface Hold {
  readonly outer: Hold | undefined;
  /** Whether code that runs inside of it can have begun. Before that, who has it in its context started its task. */
  entered: boolean;
}

let holds: AsyncLocalStorage<Hold | undefined> | undefined;

function holdsOfContext(): AsyncLocalStorage<Hold | undefined> {
  holds ??= new AsyncLocalStorage();
  return holds;
}

function isInside(hold: Hold): boolean {
  for (let at = holds?.getStore(); at !== undefined; at = at.outer) {
    if (at === hold) return hold.entered;
  }
  return false;
}

/** Whoever starts several tasks in a row has the hold of the first in its context: it is not the second's. */
function newHold(): Hold {
  let outer = holds?.getStore();
  while (outer !== undefined && !outer.entered) outer = outer.outer;
  return { outer, entered: false };
}

interface SavedRLock {
  depth: number;
  hold: Hold | undefined;
}

/**
 * A lock that its holder may acquire again, and must release as often. Mirrors `multiprocessing.RLock`.
 *
 * The holder is the process for what `acquire` acquired; for `acquireAsync`, `guardAsync` and `with` it is the
 * asynchronous context. A context begins with the call and reaches whatever is started after it: start tasks that
 * shall exclude each other before one of them holds, or use `with`, which keeps its context to its function.
 */
export class RLock extends LockBase {
  #depth = 0;
  #hold: Hold | undefined;

  /** As Lock's, but the holder acquires again without waiting. */
  override acquire(block = true, timeout?: number | null): boolean {
    checkTimeout(timeout);
    if (this._isMine()) {
      this.#depth++;
      return true;
    }
    if (!this._tryTake() && !this.#entering(() => this._take(patience(block, timeout)))) {
      return false;
    }
    this.#enter(undefined);
    return true;
  }

  /** As `acquire`, without blocking the event loop. @throws the signal's reason; it is as if never called. */
  override async acquireAsync(
    block = true,
    timeout?: number | null,
    { signal }: AsyncOptions = {},
  ): Promise<boolean> {
    const milliseconds = patience(block, timeout);
    checkAbortSignal(signal)?.throwIfAborted();
    if (this._isMine()) {
      this.#depth++;
      return true;
    }
    const hold = newHold();
    // Before the first await: what follows the caller's `await` is inside.
    holdsOfContext().enterWith(hold);
    return this.#acquireFor(hold, milliseconds, signal);
  }

  async #acquireFor(
    hold: Hold,
    milliseconds: Milliseconds,
    signal?: AbortSignal | null,
  ): Promise<boolean> {
    const taken = await this.#enteringAsync(hold, this._takeAsync(milliseconds, signal));
    if (taken) this.#enter(hold);
    return taken;
  }

  /** What is taken over from a dead owner is held, error or not. */
  #entering(take: () => boolean): boolean {
    try {
      return take();
    } catch (error) {
      if (error instanceof OwnerDiedError) this.#enter(undefined);
      throw error;
    }
  }

  async #enteringAsync(hold: Hold, taking: Promise<boolean>): Promise<boolean> {
    try {
      return await taking;
    } catch (error) {
      if (error instanceof OwnerDiedError) this.#enter(hold);
      throw error;
    }
  }

  #enter(hold: Hold | undefined): void {
    this.#depth = 1;
    this.#hold = hold;
    if (hold !== undefined) queueMicrotask(() => (hold.entered = true));
  }

  override with<T>(fn: () => T): T {
    if (this._isMine()) {
      this.#depth++;
      return this._run(fn);
    }
    if (fn instanceof AsyncFunction || this._heldByTask()) return this._withAsync(fn) as T;
    this.guard(); // _run releases.
    const hold: Hold = { outer: holds?.getStore(), entered: true };
    this.#hold = hold;
    return holdsOfContext().run(hold, () => this._run(fn));
  }

  override async _withAsync<T>(fn: () => T): Promise<Awaited<T>> {
    const hold: Hold = { outer: holds?.getStore(), entered: true };
    try {
      await this.#acquireFor(hold, -1);
    } catch (error) {
      if (error instanceof OwnerDiedError) holdsOfContext().run(hold, () => this.release());
      throw error;
    }
    return (await holdsOfContext().run(hold, () => this._run(fn))) as Awaited<T>;
  }

  /** @throws AssertionError the caller does not hold it. */
  release(): void {
    if (!this._isMine())
      throw new AssertionError('attempt to release recursive lock not owned by thread');
    if (--this.#depth > 0) return;
    this.#hold = undefined;
    this._give();
  }

  _isMine(): boolean {
    return this.#depth > 0 && this._ours() && (this.#hold === undefined || isInside(this.#hold));
  }

  override _heldByTask(): boolean {
    return this.#depth > 0 && this.#hold !== undefined && this._ours() && !isInside(this.#hold);
  }

  _releaseSave(): SavedRLock {
    const saved = { depth: this.#depth, hold: this.#hold };
    this.#depth = 0;
    this.#hold = undefined;
    this._give();
    return saved;
  }

  // What is taken over from a dead owner is held, error or not.
  _acquireRestore({ depth, hold }: SavedRLock): void {
    try {
      this._take(-1);
    } finally {
      this.#depth = depth;
      this.#hold = hold;
    }
  }

  async _acquireRestoreAsync({ depth, hold }: SavedRLock): Promise<void> {
    try {
      await this._takeAsync(-1, undefined);
    } finally {
      this.#depth = depth;
      this.#hold = hold;
    }
  }

  override toString(): string {
    const holder = this._holder();
    const count = holder === 'SomeOtherProcess' ? 'nonzero' : holder === 'None' ? 0 : this.#depth;
    return `<${this.constructor.name}(${holder}, ${count})>`;
  }
}

// -------------------------------------------------------------------------------------------------
// Semaphore

const SEM_VALUE_MAX = 0x7fff_ffff;

function checkInitialValue(value: unknown): number {
  const count = checkInt(value, "'value'");
  if (count < 0) throw native.makeErrnoError(EINVAL, 'sem_open');
  return count;
}

const EINVAL = 22;

/**
 * A counter that `acquire` takes from, waiting while it is 0, and `release` adds to. Mirrors
 * `multiprocessing.Semaphore`.
 *
 * It has no owner, so nothing is recovered: what a process has taken and was killed with is lost to the others.
 */
export class Semaphore extends Acquirable {
  // Private: JSON.stringify would show the words of the whole segment.
  readonly #segment: Segment;
  readonly #words: Words;
  readonly #index: number;
  readonly #max: number;
  #line: Line<true> | undefined;
  /** How many of this process's tasks have taken one. */
  #tasks = 0;

  /** @param value at first, 0 to 2^31 - 1. @throws Error EINVAL: a negative value. TypeError: not an integer. */
  constructor(value?: number);
  /** @internal */
  constructor(value: number, place: Place);
  constructor(value = 1, place?: unknown) {
    super();
    const count = checkInitialValue(value);
    const isNew = !(place instanceof Place);
    const { segment, words, index } = isNew ? allocateSlots(Tag.semaphore) : place;
    this.#segment = segment;
    this.#words = words;
    this.#index = index;
    this.#max = this._maximum(count);
    if (isNew) store(words, index, count);
    segment.objects.set(index, this);
  }

  /** @internal */
  _reference(): SemaphoreReference {
    return [this.#segment, this.#index, this.#max];
  }

  /** @internal */
  _maximum(_value: number): number {
    return SEM_VALUE_MAX;
  }

  /** @returns whether one was taken. @param timeout seconds; null waits for ever, 0 or less polls. */
  override acquire(block = true, timeout?: number | null): boolean {
    checkTimeout(timeout);
    const words = this.#words;
    const index = this.#index;
    for (let value = load(words, index); value > 0;) {
      const seen = compareExchange(words, index, value, value - 1);
      if (seen === value) return true;
      value = seen;
    }
    return waitInSlices(patience(block, timeout), (slice) =>
      native.acquireSemaphore(words, index, slice),
    );
  }

  /** As `acquire`, without blocking the event loop. @throws the signal's reason; it is as if never called. */
  override async acquireAsync(
    block = true,
    timeout?: number | null,
    { signal }: AsyncOptions = {},
  ): Promise<boolean> {
    const milliseconds = patience(block, timeout);
    checkAbortSignal(signal)?.throwIfAborted();
    this.#line ??= new Line(
      (wake) => watch({ words: this.#words, index: this.#index }, WatchFor.semaphore, 0, wake),
      () => (native.acquireSemaphore(this.#words, this.#index, 0) ? true : undefined),
    );
    let taken = this.#line.empty && native.acquireSemaphore(this.#words, this.#index, 0);
    if (!taken && milliseconds !== 0) {
      taken = (await this.#line.wait(milliseconds, signal, undefined)) ?? false;
    }
    if (taken) this.#tasks++;
    return taken;
  }

  /** Adds one. @throws ValueError the value is the greatest that it may be. */
  release(): void {
    if (!native.releaseSemaphore(this.#words, this.#index, this.#max)) {
      throw new ValueError('semaphore or lock released too many times');
    }
    if (this.#tasks > 0) this.#tasks--;
    if (this.#line !== undefined) this.#line.poke();
  }

  /** @internal */
  get _maxValue(): number {
    return this.#max;
  }

  /** The value at this moment. */
  getValue(): number {
    return load(this.#words, this.#index) & SEM_VALUE_MAX;
  }

  override _heldByTask(): boolean {
    return this.#tasks > 0 && this.getValue() === 0;
  }

  override _heldByTaskNow(): void {
    this.#tasks++;
  }

  override toString(): string {
    return `<${this.constructor.name}(value=${this.getValue()})>`;
  }
}

/** A semaphore that is never released above its first value. Mirrors `multiprocessing.BoundedSemaphore`. */
export class BoundedSemaphore extends Semaphore {
  override _maximum(value: number): number {
    return value;
  }

  override toString(): string {
    return `<${this.constructor.name}(value=${this.getValue()}, maxvalue=${this._maxValue})>`;
  }
}

// -------------------------------------------------------------------------------------------------
// Condition

/** The states of a waiter in a condition's list. */
const Waiting = { free: 0, waiting: 1, notified: 2 } as const;

// A condition's slot: word 0 counts waits, word 1 is the index of the first block. A block of waiters is a slot:
// seven waiters of 2 words, then the next block's index. A waiter: its state in bits 0 and 1 and the number of its
// wait above, so that whoever has looked at one wait can never change the next one at the same place; its token.
const COUNTER = 0;
const FIRST_BLOCK = 1;
const WAITERS_PER_BLOCK = 7;
const WAITER_WORDS = 2;
const NEXT_BLOCK = 14;
const OWNER = 1;
const STATE = 3;
const NUMBER = ~STATE;

/**
 * A condition variable: waits for other processes to say that something has changed. Mirrors
 * `multiprocessing.Condition`; `notify` wakes exactly the `n` that have waited longest.
 *
 * The list of waiters is changed under the lock only, one word at a time decides about each waiter, and a
 * waiter that was killed is found by the others within a slice (native/core/parking.h): a notification that it
 * got is passed on.
 */
export class Condition extends Acquirable {
  readonly #lock: LockBase;
  readonly #segment: Segment;
  readonly #words: Words;
  readonly #index: number;
  #lastLook = 0;

  /** @param lock a Lock or RLock; without one, a new RLock. */
  constructor(lock?: Lock | RLock | null);
  /** @internal */
  constructor(lock: Lock | RLock, place: Place);
  constructor(lock?: Lock | RLock | null, place?: unknown) {
    super();
    if (lock !== undefined && lock !== null && !(lock instanceof LockBase)) {
      throw wrongType('lock', 'a Lock or an RLock', lock);
    }
    this.#lock = lock ?? new RLock();
    const { segment, words, index } = place instanceof Place ? place : allocateSlots(Tag.condition);
    this.#segment = segment;
    this.#words = words;
    this.#index = index;
    segment.objects.set(index, this);
  }

  /** @internal */
  _reference(): ConditionReference {
    return { place: [this.#segment, this.#index], lock: this.#lock };
  }

  acquire(block?: boolean, timeout?: number | null): boolean {
    return this.#lock.acquire(block, timeout);
  }

  acquireAsync(block?: boolean, timeout?: number | null, options?: AsyncOptions): Promise<boolean> {
    return this.#lock.acquireAsync(block, timeout, options);
  }

  release(): void {
    this.#lock.release();
  }

  override with<T>(fn: () => T): T {
    return this.#lock.with(fn);
  }

  override _heldByTask(): boolean {
    return this.#lock._heldByTask();
  }

  /**
   * Releases the lock, waits to be notified, and acquires the lock again.
   *
   * @param timeout seconds; null waits for ever. @returns whether it was notified, false when the time was up.
   * @throws AssertionError the lock is not held.
   */
  wait(timeout?: number | null): boolean {
    return this.#wait(timeoutMs(timeout));
  }

  #wait(milliseconds: Milliseconds): boolean {
    const { place: waiter, waiting } = this.#enlist();
    const saved = this.#lock._releaseSave();
    const words = this.#words;
    const end = endAfter(milliseconds);
    while (load(words, waiter) === waiting) {
      const left = leftUntil(end);
      if (left === 0) break;
      const began = performance.now();
      park(words, waiter, waiting, left);
      if (performance.now() - began > LONG_SLEEP_MS) this.#passOn();
    }
    let notified = false;
    try {
      this.#lock._acquireRestore(saved);
    } finally {
      notified = this.#delist(waiter);
    }
    return notified;
  }

  /**
   * As `wait`, without blocking the event loop.
   *
   * @throws the signal's reason; the lock is held again and nobody's notification was used up.
   */
  async waitAsync(timeout?: number | null, { signal }: AsyncOptions = {}): Promise<boolean> {
    const milliseconds = timeoutMs(timeout);
    checkAbortSignal(signal)?.throwIfAborted();
    const { place: waiter, waiting } = this.#enlist();
    const saved = this.#lock._releaseSave();
    const place = { words: this.#words, index: waiter };
    const end = endAfter(milliseconds);
    let aborted = true;
    let notified = false;
    try {
      while (load(place.words, waiter) === waiting) {
        const left = end - performance.now();
        if (left <= 0) break;
        await changed(place, waiting, Math.min(left, SLICE_MS), signal);
        if (load(place.words, waiter) !== waiting) break;
        this.#passOn();
      }
      aborted = false;
    } finally {
      try {
        await this.#lock._acquireRestoreAsync(saved);
      } finally {
        notified = this.#delist(waiter);
        if (aborted && notified) this.notify();
      }
    }
    return notified;
  }

  /** Waits until `predicate()` is true; answers its last value. Mirrors `Condition.wait_for`. */
  waitFor<T>(predicate: () => T, timeout?: number | null): T {
    const end = endAfter(timeoutMs(timeout));
    let result = predicate();
    while (!result) {
      const left = end - performance.now();
      if (left <= 0) break;
      this.wait(left === Infinity ? null : left / 1000);
      result = predicate();
    }
    return result;
  }

  /** As `waitFor`, without blocking the event loop. The predicate may be async. */
  async waitForAsync<T>(
    predicate: () => T,
    timeout?: number | null,
    options?: AsyncOptions,
  ): Promise<Awaited<T>> {
    const end = endAfter(timeoutMs(timeout));
    let result = await predicate();
    while (!result) {
      const left = end - performance.now();
      if (left <= 0) break;
      await this.waitAsync(left === Infinity ? null : left / 1000, options);
      result = await predicate();
    }
    return result;
  }

  /** Wakes the `n` that have waited longest, or as many as wait. @throws AssertionError the lock is not held. */
  notify(n = 1): void {
    if (!this.#lock._isMine()) throw new AssertionError('lock is not owned');
    const count = checkInt(n, 'n');
    if (count > 0) this.#notifyFirst(count);
  }

  /** Wakes all that wait. @throws AssertionError the lock is not held. */
  notifyAll(): void {
    this.notify(SEM_VALUE_MAX);
  }

  #notifyFirst(count: number): void {
    const words = this.#words;
    const waits: { waiter: number; seen: number }[] = [];
    for (const waiter of this.#waiters()) {
      const seen = load(words, waiter);
      if ((seen & STATE) === Waiting.waiting) waits.push({ waiter, seen });
    }
    // Numbers wrap: the difference tells who came first.
    waits.sort((a, b) => ((a.seen & NUMBER) - (b.seen & NUMBER)) | 0);
    let left = count;
    for (const { waiter, seen } of waits) {
      if (left === 0) return;
      const notified = (seen & NUMBER) | Waiting.notified;
      if (compareExchange(words, waiter, seen, notified) !== seen) continue;
      native.unpark(words, waiter, 1);
      left--;
    }
  }

  /** Frees the places of waiters that died, and passes on the notifications that they got. */
  #passOn(): void {
    // One look per slice is enough for all tasks of a process.
    const now = performance.now();
    if (now - this.#lastLook < SLICE_MS / 2) return;
    this.#lastLook = now;
    const words = this.#words;
    for (const waiter of this.#waiters()) {
      const seen = load(words, waiter);
      const state = seen & STATE;
      const owner = load(words, waiter + OWNER);
      if (state === Waiting.free || owner === this.#segment.token) continue;
      if (!native.isDead(words, owner)) continue;
      if (compareExchange(words, waiter, seen, Waiting.free) !== seen) continue;
      if (state === Waiting.notified) this.#notifyFirst(1);
    }
  }

  /** How many wait. */
  get _sleepers(): number {
    let count = 0;
    for (const waiter of this.#waiters()) {
      if ((load(this.#words, waiter) & STATE) === Waiting.waiting) count++;
    }
    return count;
  }

  *#waiters(): Generator<number> {
    const words = this.#words;
    for (let block = load(words, this.#index + FIRST_BLOCK); block !== 0;) {
      for (let i = 0; i < WAITERS_PER_BLOCK; i++) yield block + i * WAITER_WORDS;
      block = load(words, block + NEXT_BLOCK);
    }
  }

  /** With the lock held. A place in the list, taken by its last store, and what is there as long as it waits. */
  #enlist(): { place: number; waiting: number } {
    if (!this.#lock._isMine()) {
      throw new AssertionError('must acquire() condition before using wait()');
    }
    const mine = tokenIn(this.#segment);
    const words = this.#words;
    let place: number | undefined;
    for (const waiter of this.#waiters()) {
      if ((load(words, waiter) & STATE) === Waiting.free) {
        place = waiter;
        break;
      }
    }
    place ??= this.#grow();
    const number = add(words, this.#index + COUNTER, 1);
    store(words, place + OWNER, mine);
    const waiting = (number << 2) | Waiting.waiting;
    store(words, place, waiting);
    return { place, waiting };
  }

  /** A further block, linked when it is ready. */
  #grow(): number {
    const words = this.#words;
    const { index } = allocateSlots(Tag.waiters, 1, this.#segment);
    let link = this.#index + FIRST_BLOCK;
    for (let block; (block = load(words, link)) !== 0;) link = block + NEXT_BLOCK;
    store(words, link, index);
    return index;
  }

  /** Gives its place up; whether it was notified. */
  #delist(waiter: number): boolean {
    return (exchange(this.#words, waiter, Waiting.free) & STATE) === Waiting.notified;
  }

  override toString(): string {
    return `<${this.constructor.name}(${this.#lock.toString()}, ${this._sleepers})>`;
  }
}

/** As native/core/parking.h has it. */
const SLICE_MS = 250;
/** A sleep that was not cut short by a wake-up. */
const LONG_SLEEP_MS = 200;

// -------------------------------------------------------------------------------------------------
// Event

const SET = 1;

/**
 * A flag that processes wait for. Mirrors `multiprocessing.Event`; a waiter that was woken by `set` returns true
 * even if `clear` came right after it.
 */
export class Event {
  readonly #place: Place;

  constructor();
  /** @internal */
  constructor(place: Place);
  constructor(place?: unknown) {
    // Bit 0 is the flag, the rest counts how often it was set.
    this.#place = place instanceof Place ? place : allocateSlots(Tag.event);
    this.#place.segment.objects.set(this.#place.index, this);
  }

  /** @internal */
  _reference(): PlaceReference {
    return [this.#place.segment, this.#place.index];
  }

  isSet(): boolean {
    return (load(this.#place.words, this.#place.index) & SET) !== 0;
  }

  /** Sets the flag and wakes all that wait. A waiter that was killed holds nobody up. */
  set(): void {
    const { words, index } = this.#place;
    for (let seen = load(words, index); (seen & SET) === 0;) {
      const was = compareExchange(words, index, seen, (seen + 2) | SET);
      if (was === seen) {
        native.unpark(words, index, SEM_VALUE_MAX);
        return;
      }
      seen = was;
    }
  }

  clear(): void {
    and(this.#place.words, this.#place.index, ~SET);
  }

  #hasBeenSet(since: number): boolean {
    const now = load(this.#place.words, this.#place.index);
    return (now & SET) !== 0 || now >> 1 !== since >> 1;
  }

  /** Waits for the flag. @param timeout seconds; null waits for ever. @returns false when the time was up. */
  wait(timeout?: number | null): boolean {
    const milliseconds = timeoutMs(timeout);
    const { words, index } = this.#place;
    const seen = load(words, index);
    if ((seen & SET) !== 0) return true;
    if (milliseconds === 0) return this.#hasBeenSet(seen);
    const end = endAfter(milliseconds);
    do {
      const left = leftUntil(end);
      if (left === 0) return this.#hasBeenSet(seen);
      park(words, index, seen, left);
    } while (!this.#hasBeenSet(seen));
    return true;
  }

  /** As `wait`, without blocking the event loop. @throws the signal's reason. */
  async waitAsync(timeout?: number | null, { signal }: AsyncOptions = {}): Promise<boolean> {
    const milliseconds = timeoutMs(timeout);
    checkAbortSignal(signal)?.throwIfAborted();
    const seen = load(this.#place.words, this.#place.index);
    if ((seen & SET) === 0 && milliseconds !== 0) {
      await changed(this.#place, seen, milliseconds, signal);
    }
    return this.#hasBeenSet(seen);
  }

  toString(): string {
    return `<${this.constructor.name} ${this.isSet() ? 'set' : 'unset'}>`;
  }

  [inspect.custom](): string {
    return this.toString();
  }
}

// -------------------------------------------------------------------------------------------------
// Barrier

/** The lock inside a barrier: taking it over needs no word to anybody, the barrier breaks. */
class BarrierLock extends Lock {
  ownerDied = false;

  override _ownerDied(): void {
    this.ownerDied = true;
  }
  override _warn(): void {}
}

// A barrier's slots. Word 0 of the first: the generation, which is what everybody waits to see change, and
// whether it is broken. Word 1: for each of the last 32 generations, whether it ended in vain. Each further slot
// has the tokens of fifteen parties that are inside.
const GENERATION = 2;
const BROKEN = 1;
const IN_VAIN = 1;
const GENERATIONS_KNOWN = 32;
const PARTIES_PER_SLOT = 15;

/** How many slots a barrier has. */
function slotsOf(parties: number): number {
  return 1 + Math.ceil(parties / PARTIES_PER_SLOT);
}

type Outcome = 'open' | 'released' | 'broken';

/** What one of the parties runs: a function or, for Python's `__call__`, an object with `call()`. */
export type BarrierAction = (() => unknown) | { call(): unknown };

function isAction(action: object | number | string): action is BarrierAction {
  return typeof (action as { call?: unknown }).call === 'function';
}

function act(action: BarrierAction | null): unknown {
  return typeof action === 'function' ? action() : action?.call();
}

/**
 * A rendezvous of a fixed number of processes or tasks, again and again. Mirrors `multiprocessing.Barrier`.
 *
 * Whoever arrives writes its name under the lock; the last one takes all names out and counts the generation up.
 * A process that is killed while it waits breaks the barrier for the others within a second: they look for its
 * name. One that is killed under the lock leaves that to whoever takes the lock over.
 */
export class Barrier {
  readonly #parties: number;
  readonly #action: BarrierAction | null;
  readonly #timeout: number | null | undefined;
  readonly #lock: BarrierLock;
  readonly #segment: Segment;
  readonly #words: Words;
  readonly #index: number;

  /**
   * @param parties how many must wait before all go on.
   * @param action what one of them runs before: a function, or an object with `call()`.
   * @param timeout seconds, for waits that name none.
   * @throws ValueError fewer than one party.
   */
  constructor(parties: number, action?: BarrierAction | null, timeout?: number | null);
  /** @internal */
  constructor(
    parties: number,
    action: BarrierAction | null | undefined,
    timeout: number | null | undefined,
    place: Place,
    lock: Place,
  );
  constructor(
    parties: number,
    action?: BarrierAction | null,
    timeout?: number | null,
    place?: unknown,
    lock?: unknown,
  ) {
    this.#parties = checkInt(parties, 'parties');
    if (parties < 1) throw new ValueError('parties must be > 0');
    if (action !== undefined && action !== null && !isAction(action)) {
      throw wrongType('action', 'a function or an object with call()', action);
    }
    this.#action = action ?? null;
    timeoutMs(timeout);
    this.#timeout = timeout;
    this.#lock = lock instanceof Place ? new BarrierLock({}, lock) : new BarrierLock();
    const { segment, words, index } =
      place instanceof Place ? place : allocateSlots(Tag.barrier, slotsOf(parties));
    this.#segment = segment;
    this.#words = words;
    this.#index = index;
    segment.objects.set(index, this);
  }

  /** @internal */
  _reference(): BarrierReference {
    return {
      place: [this.#segment, this.#index],
      lock: this.#lock._reference(),
      parties: this.#parties,
      timeout: this.#timeout ?? null,
      action: this.#action,
    };
  }

  /** How many must wait. */
  get parties(): number {
    return this.#parties;
  }

  /** How many wait at this moment. */
  get nWaiting(): number {
    return this.broken ? 0 : this.#inside();
  }

  get broken(): boolean {
    return (this.#state() & BROKEN) !== 0;
  }

  /**
   * Waits for the others.
   *
   * @param timeout seconds; when it is up the barrier breaks.
   * @returns a number from 0 to `parties - 1`, another one for each.
   * @throws BrokenBarrierError it is or was broken, reset or aborted, or a waiter was killed.
   */
  wait(timeout?: number | null): number {
    const end = this.#end(timeout);
    this.#lock.acquire();
    let state: number;
    let place: Arrival;
    try {
      place = this.#arrive();
      state = this.#state();
      if (place.last) {
        this.#actAndRelease();
        return place.position;
      }
    } finally {
      this.#lock.release();
    }
    for (;;) {
      const left = leftUntil(end);
      if (left !== 0 && this.#outcome(state) === 'open') {
        park(this.#words, this.#index, state, left);
      }
      if (this.#outcome(state) !== 'open') return this.#finish(state, place);
      // It slept for a slice, or the time is up.
      this.#lock.acquire();
      try {
        this.#look(state, end);
      } finally {
        this.#lock.release();
      }
    }
  }

  /** As `wait`, without blocking the event loop; an async action is awaited. An abort takes the arrival back. */
  async waitAsync(timeout?: number | null, { signal }: AsyncOptions = {}): Promise<number> {
    const end = this.#end(timeout);
    checkAbortSignal(signal)?.throwIfAborted();
    await this.#lock.acquireAsync(true, null, { signal });
    let state: number;
    let place: Arrival;
    try {
      place = this.#arrive();
      state = this.#state();
      if (place.last) {
        await this.#actAndReleaseAsync();
        return place.position;
      }
    } finally {
      this.#lock.release();
    }
    const spot = { words: this.#words, index: this.#index };
    for (;;) {
      const left = end - performance.now();
      try {
        if (left > 0) await changed(spot, state, Math.min(left, SLICE_MS), signal);
      } catch (error) {
        await this.#lock.acquireAsync();
        if (this.#outcome(state) === 'open') this.#remove(place);
        this.#lock.release();
        throw error;
      }
      if (this.#outcome(state) !== 'open') return this.#finish(state, place);
      await this.#lock.acquireAsync();
      try {
        this.#look(state, end);
      } finally {
        this.#lock.release();
      }
    }
  }

  /** Makes it usable again; who waits gets a BrokenBarrierError. */
  reset(): void {
    this.#lock.with(() => {
      this.#lock.ownerDied = false;
      this.#next(IN_VAIN);
    });
  }

  /** Breaks it: who waits and who comes gets a BrokenBarrierError, until `reset`. */
  abort(): void {
    this.#lock.with(() => {
      this.#lock.ownerDied = false;
      this.#break();
    });
  }

  #end(timeout: number | null | undefined): number {
    // As in Python, None is the barrier's own timeout, too.
    return endAfter(timeoutMs(timeout ?? this.#timeout));
  }

  #state(): number {
    return load(this.#words, this.#index);
  }

  /** What has become of the generation that began with `state`. */
  #outcome(state: number): Outcome {
    const now = this.#state();
    if (now === state) return 'open';
    if ((now ^ state) === BROKEN) return 'broken';
    const ended = (state >>> 1) % GENERATIONS_KNOWN;
    const inVain = (load(this.#words, this.#index + 1) >>> ended) & IN_VAIN;
    return inVain === IN_VAIN ? 'broken' : 'released';
  }

  #finish(state: number, { position }: Arrival): number {
    if (this.#outcome(state) === 'broken') throw new BrokenBarrierError();
    return position;
  }

  *#places(): Generator<number> {
    for (let i = 0; i < this.#parties; i++) {
      const slot = this.#index + SLOT_WORDS * (1 + Math.floor(i / PARTIES_PER_SLOT));
      yield slot + (i % PARTIES_PER_SLOT);
    }
  }

  #inside(): number {
    let count = 0;
    for (const at of this.#places()) if (load(this.#words, at) !== 0) count++;
    return count;
  }

  /** With the lock held. The first place that is free is the position, so that all differ even after one has given up. */
  #arrive(): Arrival {
    if (this.#lock.ownerDied) this.#findDead();
    if (this.broken) throw new BrokenBarrierError();
    const mine = tokenIn(this.#segment);
    const last = this.#inside() === this.#parties - 1;
    let position = 0;
    for (const at of this.#places()) {
      if (load(this.#words, at) === 0) {
        store(this.#words, at, mine);
        return { at, position, last };
      }
      position++;
    }
    throw new BrokenBarrierError();
  }

  #remove({ at }: Arrival): void {
    store(this.#words, at, 0);
  }

  #actAndRelease(): void {
    try {
      act(this.#action);
    } catch (error) {
      this.#break();
      throw error;
    }
    this.#next(0);
  }

  async #actAndReleaseAsync(): Promise<void> {
    try {
      await act(this.#action);
    } catch (error) {
      this.#break();
      throw error;
    }
    this.#next(0);
  }

  /** With the lock held: everybody is out, and a new generation begins. */
  #next(inVain: number): void {
    const words = this.#words;
    const state = this.#state() & ~BROKEN;
    const bit = 1 << ((state >>> 1) % GENERATIONS_KNOWN);
    if (inVain) or(words, this.#index + 1, bit);
    else and(words, this.#index + 1, ~bit);
    for (const at of this.#places()) store(words, at, 0);
    store(words, this.#index, state + GENERATION);
    native.unpark(words, this.#index, SEM_VALUE_MAX);
  }

  #break(): void {
    for (const at of this.#places()) store(this.#words, at, 0);
    or(this.#words, this.#index, BROKEN);
    native.unpark(this.#words, this.#index, SEM_VALUE_MAX);
  }

  /** With the lock held, after a slice: is it too late, or does it wait for somebody who was killed? */
  #look(state: number, end: number): void {
    if (this.#outcome(state) !== 'open') return;
    this.#findDead();
    if (performance.now() >= end && this.#outcome(state) === 'open') this.#break();
  }

  /** With the lock held. Whoever was killed inside, or in the middle of a change, breaks it. */
  #findDead(): void {
    let found = this.#lock.ownerDied;
    this.#lock.ownerDied = false;
    for (const at of this.#places()) {
      const party = load(this.#words, at);
      found ||= party !== 0 && native.isDead(this.#words, party);
    }
    if (found) this.#break();
  }

  toString(): string {
    const state = this.broken ? 'broken' : `waiters=${this.nWaiting}/${this.#parties}`;
    return `<${this.constructor.name} ${state}>`;
  }

  [inspect.custom](): string {
    return this.toString();
  }
}

/** A party's place in the list, its number, and whether nobody else is missing. */
interface Arrival {
  at: number;
  position: number;
  last: boolean;
}

// -------------------------------------------------------------------------------------------------
// What travels of them

type PlaceReference = [segment: Segment, index: number];
type LockReference = [segment: Segment, index: number, robust: boolean];
type SemaphoreReference = [segment: Segment, index: number, max: number];
interface ConditionReference {
  place: PlaceReference;
  lock: LockBase;
}
interface BarrierReference {
  place: PlaceReference;
  lock: LockReference;
  parties: number;
  timeout: number | null;
  action: BarrierAction | null;
}

/** @throws UnpicklingError it is no place of such an object. */
function placeOf([segment, index]: readonly unknown[], tag: number, count = 1): Place {
  const place =
    segment instanceof Segment ? slotAt(segment, index as number, tag, count) : undefined;
  if (place === undefined) throw malformed();
  return place;
}

for (const [tag, Class] of Object.entries({ Lock, RLock })) {
  registerInternal(Class as typeof Lock, tag, {
    encode: (lock) => lock._reference(),
    decode(reference: LockReference, context) {
      const place = placeOf(reference, Tag.lock);
      const robust = reference[2] === true;
      const make = (): Lock => new (Class as typeof Lock)({ robust }, place);
      return objectAt(place.segment, place.index, Class as typeof Lock, context, make);
    },
  });
}

for (const [tag, Class] of Object.entries({ Semaphore, BoundedSemaphore })) {
  registerInternal(Class, tag, {
    encode: (semaphore) => semaphore._reference(),
    decode(reference: SemaphoreReference, context) {
      const place = placeOf(reference, Tag.semaphore);
      const make = (): Semaphore => new Class(reference[2], place);
      return objectAt(place.segment, place.index, Class, context, make);
    },
  });
}

registerInternal(Condition, 'Condition', {
  encode: (condition) => condition._reference(),
  decode({ place: where, lock }: ConditionReference, context) {
    const place = placeOf(where, Tag.condition);
    if (!(lock instanceof Lock || lock instanceof RLock)) throw malformed();
    const make = (): Condition => new Condition(lock, place);
    return objectAt(place.segment, place.index, Condition, context, make);
  },
});

registerInternal(Event, 'Event', {
  encode: (event) => event._reference(),
  decode(reference: PlaceReference, context) {
    const place = placeOf(reference, Tag.event);
    return objectAt(place.segment, place.index, Event, context, () => new Event(place));
  },
});

registerInternal(Barrier, 'Barrier', {
  encode: (barrier) => barrier._reference(),
  decode({ place: where, lock, parties, timeout, action }: BarrierReference, context) {
    const place = placeOf(where, Tag.barrier, slotsOf(checkInt(parties, 'parties')));
    const lockPlace = placeOf(lock, Tag.lock);
    const make = (): Barrier => new Barrier(parties, action, timeout, place, lockPlace);
    const barrier = objectAt(place.segment, place.index, Barrier, context, make);
    if (barrier.parties !== parties) throw malformed();
    return barrier;
  },
});

refuseToSend(
  Guard,
  'Guard',
  'is a hold of a lock, which is the business of whoever has acquired it: send the lock',
);
