/**
 * Queues between processes: the counterpart of CPython's `queues.py`.
 *
 * A queue is a piece of memory that a fork inherits (native/core/channel.h has the layout and what a death means at
 * each step). There is no feeder thread and no pipe: when `put` returns the item is in the queue, for every process;
 * `qsize`, `empty` and `full` count what is there; a process may end with items still queued, and they stay.
 *
 * **When a process dies here.** Killed inside `put`, its item is in the queue or is not; killed inside `get`, the
 * item is still there or is lost with it. Nobody else loses anything, and nobody is held up for more than half a
 * second.
 *
 * **What travels.** What reduction carries, descriptors excepted: locks, values and other queues by reference (src/sharing.ts).
 * A queue travels likewise, through other channels and through itself.
 *
 * **Order.** Items of one producer come out in the order in which it put them.
 */

import { inspect } from 'node:util';
import { checkAbortSignal, checkInt } from './arguments.js';
import { endAfter, leftUntil, patience, waitInSlices } from './clock.js';
import { AssertionError, Empty, Full, ValueError } from './errors.js';
import { currentGeneration } from './at_fork.js';
import { Piece } from './heap.js';
import { beginLending, endLending, type Loan, takeBack } from './loans.js';
import { native, type Native } from './native.js';
import type { AsyncOptions } from './process.js';
import {
  decode,
  encode,
  missingModule,
  prepareCodec,
  registerInternal,
  type EncodeContext,
  type Message,
} from './reduction.js';
import { malformed, objectAt, registerPiece } from './sharing.js';
import { systemError } from './system_error.js';
import { load, store } from './words.js';
import { changed, Line, nextTurn, turnIsLong, watch, WatchFor, type Spot } from './waiting.js';
import { endWatch, newWatch, waitable, type Waitable } from './watches.js';
import type { Watch } from '#native';

type NativeChannel = InstanceType<Native['Channel']>;

/** What one part of at most so many bytes needs no memory of its own for. As native/core/channel.h has it. */
const MOST_SMALL = 4096;
/** Where small messages arrive; decoding copies what it keeps. */
const inbox = Buffer.allocUnsafeSlow(MOST_SMALL);
const NO_BULK: readonly ArrayBuffer[] = [];

/** After so long a waiting event loop looks for itself: whoever put an item may have died before it rang. */
const SLICE_MS = 250;

/** How native/binding/channel.cc answers when it is not a number of bytes. */
const Got = { nothing: -1, sizes: -2, large: -3, refused: -4, notYet: -5 } as const;

/** Not an item. */
export const NOTHING = Symbol('nothing');
export type Nothing = typeof NOTHING;

// By names of this module's: reached through another file of lib/, each would be a twentieth of a put and a get.
const generationNow = currentGeneration;
const patienceOf = patience;

function isLarge({ headLength, bulk }: Message): boolean {
  return bulk.length > 0 || headLength > MOST_SMALL;
}

/** A message that outlives the codec's memory. */
function keep(message: Message): Message {
  const head = Buffer.from(message.head.subarray(0, message.headLength));
  return { ...message, head, bulk: message.bulk.map((bytes) => new Uint8Array(bytes)) };
}

/** The memory of a channel carries no descriptors: they are fetched from the sender. */
const CONTEXT: EncodeContext = { fds: false };

export type Label = readonly [first: number, second: number];
const LABEL_BYTES = 8;
/** Of somebody who was stopped while putting. */
const LABELLED_MS = 1000;
/** There is an item, which the caller must not have. */
export const REFUSED = Symbol('refused');
/** There is one that others are to have first. */
export const NOT_YET = Symbol('not yet');

/** Whether a message is being read in `inbox`: a hook that gets another one meanwhile needs room of its own. */
let reading = false;

function read(head: Buffer, length: number, bulk: readonly ArrayBuffer[]): unknown {
  if (head !== inbox) return decode(head, 0, length, bulk);
  reading = true;
  try {
    return decode(head, 0, length, bulk);
  } finally {
    reading = false;
  }
}

/** What the latest message lends (src/heap.ts), until it is in a queue. */
let lent: readonly Loan[] | undefined;

function encodeItem(item: unknown, context: EncodeContext): Message {
  const outer = beginLending();
  let done = false;
  try {
    const message = encode(item, context);
    done = true;
    return message;
  } finally {
    lent = endLending(outer);
    if (!done) takeBack(lent);
  }
}

type Outcome<T> = { value: T } | { error: unknown };
const DONE = { value: true } as const;

const RELEASED = new Proxy({} as NativeChannel, {
  get() {
    throw closedHandle('channel');
  },
});

/** What a queue that is collected leaves with the event loop. */
const forgotten = new FinalizationRegistry<Watch>(endWatch);

/** A channel as this process uses it: values instead of bytes, and waiting on the event loop. */
export class Channel<T> extends Piece {
  #native: NativeChannel;
  #token = 0;
  #generation = generationNow();
  #getters: Line<Outcome<T>> | undefined;
  #gotLarge = false;
  #putters: Line<Outcome<true>, Message> | undefined;
  readonly #spots: { room: Spot; done: Spot };
  readonly #claims: number;
  #bell: Watch | undefined;

  constructor(channel: NativeChannel) {
    const { words, room, done, claims } = channel.words();
    super(words);
    this.#native = channel;
    this.#claims = claims;
    this.#spots = { room: { words, index: room }, done: { words, index: done } };
    // Here and not in each child.
    prepareCodec();
  }

  descriptors(): readonly number[] {
    return this.#native.fds();
  }

  /** Words to wait for. */
  get spots(): { room: Spot; done: Spot } {
    return this.#spots;
  }

  get native(): NativeChannel {
    return this.#native;
  }

  #me(): number {
    const generation = generationNow();
    if (this.#generation !== generation) {
      this.#generation = generation;
      this.#token = 0;
      this.#bell = undefined;
    }
    if (this.#token === 0) this.#token = this.#native.token();
    return this.#token;
  }

  // --- putting

  #append(message: Message, milliseconds: number): boolean {
    const { head, headLength, bulk } = message;
    const me = this.#me();
    if (!isLarge(message)) return this.#native.put(head, headLength, me, milliseconds);
    return this.#native.putParts([head.subarray(0, headLength), ...bulk], me, milliseconds);
  }

  /** False: no room in time. */
  put(item: T, milliseconds: number): boolean {
    const message = encodeItem(item, CONTEXT);
    if (lent === undefined) return this.#put(message, milliseconds);
    return this.#keeping(lent, () => this.#put(message, milliseconds));
  }

  /** Takes back what a message lends that was not put. */
  #keeping(loans: readonly Loan[], put: () => boolean): boolean {
    let done = false;
    try {
      return (done = put());
    } finally {
      if (!done) takeBack(loans);
    }
  }

  #put(message: Message, milliseconds: number): boolean {
    const tasksFirst = this.#putters !== undefined && !this.#putters.empty;
    if (!tasksFirst) {
      if (this.#append(message, 0)) return true;
      if (milliseconds === 0) return false;
    }
    const end = endAfter(milliseconds);
    const waitFor = (one: Message): boolean => {
      return waitInSlices(leftUntil(end), (slice) => this.#append(one, slice));
    };
    return this.#putForTasks(waitFor) && waitFor(message);
  }

  /** What tasks of this process wait to put was there before. False: no room for all of it. */
  #putForTasks(attempt: (message: Message) => boolean): boolean {
    for (let first; (first = this.#putters?.first) !== undefined;) {
      let outcome: Outcome<true> = DONE;
      try {
        if (!attempt(first)) return false;
      } catch (error) {
        outcome = { error };
      }
      this.#putters!.serveFirst(outcome);
    }
    return true;
  }

  /** The item is as it was at the call. False: no room in time. */
  async putAsync(
    item: T,
    milliseconds: number,
    signal: AbortSignal | null | undefined,
  ): Promise<boolean> {
    const message = encodeItem(item, CONTEXT);
    const loans = lent;
    let done = false;
    try {
      return (done = await this.#putAsync(message, milliseconds, signal));
    } finally {
      if (!done && loans !== undefined) takeBack(loans);
    }
  }

  async #putAsync(
    message: Message,
    milliseconds: number,
    signal: AbortSignal | null | undefined,
  ): Promise<boolean> {
    this.#putters ??= new Line(
      (wake) => this.#watchRoom(wake),
      (first) => this.#putForTask(first),
    );
    const append = (one: Message): boolean => this.#append(one, 0);
    if (this.#putForTasks(append) && append(message)) {
      // It is in the queue: only the answer waits.
      if (turnIsLong(isLarge(message))) await nextTurn();
      return true;
    }
    if (milliseconds === 0) return false;
    const kept = keep(message);
    const outcome = await this.#putters.wait(milliseconds, signal, kept);
    // In a loop that turns slowly the time may be up before anybody has looked.
    if (outcome === undefined) return this.#putForTasks(append) && append(kept);
    if ('error' in outcome) throw outcome.error;
    return true;
  }

  #putForTask(message: Message): Outcome<true> | undefined {
    try {
      return this.#append(message, 0) ? DONE : undefined;
    } catch (error) {
      return { error };
    }
  }

  #watchRoom(wake: () => void): () => void {
    const { room } = this.#spots;
    const expected = this.#native.awaitWord(4 * room.index);
    if (this.#native.hasRoom()) return soon(wake);
    return watch(room, WatchFor.change, expected, wake);
  }

  // --- getting

  get(milliseconds: number): T | Nothing {
    let item = this.tryGet();
    if (item !== NOTHING || milliseconds === 0) return item;
    const end = endAfter(milliseconds);
    do {
      const wait = (slice: number): boolean => this.#native.waitForMessage(this.#me(), slice);
      if (!waitInSlices(leftUntil(end), wait)) break;
      item = this.tryGet();
      // Also when there is one all along, and who is about to take it is stopped.
    } while (item === NOTHING && performance.now() < end);
    return item;
  }

  tryGet(): T | Nothing {
    const room = reading ? Buffer.allocUnsafeSlow(MOST_SMALL) : inbox;
    const got = this.#native.get(room, this.#me());
    this.#gotLarge = got === Got.sizes;
    if (got >= 0) return read(room, got, NO_BULK) as T;
    return got === Got.nothing ? NOTHING : this.#getLarge(room);
  }

  /** The first one is large: memory first, so that it stays in the queue if there is none. */
  #getLarge(room: Buffer): T | Nothing {
    for (;;) {
      const parts = this.#native.sizes().map((size) => Buffer.allocUnsafeSlow(size));
      const got = this.#native.getInto(parts, room, this.#me());
      if (got === Got.large) {
        const [head, ...bulk] = parts;
        const memory = bulk.map((bytes) => bytes.buffer as ArrayBuffer);
        return read(head!, head!.length, memory) as T;
      }
      // Another process was faster, and a message of other sizes is first now.
      if (got >= 0) return read(room, got, NO_BULK) as T;
      if (got === Got.nothing) return NOTHING;
    }
  }

  /** For a task, if it need not wait. In a turn that is long it stands in line, so that nobody overtakes it meanwhile. */
  getAtOnce(milliseconds: number): T | Nothing {
    const mayTry = this.#getters === undefined || this.#getters.empty;
    if (milliseconds !== 0 && (!mayTry || turnIsLong(this.#gotLarge))) return NOTHING;
    return this.tryGet();
  }

  /** After `getAtOnce` in vain. Undefined: the time was up. */
  async getAsync(
    milliseconds: number,
    signal: AbortSignal | null | undefined,
  ): Promise<{ value: T } | undefined> {
    this.#getters ??= new Line(
      (wake) => this.watchMessages(wake),
      () => this.#getForTask(),
    );
    const outcome = await this.#getters.wait(milliseconds, signal, undefined);
    if (outcome === undefined) {
      // In a loop that turns slowly the time may be up before anybody has looked.
      const item = this.#getters.empty ? this.tryGet() : NOTHING;
      return item === NOTHING ? undefined : { value: item };
    }
    if ('error' in outcome) throw outcome.error;
    return outcome;
  }

  /** Tasks of this process that wait for an item wait no longer. */
  endGetters(error: () => Error): void {
    while (this.#getters !== undefined && !this.#getters.empty) {
      this.#getters.serveFirst({ error: error() });
    }
  }

  #getForTask(): Outcome<T> | undefined {
    try {
      const item = this.tryGet();
      return item === NOTHING ? undefined : { value: item };
    } catch (error) {
      return { error };
    }
  }

  /** Calls back, once, when there may be a message. Answers how to stop. */
  watchMessages(wake: () => void): () => void {
    const channel = this.#native;
    this.#me();
    // Rings again at once if something has come meanwhile.
    channel.resetBell();
    const bell = (this.#bell ??= this.#watchBell());
    const stop = (): void => {
      clearTimeout(timer);
      bell.disarm();
    };
    const fire = (): void => {
      stop();
      wake();
    };
    bell.arm(fire);
    const timer = setTimeout(fire, SLICE_MS).unref();
    return stop;
  }

  #watchBell(): Watch {
    const bell = newWatch(this.#native.bellFd());
    forgotten.register(this, bell, this);
    return bell;
  }

  // --- for pools: with labels, which are read even if the item cannot be

  /** Of the item that was taken last. */
  label: Label = [0, 0];
  #unread: (() => T) | undefined;

  /**
   * Puts an item with a label of two numbers of 32 bits. `tag` counts upwards, modulo 256: see `take`.
   *
   * @param mayPut is asked once the item is encoded.
   * @returns how many bytes it takes; -1: it may not. @throws PicklingError. Error ENOMEM.
   */
  putLabelled(
    item: T,
    label: Label,
    context: EncodeContext,
    tag: number,
    mayPut: () => boolean = () => true,
  ): number {
    const message = encodeItem(item, context);
    const loans = lent;
    if (!mayPut()) {
      takeBack(loans);
      return -1;
    }
    const { headLength: at, bulk } = message;
    if (message.head.length < at + LABEL_BYTES) {
      const head = Buffer.allocUnsafeSlow(at + LABEL_BYTES);
      message.head.copy(head, 0, 0, at);
      message.head = head;
    }
    const { head } = message;
    for (let i = 0; i < 4; i++) {
      head[at + i] = label[0] >>> (8 * i);
      head[at + 4 + i] = label[1] >>> (8 * i);
    }
    const length = at + LABEL_BYTES;
    const me = this.#me();
    let done = false;
    try {
      // False: somebody was stopped in the middle of putting.
      do {
        done =
          bulk.length > 0 || length > MOST_SMALL
            ? this.#native.putParts([head.subarray(0, length), ...bulk], me, LABELLED_MS, tag)
            : this.#native.put(head, length, me, LABELLED_MS, tag);
      } while (!done);
    } finally {
      if (!done) takeBack(loans);
    }
    return bulk.reduce((sum, { byteLength }) => sum + byteLength, length);
  }

  /**
   * The next item, if there is one; `label` is its label, also when the item cannot be read.
   *
   * @param claim the number of the caller's claim: the shared word that says which item it has.
   * @param own the caller's tag. REFUSED: the item's is a newer one, and it stays.
   * @param orphaned NOT_YET: it is older, and beyond this one.
   * @throws UnpicklingError
   */
  take(
    claim: number,
    own: number,
    orphaned: number,
  ): T | Nothing | typeof REFUSED | typeof NOT_YET {
    const room = reading ? Buffer.allocUnsafeSlow(MOST_SMALL) : inbox;
    const me = this.#me();
    for (let parts: Buffer[] | undefined; ;) {
      const got =
        parts === undefined
          ? this.#native.get(room, me, claim, own, orphaned)
          : this.#native.getInto(parts, room, me, claim, own, orphaned);
      if (got === Got.nothing) return NOTHING;
      if (got === Got.refused) return REFUSED;
      if (got === Got.notYet) return NOT_YET;
      if (got >= 0) return this.#readLabelled(room, got, NO_BULK);
      if (got === Got.large) {
        const [head, ...bulk] = parts!;
        const memory = bulk.map((bytes) => bytes.buffer as ArrayBuffer);
        return this.#readLabelled(head!, head!.length, memory);
      }
      parts = this.#native.sizes().map((size) => Buffer.allocUnsafeSlow(size));
    }
  }

  #readLabelled(head: Buffer, length: number, bulk: readonly ArrayBuffer[]): T {
    const end = length - LABEL_BYTES;
    this.label = [head.readUInt32LE(end), head.readUInt32LE(end + 4)];
    try {
      return read(head, end, bulk) as T;
    } catch (error) {
      if (missingModule(error) !== undefined) {
        const kept = Buffer.from(head.subarray(0, end));
        this.#unread = () => read(kept, end, bulk) as T;
      }
      throw error;
    }
  }

  /** Once the module is there for want of which (`missingModule`) the latest item could not be read. @throws as `take`. */
  takeAgain(): T {
    return this.#unread!();
  }

  /**
   * Whether there is one, within so long. Another process may take it first.
   *
   * @param recalls as `native.recalls()` was before the caller found nothing.
   */
  waitForMessage(milliseconds: number, recalls = this.#native.recalls()): boolean {
    return this.#native.waitForMessage(this.#me(), milliseconds, recalls);
  }

  /** 2 * n + 1: whoever has this claim takes, or has taken, message n; 0: none. */
  claim(which: number): number {
    return load(this.words, this.#claims + which) >>> 0;
  }

  /** Gives memory and descriptors back, in this process. Every use from here on throws. */
  release(): void {
    if (this.#bell !== undefined) {
      forgotten.unregister(this);
      endWatch(this.#bell);
      this.#bell = undefined;
    }
    this.#native.release(this.words);
    this.#native = RELEASED;
  }

  clearClaim(which: number): void {
    store(this.words, this.#claims + which, 0);
  }

  /** How many messages were taken so far, modulo 2 ** 31. */
  get taken(): number {
    return load(this.words, this.#spots.room.index) >>> 1;
  }

  // --- for `wait` of connection.ts

  waitable(): Waitable {
    const channel = this.#native;
    return {
      fd: channel.bellFd(),
      ready: () => channel.size() > 0,
      // Rings again at once if something has come meanwhile.
      arm: () => channel.resetBell(),
      disarm() {},
    };
  }

  // --- all reported done

  async doneAsync(signal: AbortSignal | null | undefined): Promise<void> {
    const { done } = this.#spots;
    for (;;) {
      const expected = this.#native.awaitWord(4 * done.index);
      if (this.#native.unfinished() === 0) return;
      await changed(done, expected, SLICE_MS, signal);
    }
  }
}

registerPiece(Channel, 'Channel', 3, ([fd, bell, ringer], identity) => {
  return new Channel(new native.Channel(fd!, bell!, ringer!, identity));
});

/** Calls back when the event loop has turned. Answers how to prevent it. */
function soon(callback: () => void): () => void {
  const immediate = setImmediate(callback);
  return () => clearImmediate(immediate);
}

/** An operation on what this process has closed, as node tells of a descriptor. */
function closedHandle(syscall: string): Error {
  return systemError('EBADF', syscall, `EBADF: handle is closed, ${syscall}`);
}

const LARGEST_SIZE = 0x3fff_ffff;

/**
 * A queue for any number of producers and consumers. Mirrors `multiprocessing.Queue`, without its feeder thread.
 *
 * Items are what `reduction` can carry, of any size. Without a `maxsize` a queue takes as much as memory holds, and
 * gives the memory back as it is drained.
 */
export class Queue<T = unknown> {
  readonly #channel: Channel<T>;
  #closed = false;
  /** Ends loops that wait here. */
  #closing: AbortController | undefined;

  /**
   * @param maxsize how many items it holds at most; 0 or less: no limit.
   * @throws TypeError not an integer. Error EMFILE, ENFILE, ENOMEM.
   */
  constructor(maxsize?: number);
  /** @internal */
  constructor(maxsize: number, channel: Channel<T>);
  constructor(maxsize = 0, channel?: unknown) {
    const size = checkInt(maxsize, 'maxsize');
    if (size > LARGEST_SIZE) throw new ValueError(`maxsize must be at most ${LARGEST_SIZE}`);
    const limit = Math.max(0, size);
    this.#channel =
      channel instanceof Channel ? (channel as Channel<T>) : new Channel(new native.Channel(limit));
    this.#channel.objects.set(0, this);
  }

  /** @internal */
  get _channel(): Channel<T> {
    return this.#channel;
  }

  #checkOpen(): void {
    if (this.#closed) throw new ValueError(`Queue ${this.toString()} is closed`);
  }

  /**
   * Appends an item. When it returns the item is in the queue, for every process.
   *
   * @param timeout seconds; null waits for ever.
   * @throws Full no room in time. ValueError closed. PicklingError: the item cannot be carried, and nothing was put.
   */
  put(item: T, block = true, timeout?: number | null): void {
    this.#checkOpen();
    if (!this.#channel.put(item, patienceOf(block, timeout))) throw new Full();
  }

  /** As `put`, without blocking the event loop. The item is as it was at the call. @throws the signal's reason. */
  async putAsync(
    item: T,
    block = true,
    timeout?: number | null,
    { signal }: AsyncOptions = {},
  ): Promise<void> {
    this.#checkOpen();
    checkAbortSignal(signal)?.throwIfAborted();
    if (!(await this.#channel.putAsync(item, patienceOf(block, timeout), signal))) throw new Full();
  }

  /** `put(item, false)`. */
  putNowait(item: T): void {
    this.put(item, false);
  }

  /**
   * Removes the first item and answers it.
   *
   * @param timeout seconds; null waits for ever.
   * @throws Empty nothing came in time. ValueError closed.
   */
  get(block = true, timeout?: number | null): T {
    this.#checkOpen();
    const item = this.#channel.get(patienceOf(block, timeout));
    if (item === NOTHING) throw new Empty();
    return item;
  }

  /** As `get`, without blocking the event loop. An abort takes no item. @throws the signal's reason. */
  async getAsync(block = true, timeout?: number | null, { signal }: AsyncOptions = {}): Promise<T> {
    this.#checkOpen();
    checkAbortSignal(signal)?.throwIfAborted();
    const milliseconds = patienceOf(block, timeout);
    const item = this.#channel.getAtOnce(milliseconds);
    if (item !== NOTHING) return item;
    if (milliseconds === 0) throw new Empty();
    const got = await this.#channel.getAsync(milliseconds, signal);
    if (got === undefined) throw new Empty();
    return got.value;
  }

  /** `get(false)`. */
  getNowait(): T {
    return this.get(false);
  }

  /** How many items are queued, exactly, at this moment. */
  qsize(): number {
    return this.#channel.native.size();
  }

  /** @throws Error EBADF: closed in this process. */
  empty(): boolean {
    if (this.#closed) throw closedHandle('empty');
    return this.#channel.native.size() === 0;
  }

  full(): boolean {
    return !this.#channel.native.hasRoom();
  }

  /**
   * This process is done with it: `put` and `get` throw, also those that wait for an item on the event loop, and loops
   * over it end. What waits for room is still put. Other processes are not concerned, and what is queued stays.
   */
  close(): void {
    this.#closed = true;
    this.#closing?.abort(new ValueError(`Queue ${this.toString()} is closed`));
    this.#channel.endGetters(() => new ValueError(`Queue ${this.toString()} is closed`));
  }

  /** Returns at once: what was put is in the queue already. @throws AssertionError not closed. */
  joinThread(): void {
    if (!this.#closed) throw new AssertionError(`Queue ${this.toString()} not closed`);
  }

  /** Does nothing: there is no thread to wait for. */
  cancelJoinThread(): void {}

  /**
   * `for await (const item of queue)`: takes items until this process closes the queue. Whoever leaves the loop has
   * taken what it was given and nothing more.
   */
  [Symbol.asyncIterator](): AsyncIterableIterator<T> {
    this.#closing ??= new AbortController();
    if (this.#closed) this.#closing.abort();
    const closing = this.#closing.signal;
    const left = new AbortController();
    const signal = AbortSignal.any([closing, left.signal]);
    const end = { done: true, value: undefined } as const;
    const iterator: AsyncIterableIterator<T> = {
      next: async () => {
        if (signal.aborted) return end;
        try {
          return { done: false, value: await this.getAsync(true, null, { signal }) };
        } catch (error) {
          if (signal.aborted && error === signal.reason) return end;
          throw error;
        }
      },
      return: async () => {
        left.abort();
        return end;
      },
      [Symbol.asyncIterator]: () => iterator,
    };
    return iterator;
  }

  /** @internal Ready for `wait` when an item is there, which another process may take first. */
  [waitable](): Waitable {
    this.#checkOpen();
    return this.#channel.waitable();
  }

  toString(): string {
    return `<${this.constructor.name}>`;
  }

  [inspect.custom](): string {
    return this.toString();
  }
}

/** A Queue that knows when all that was put has been dealt with. Mirrors `multiprocessing.JoinableQueue`. */
export class JoinableQueue<T = unknown> extends Queue<T> {
  /** One item that was got has been dealt with. @throws ValueError more often than items were put. */
  taskDone(): void {
    if (!this._channel.native.done()) throw new ValueError('task_done() called too many times');
  }

  /** Waits until each item that was put has been reported by `taskDone`. */
  join(): void {
    waitInSlices(-1, (slice) => this._channel.native.waitUntilDone(slice));
  }

  /** As `join`, without blocking the event loop. @throws the signal's reason. */
  async joinAsync({ signal }: AsyncOptions = {}): Promise<void> {
    checkAbortSignal(signal)?.throwIfAborted();
    await this._channel.doneAsync(signal);
  }
}

/** A queue reduced to the essentials. Mirrors `multiprocessing.SimpleQueue`; here `put` never waits for room. */
export class SimpleQueue<T = unknown> {
  readonly #channel: Channel<T>;
  #closed = false;

  /** @throws Error EMFILE, ENFILE, ENOMEM. */
  constructor();
  /** @internal */
  constructor(channel: Channel<T>);
  constructor(channel?: unknown) {
    this.#channel =
      channel instanceof Channel ? (channel as Channel<T>) : new Channel(new native.Channel(0));
    this.#channel.objects.set(0, this);
  }

  /** @internal */
  get _channel(): Channel<T> {
    return this.#channel;
  }

  #checkOpen(syscall: string): void {
    if (this.#closed) throw closedHandle(syscall);
  }

  /** @throws Error EBADF: closed. PicklingError. */
  put(item: T): void {
    this.#checkOpen('put');
    this.#channel.put(item, -1);
  }

  /** As `put`; lets the event loop turn now and then. @throws the signal's reason. */
  async putAsync(item: T, { signal }: AsyncOptions = {}): Promise<void> {
    this.#checkOpen('put');
    checkAbortSignal(signal)?.throwIfAborted();
    await this.#channel.putAsync(item, -1, signal);
  }

  /** Waits for an item. @throws Error EBADF: closed. */
  get(): T {
    this.#checkOpen('get');
    return this.#channel.get(-1) as T;
  }

  /** As `get`, without blocking the event loop. @throws the signal's reason. */
  async getAsync({ signal }: AsyncOptions = {}): Promise<T> {
    this.#checkOpen('get');
    checkAbortSignal(signal)?.throwIfAborted();
    const item = this.#channel.getAtOnce(-1);
    if (item !== NOTHING) return item;
    return (await this.#channel.getAsync(-1, signal))!.value;
  }

  /** @throws Error EBADF: closed. */
  empty(): boolean {
    this.#checkOpen('empty');
    return this.#channel.native.size() === 0;
  }

  /** This process is done with it, as with a Queue. */
  close(): void {
    this.#closed = true;
    this.#channel.endGetters(() => closedHandle('get'));
  }

  /** @internal As a Queue's. */
  [waitable](): Waitable {
    this.#checkOpen('wait');
    return this.#channel.waitable();
  }

  toString(): string {
    return `<${this.constructor.name}>`;
  }

  [inspect.custom](): string {
    return this.toString();
  }
}

// -------------------------------------------------------------------------------------------------
// What travels of them: the channel. Whether a process has closed a queue is its own affair.

type Fresh = new (maxsize: number, channel: Channel<unknown>) => Queue;

for (const [tag, Class] of Object.entries({ Queue, JoinableQueue })) {
  registerInternal(Class, tag, {
    encode: (queue) => queue._channel,
    decode(channel: Channel<unknown>, context) {
      if (!(channel instanceof Channel)) throw malformed();
      const make = (): Queue => new (Class as Fresh)(channel.native.maxItems(), channel);
      return objectAt(channel, 0, Class, context, make);
    },
  });
}

registerInternal(SimpleQueue, 'SimpleQueue', {
  encode: (queue) => queue._channel,
  decode(channel: Channel<unknown>, context) {
    if (!(channel instanceof Channel)) throw malformed();
    return objectAt(channel, 0, SimpleQueue, context, () => new SimpleQueue(channel));
  },
});
