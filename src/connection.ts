/**
 * `Connection`, `Pipe` and `wait`: messages between two processes. The counterpart of CPython's
 * `multiprocessing/connection.py`. The ends of a Pipe have shared memory between them; a Connection of any other
 * descriptor speaks CPython's frames: a CPython process can sit at the other end and exchange bytes.
 *
 * Guarantees:
 * - A message arrives whole or not at all, in the order of the calls, whether they block or not. Exactly one message
 *   is read per call, so an end may be shared: another process gets the next one.
 * - A blocking call needs no turn of the event loop, goes on after signals, and dies of Ctrl-C when there is no
 *   listener. An asynchronous one uses the event loop, and no thread. Calls on one Connection are served in the order
 *   in which they were made: a blocking `send` first sends what `sendAsync` has queued, a blocking `recv` first
 *   receives for those that wait.
 * - An abort leaves the Connection as if never called. What was received of a message by then is kept for the next
 *   call; a message that has been sent in part is sent completely all the same, in the background.
 *
 * Under fork both sides have both ends. The end of the file comes when every process has closed the other end,
 * so close what you do not use. What waits on the event loop waits in the process that began to.
 *
 * When the peer dies: EOFError, or, in the middle of a message, an Error ECONNRESET; EPIPE for the sender.
 */

import type { Socket as UdpSocket } from 'node:dgram';
import type { Server, Socket } from 'node:net';
import { inspect } from 'node:util';
import { checkAbortSignal, checkInt, wrongType } from './arguments.js';
import { currentGeneration } from './at_fork.js';
import { abortable, endAfter, leftUntil, timeoutMs, waitInSlices } from './clock.js';
import { BufferTooShort, ValueError } from './errors.js';
import { native } from './native.js';
import type { AsyncOptions } from './process.js';
import type { FdPlace } from './codec/format.js';
import { encode, flatParts, loadFlat, prepareCodec, registerInternal } from './reduction.js';
import { systemError } from './system_error.js';
import {
  BAD_LENGTH,
  FrameTransport,
  isScratch,
  NAP_MS,
  type Outgoing,
  PipeTransport,
  SLICE_MS,
  type Transport,
} from './transport.js';
import { nextTurn, turnIsLong } from './waiting.js';
import { endWatch, newWatch, waitable, type Waitable } from './watches.js';
import type { Watch } from '#native';

export { Pipe } from './pipe.js';
export { waitable };
export type { AsyncOptions, Waitable };

/** What has bytes: a Buffer, a typed array, a DataView, an ArrayBuffer. */
export type BytesLike = NodeJS.ArrayBufferView | ArrayBufferLike;

/** Python's OSError without a number, for a misuse. */
function misuse(message: string, code: 'EBADF' | 'EMSGSIZE'): Error {
  return systemError(code, 'connection', message);
}

function bytesOf(value: unknown): Uint8Array {
  if (value instanceof Uint8Array) return value;
  if (ArrayBuffer.isView(value)) {
    return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
  }
  const plain = value instanceof ArrayBuffer;
  if (plain || (typeof SharedArrayBuffer !== 'undefined' && value instanceof SharedArrayBuffer)) {
    return new Uint8Array(value);
  }
  throw wrongType('buf', 'a bytes-like object (a typed array or an ArrayBuffer)', value);
}

/** An integer of Python's: its range is judged by who asks. */
function checkInteger(value: unknown, name: string): number {
  if (typeof value !== 'number' || !Number.isInteger(value)) {
    throw wrongType(name, 'an integer', value);
  }
  return value;
}

/** Where a message that is to be sent lies in `bytes`, by Python's rules. */
function extent(bytes: Uint8Array, from: unknown, count: unknown): [offset: number, size: number] {
  const offset = from === undefined ? 0 : checkInteger(from, 'offset');
  const length = bytes.byteLength;
  if (offset < 0) throw new ValueError('offset is negative');
  if (length < offset) throw new ValueError('buffer length < offset');
  if (count === undefined || count === null) return [offset, length - offset];
  const size = checkInteger(count, 'size');
  if (size < 0) throw new ValueError('size is negative');
  if (offset + size > length) throw new ValueError('buffer length < offset + size');
  return [offset, size];
}

function limitOf(maxlength: unknown): number {
  if (maxlength === undefined || maxlength === null) return Infinity;
  const limit = checkInteger(maxlength, 'maxlength');
  if (limit < 0) throw new ValueError('negative maxlength');
  return limit;
}

/** The part of `buf` that a message is received into. */
function destination(buf: unknown, from: unknown): Uint8Array {
  const bytes = bytesOf(buf);
  const offset = from === undefined ? 0 : checkInteger(from, 'offset');
  if (offset < 0) throw new ValueError('negative offset');
  if (offset > bytes.byteLength) throw new ValueError('offset too large');
  return bytes.subarray(offset);
}

/**
 * A value is being put together from scratch memory. Constructors and hooks of the program that run meanwhile
 * may receive something themselves: elsewhere.
 */
let decoding = false;

function elsewhere(): Buffer | undefined {
  return decoding ? Buffer.allocUnsafeSlow(SPARE_BYTES) : undefined;
}

const SPARE_BYTES = 4096;

/** A message that is the caller's to keep. */
function kept(bytes: Uint8Array): Buffer {
  if (isScratch(bytes)) return Buffer.from(bytes);
  return bytes as Buffer;
}

/** Makes a message one that nothing of the caller's is needed for. */
function keep(message: Outgoing): void {
  message.parts = message.parts.map((part) => {
    const copy = Buffer.allocUnsafeSlow(part.byteLength);
    copy.set(part);
    return copy;
  });
  // They leave with the first byte.
  const fds = message.sent > 0 ? [] : message.fds;
  message.fds = [];
  for (const fd of fds) {
    try {
      message.fds = [...message.fds, native.dup(fd)];
    } catch (error) {
      dropFds(message);
      throw error;
    }
  }
}

/** Closes the copies of `keep`. */
function dropFds(message: Outgoing): void {
  const { fds } = message;
  message.fds = [];
  for (const fd of fds) native.close(fd);
}

/** A promise's two ends, and the signal that may give it up. */
class Pending<Result> {
  readonly promise: Promise<Result>;
  #resolve!: (result: Result) => void;
  #reject!: (error: unknown) => void;
  readonly #signal: AbortSignal | undefined;
  readonly #abort: () => void;
  readonly #onSettled: (() => void) | undefined;

  constructor(signal: AbortSignal | undefined, onAbort: () => void, onSettled?: () => void) {
    this.#onSettled = onSettled;
    this.promise = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    this.#signal = signal;
    this.#abort = () => {
      onAbort();
      this.reject(signal!.reason);
    };
    signal?.addEventListener('abort', this.#abort, { once: true });
  }

  resolve(result: Result): void {
    this.#settle();
    this.#resolve(result);
  }

  reject(error: unknown): void {
    this.#settle();
    this.#reject(error);
  }

  #settle(): void {
    this.#signal?.removeEventListener('abort', this.#abort);
    this.#onSettled?.();
  }
}

interface Sender {
  message: Outgoing;
  pending: Pending<void>;
}

interface Receiver {
  limit: number;
  /** Whether it takes descriptors, as messages of `send` may have them. */
  wantsFds: boolean;
  take: (bytes: Uint8Array, fds: number[]) => void;
  pending: { reject(error: unknown): void };
}

/** What a Connection holds of the system; the finaliser needs it when the Connection is gone. */
interface Held {
  transport: Transport | null;
  watch: Watch | undefined;
}

/** Closes what a program has dropped without closing it, as CPython's `__del__` does. */
const forgotten = new FinalizationRegistry<Held>((held) => {
  try {
    release(held);
  } catch {
    // Somebody has closed the number: there is nothing left to close, and nobody to tell.
  }
});

function release(held: Held): void {
  const { transport, watch } = held;
  held.transport = null;
  held.watch = undefined;
  if (watch !== undefined) endWatch(watch);
  transport?.close();
}

/**
 * One end of a pipe, or any descriptor that carries CPython's frames. Mirrors
 * `multiprocessing.connection.Connection`.
 *
 * Timeouts are seconds. Every call throws an Error EBADF "handle is closed" after `close()`, and in the wrong
 * direction "connection is write-only" or "connection is read-only". Receiving throws EOFError when all copies of the
 * other end are closed and everything was read, and an Error ECONNRESET when that happens in the middle of a
 * message. Sending throws an Error EPIPE when nobody can receive any more.
 */
export class Connection {
  readonly #held: Held;
  #readable: boolean;
  readonly #writable: boolean;
  #senders: Sender[] = [];
  #receivers: Receiver[] = [];
  /** There is an interest in the descriptor that has not fired. */
  #armed = false;
  #generation = currentGeneration();
  /** Looks now and then whether a bell should have rung. */
  #looking: NodeJS.Timeout | undefined;
  #napping: NodeJS.Timeout | undefined;

  /**
   * @param handle an open descriptor, which belongs to the Connection from now on.
   * @throws ValueError a negative handle; neither readable nor writable.
   */
  constructor(handle: number, readable?: boolean, writable?: boolean);
  /** @internal */
  constructor(handle: number | PipeTransport, readable?: boolean, writable?: boolean);
  constructor(handle: number | PipeTransport, readable = true, writable = true) {
    const ofPipe = handle instanceof PipeTransport;
    if (!ofPipe && checkInt(handle, 'handle') < 0) throw new ValueError('invalid handle');
    if (!readable && !writable) {
      throw new ValueError('at least one of `readable` and `writable` must be True');
    }
    const transport = ofPipe ? handle : new FrameTransport(handle);
    this.#held = { transport, watch: undefined };
    this.#readable = Boolean(readable);
    this.#writable = Boolean(writable);
    forgotten.register(this, this.#held, this.#held);
  }

  get closed(): boolean {
    return this.#held.transport === null;
  }

  get readable(): boolean {
    return this.#readable;
  }

  get writable(): boolean {
    return this.#writable;
  }

  /** The descriptor. */
  fileno(): number {
    return this.#open().fd;
  }

  /**
   * Closes this process's copy; closing again does nothing. What waits on the event loop is rejected with an Error
   * EBADF; only a message that has been sent in part is completed first, in the background.
   */
  close(): void {
    const held = this.#held;
    if (held.transport === null) return;
    this.#renew();
    const [first] = this.#senders;
    if (first !== undefined && first.message.sent > 0) {
      this.#closeLater(first);
    } else {
      forgotten.unregister(held);
      release(held);
    }
    const waiting = [...this.#senders, ...this.#receivers];
    this.#senders = [];
    this.#receivers = [];
    for (const { pending } of waiting) pending.reject(misuse('handle is closed', 'EBADF'));
  }

  /** Completes the first message; the descriptor is the background's from here on. */
  #closeLater(first: Sender): void {
    const held: Held = { ...this.#held };
    this.#held.transport = null;
    this.#held.watch = undefined;
    forgotten.unregister(this.#held);
    this.#senders.shift();
    const { transport, watch = newWatch() } = held;
    watch.disarm();
    let timer: NodeJS.Timeout | undefined;
    const go = (): void => {
      clearTimeout(timer);
      watch.disarm();
      try {
        if (!transport!.send(first.message, 0)) {
          const { bell, fd } = transport!;
          const after = bell?.arm(false, true);
          if (after !== undefined) timer = setTimeout(go, after);
          if (after === NAP_MS) return;
          watch.add(fd, bell !== undefined, bell === undefined);
          watch.arm(go);
          return;
        }
        first.pending.resolve();
      } catch (error) {
        first.pending.reject(error);
      }
      release({ transport, watch });
    };
    go();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  // ---- What travels -----------------------------------------------------------------------------

  /** It lies in the codec's scratch memory and the value's own, and has the value's descriptors. */
  #encode(value: unknown): Outgoing {
    const message = encode(value);
    return { parts: flatParts(message), fds: message.fds, sent: 0 };
  }

  #decode(bytes: Uint8Array, fds: number[]): unknown {
    const outer = decoding;
    decoding = true;
    try {
      return loadFlat(bytes as Buffer, fds);
    } finally {
      decoding = outer;
      // Those that no object has taken over.
      for (const fd of fds) if (fd >= 0) native.close(fd);
    }
  }

  // ---- Blocking -----------------------------------------------------------------------------------

  /**
   * Sends a value. Blocks while the other end does not read and the system's buffer is full. Connections, sockets
   * and servers inside of it arrive as copies with descriptors of their own; yours stay open, so close them.
   *
   * @throws PicklingError the value cannot travel; nothing was sent then.
   */
  send(value: unknown): void {
    const transport = this.#sending();
    const message = this.#encode(value);
    this.#flush();
    const [part] = message.parts;
    if (message.parts.length === 1 && message.fds.length === 0) {
      transport.sendBytes(part!, 0, part!.byteLength);
    } else {
      transport.send(message, -1);
    }
  }

  /**
   * Sends bytes as one message.
   *
   * @param offset where they begin in `buf`, in bytes. @param size how many; by default the rest.
   * @throws ValueError they are not inside of `buf`.
   */
  sendBytes(buf: BytesLike, offset?: number, size?: number | null): void {
    const transport = this.#sending();
    const bytes = bytesOf(buf);
    const [from, count] = extent(bytes, offset, size);
    this.#flush();
    transport.sendBytes(bytes, from, count);
  }

  /**
   * Receives a value that `send` has sent, or bytes that `reduction.dumps` has made. Blocks until there is one.
   *
   * @throws UnpicklingError another message, or one that names what is not here. It has been received: the
   *   next call gets the next one.
   */
  recv(): unknown {
    this.#receiving();
    const fds: number[] = [];
    return this.#decode(this.#receive(Infinity, fds), fds);
  }

  /**
   * Receives a message as bytes. Blocks until there is one.
   *
   * @param maxlength in bytes. A longer message is an Error EMSGSIZE, after which the Connection is not readable any
   *   more, or closed if it only was readable.
   */
  recvBytes(maxlength?: number | null): Buffer {
    this.#receiving();
    return kept(this.#receive(limitOf(maxlength)));
  }

  /**
   * Receives a message into `buf`, from byte `offset` on, and answers its length.
   *
   * @throws BufferTooShort it does not fit; the error's `data` is the whole message. ValueError no such offset.
   */
  recvBytesInto(buf: BytesLike, offset?: number): number {
    this.#receiving();
    const into = destination(buf, offset);
    return placed(this.#receive(Infinity, undefined, into), into);
  }

  /**
   * Whether a message, or the end, is there, or comes within `timeout` seconds: 0 by default, null waits for ever.
   */
  poll(timeout: number | null = 0): boolean {
    return this.#receiving().poll(timeoutMs(timeout));
  }

  #receive(limit: number, fds?: number[], into?: Uint8Array): Uint8Array {
    if (this.#receivers.length > 0) {
      this.#serveReceivers(-1);
      this.#arm();
    }
    const received = this.#receiving().receive(limit, -1, fds, elsewhere() ?? into);
    return received === BAD_LENGTH ? this.#badLength() : received!;
  }

  /** As in Python: what could still be sent can be, and nothing more is received. */
  #badLength(): never {
    if (this.#writable) this.#readable = false;
    else this.close();
    throw misuse('bad message length', 'EMSGSIZE');
  }

  /** Sends what `sendAsync` has queued before. */
  #flush(): void {
    if (this.#senders.length === 0) return;
    this.#serveSenders(-1);
    this.#arm();
  }

  // ---- On the event loop --------------------------------------------------------------------------

  /**
   * As `send`, without blocking the event loop. Resolves when all of it has been handed to the system. An abort
   * takes it back if nothing has left; else the promise is rejected and the message is sent all the same.
   *
   * The value is sent as it is at the call: what has not left by then, binary data included, is copied, and
   * descriptors are duplicated. The caller may change or close all of it at once.
   */
  async sendAsync(value: unknown, { signal }: AsyncOptions = {}): Promise<void> {
    this.#sending();
    checkAbortSignal(signal)?.throwIfAborted();
    await this.#enqueue(this.#encode(value), signal, true);
  }

  /** As `sendBytes`, without blocking. The bytes must stay what they are until the promise is settled. */
  async sendBytesAsync(
    buf: BytesLike,
    offset?: number,
    size?: number | null,
    { signal }: AsyncOptions = {},
  ): Promise<void> {
    this.#sending();
    const bytes = bytesOf(buf);
    const [from, count] = extent(bytes, offset, size);
    checkAbortSignal(signal)?.throwIfAborted();
    const parts = [bytes.subarray(from, from + count)];
    await this.#enqueue({ parts, fds: [], sent: 0 }, signal);
  }

  /** As `recv`, without blocking. Several wait in line. */
  recvAsync({ signal }: AsyncOptions = {}): Promise<unknown> {
    return this.#await(Infinity, true, (bytes, fds) => this.#decode(bytes, fds), signal);
  }

  /** As `recvBytes`, without blocking. */
  async recvBytesAsync(maxlength?: number | null, { signal }: AsyncOptions = {}): Promise<Buffer> {
    return this.#await(limitOf(maxlength), false, kept, signal);
  }

  /** As `recvBytesInto`, without blocking. Nothing is written before the whole message is there. */
  async recvBytesIntoAsync(
    buf: BytesLike,
    offset?: number,
    { signal }: AsyncOptions = {},
  ): Promise<number> {
    const into = destination(buf, offset);
    return this.#await(Infinity, false, (bytes) => placed(bytes, into), signal);
  }

  /** As `poll`, without blocking the event loop. */
  async pollAsync(timeout: number | null = 0, { signal }: AsyncOptions = {}): Promise<boolean> {
    this.#receiving();
    return (await waitAsync([this], timeout, { signal })).length > 0;
  }

  /** @param copies whether the message is to be independent of the caller's memory from here on. */
  async #enqueue(
    message: Outgoing,
    signal: AbortSignal | null | undefined,
    copies = false,
  ): Promise<void> {
    const transport = this.#sending();
    // Whoever never has to wait lets the event loop turn all the same; so do receivers.
    const now = this.#senders.length === 0 && !turnIsLong(message.parts.length > 1);
    if (now && transport.send(message, 0)) return;
    if (copies) keep(message);
    const sender: Sender = {
      message,
      pending: new Pending<void>(
        signal ?? undefined,
        () => {
          // The bytes are the caller's again.
          if (message.sent === 0) this.#senders = this.#senders.filter((other) => other !== sender);
          else if (!copies) message.parts = message.parts.map((part) => Buffer.from(part));
          this.#arm();
        },
        () => dropFds(message),
      ),
    };
    this.#senders.push(sender);
    this.#armOr(sender.pending, () => {
      this.#senders = this.#senders.filter((other) => other !== sender);
    });
    await sender.pending.promise;
  }

  async #await<Value>(
    limit: number,
    wantsFds: boolean,
    convert: (bytes: Uint8Array, fds: number[]) => Value,
    given: AbortSignal | null | undefined,
  ): Promise<Value> {
    const transport = this.#receiving();
    const signal = checkAbortSignal(given);
    signal?.throwIfAborted();
    if (this.#receivers.length === 0 && !turnIsLong()) {
      const fds: number[] | undefined = wantsFds ? [] : undefined;
      const received = transport.receive(limit, 0, fds, elsewhere());
      if (received === BAD_LENGTH) this.#badLength();
      if (received !== undefined) return convert(received, fds ?? []);
    }
    const pending = new Pending<Value>(signal, () => {
      this.#receivers = this.#receivers.filter((other) => other !== receiver);
      this.#arm();
    });
    const receiver: Receiver = {
      limit,
      wantsFds,
      take: (bytes, fds) => pending.resolve(convert(bytes, fds)),
      pending,
    };
    this.#receivers.push(receiver);
    this.#armOr(pending, () => {
      this.#receivers = this.#receivers.filter((other) => other !== receiver);
    });
    return pending.promise;
  }

  #serveSenders(milliseconds: number): void {
    for (let first; (first = this.#senders[0]) !== undefined;) {
      try {
        if (!this.#open().send(first.message, milliseconds)) return;
      } catch (error) {
        this.#senders.shift();
        first.pending.reject(error);
        continue;
      }
      this.#senders.shift();
      first.pending.resolve();
    }
  }

  #serveReceivers(milliseconds: number): void {
    for (let first; (first = this.#receivers[0]) !== undefined;) {
      try {
        const fds: number[] | undefined = first.wantsFds ? [] : undefined;
        const received = this.#receiving().receive(first.limit, milliseconds, fds, elsewhere());
        if (received === undefined) return;
        this.#receivers.shift();
        if (received === BAD_LENGTH) this.#badLength();
        first.take(received, fds ?? []);
      } catch (error) {
        if (this.#receivers[0] === first) this.#receivers.shift();
        first.pending.reject(error);
      }
    }
  }

  /** Watches the descriptor for what is waited for, or for nothing. */
  #arm(): void {
    const held = this.#held;
    if (held.transport === null) return;
    const { fd, bell } = held.transport;
    const reads = this.#receivers.length > 0;
    const writes = this.#senders.length > 0;
    if (!reads && !writes) {
      if (this.#armed) {
        held.watch!.disarm();
        held.watch!.remove(fd);
        this.#armed = false;
      }
      return;
    }
    held.watch ??= newWatch();
    // With a bell, both are heard of as something to read.
    held.watch.add(fd, bell !== undefined || reads, bell === undefined && writes);
    held.watch.arm(() => this.#ready());
    this.#armed = true;
    if (bell === undefined) return;
    this.#lookNowAndThen();
    const after = bell.arm(reads, writes);
    if (after === 0) setImmediate(() => this.#look());
    if (after === NAP_MS) this.#nap();
  }

  /** The descriptor would tell at once, and of nothing. */
  #nap(): void {
    this.#held.watch!.disarm();
    if (this.#napping !== undefined) return;
    this.#napping = setTimeout(() => {
      this.#napping = undefined;
      this.#look();
    }, NAP_MS);
  }

  #lookNowAndThen(): void {
    if (this.#looking !== undefined) return;
    const timer = setInterval(() => {
      if (this.#looking === timer && this.#armed) {
        this.#look();
        return;
      }
      clearInterval(timer);
      if (this.#looking === timer) this.#looking = undefined;
    }, SLICE_MS);
    this.#looking = timer.unref();
  }

  #look(): void {
    if (!this.#armed || this.#held.transport === null) return;
    this.#held.watch?.disarm();
    this.#ready();
  }

  #armOr(pending: { reject(error: unknown): void }, takeBack: () => void): void {
    try {
      this.#arm();
    } catch (error) {
      takeBack();
      pending.reject(error);
    }
  }

  #ready(): void {
    this.#armed = false;
    this.#serveSenders(0);
    this.#serveReceivers(0);
    try {
      this.#arm();
    } catch (error) {
      const waiting = [...this.#senders, ...this.#receivers];
      this.#senders = [];
      this.#receivers = [];
      for (const { pending } of waiting) pending.reject(error);
    }
  }

  // ---- State --------------------------------------------------------------------------------------

  #open(): Transport {
    const { transport } = this.#held;
    if (transport === null) throw misuse('handle is closed', 'EBADF');
    if (this.#generation !== currentGeneration()) this.#renew();
    return transport;
  }

  #sending(): Transport {
    const transport = this.#open();
    if (!this.#writable) throw misuse('connection is read-only', 'EBADF');
    return transport;
  }

  #receiving(): Transport {
    const transport = this.#open();
    if (!this.#readable) throw misuse('connection is write-only', 'EBADF');
    return transport;
  }

  /** In the child of a fork: who waited waits in the parent, which also completes what it began to send. */
  #renew(): void {
    if (this.#generation === currentGeneration()) return;
    this.#generation = currentGeneration();
    // The child has copies of the descriptors, too.
    for (const { message } of this.#senders) dropFds(message);
    this.#senders = [];
    this.#receivers = [];
    this.#armed = false;
    this.#looking = undefined;
    this.#napping = undefined;
    this.#held.watch = undefined;
  }

  /**
   * Whether it is between two messages: nothing received in part, nothing queued. Only then can it travel.
   *
   * @internal
   */
  get _atRest(): boolean {
    const transport = this.#open();
    return !transport.amidst && this.#senders.length === 0 && this.#receivers.length === 0;
  }

  /** @internal What another process needs of it: a descriptor, or those of a Pipe's end and which end that is. */
  _parts(): { fds: number[]; side: number | null } {
    const transport = this.#open();
    if (!(transport instanceof PipeTransport)) return { fds: [transport.fd], side: null };
    return { fds: transport.fds, side: transport.side };
  }

  /** @internal Two connected ends. */
  static _pair(duplex: boolean): [Connection, Connection] {
    // Here and not in each child.
    prepareCodec();
    const [first, second] = PipeTransport.pair(duplex);
    return duplex
      ? [new Connection(first), new Connection(second)]
      : [new Connection(first, true, false), new Connection(second, false, true)];
  }

  /** @internal From what `_parts` has answered; the descriptors are the Connection's, or closed when it throws. */
  static _of(
    fds: readonly number[],
    side: number | null,
    readable: boolean,
    writable: boolean,
  ): Connection {
    const [fd = -1, memory = -1] = fds;
    return new Connection(
      side === null ? fd : PipeTransport.of(fd, memory, side),
      readable,
      writable,
    );
  }

  /** @internal For `wait`; undefined: the descriptor tells. */
  [waitable](): Waitable | undefined {
    const { fd, bell } = this.#open();
    if (bell === undefined) return undefined;
    const arm = (): void => {
      bell.arm(true, false);
    };
    return { fd, ready: () => bell.ready(), arm, disarm() {} };
  }

  toString(): string {
    const { transport } = this.#held;
    if (transport === null) return `<${this.constructor.name} closed>`;
    const direction = this.#readable ? (this.#writable ? '' : ' read-only') : ' write-only';
    return `<${this.constructor.name} fd=${transport.fd}${direction}>`;
  }

  [inspect.custom](): string {
    return this.toString();
  }
}

/** Puts a message where it was wanted. */
function placed(message: Uint8Array, into: Uint8Array): number {
  const size = message.byteLength;
  if (message.buffer === into.buffer && message.byteOffset === into.byteOffset && size > 0) {
    return size; // It was received there.
  }
  if (size > into.byteLength) {
    throw new BufferTooShort(undefined, isScratch(message) ? Buffer.from(message) : message);
  }
  into.set(message);
  return size;
}

// -------------------------------------------------------------------------------------------------
// To other processes: a copy, in the same direction. The sender's stays open.

type Sent = [places: FdPlace[], side: number | null, readable: boolean, writable: boolean];

registerInternal(Connection, 'Connection', {
  encode(conn, context): Sent {
    if (conn.closed) context.refuse('is a Connection that is closed: send it before close()');
    if (!conn._atRest) {
      context.refuse('is a Connection in the middle of a message: await what it does first');
    }
    const { fds, side } = conn._parts();
    return [fds.map((fd) => context.addFd(fd)), side, conn.readable, conn.writable];
  },
  decode([places, side, readable, writable]: Sent, context) {
    const fds: number[] = [];
    try {
      for (const place of places) fds.push(context.takeFd(place));
    } catch (error) {
      for (const fd of fds) native.close(fd);
      throw error;
    }
    const conn = Connection._of(fds, side, readable, writable);
    context.onFailure(() => conn.close());
    return conn;
  },
});

// -------------------------------------------------------------------------------------------------
// wait

/** What `wait` takes: connections, sentinels and other descriptors, sockets, and objects with `waitable`. */
export type WaitObject =
  number | { fileno(): number } | { [waitable](): Waitable } | Socket | Server | UdpSocket;

const POLLIN = 1;

function pollSlots(slots: Int32Array, milliseconds: number): boolean {
  return waitInSlices(milliseconds, (slice) => native.poll(slots, slice) > 0);
}

interface Entry {
  object: WaitObject;
  fd: number;
  waitable: Waitable | undefined;
  /** Data that node has read already. */
  buffered: () => boolean;
}

function never(): boolean {
  return false;
}

function entryOf(object: WaitObject): Entry {
  const fail = (): never => {
    throw new ValueError(`Invalid file object: ${inspect(object, { depth: 0 })}`);
  };
  if (typeof object === 'number') {
    const fd = checkInt(object, 'an object');
    if (fd < 0) throw new ValueError(`Invalid file descriptor: ${fd}`);
    return { object, fd, waitable: undefined, buffered: never };
  }
  if (typeof object !== 'object' || object === null) return fail();
  if (waitable in object) {
    const side: Waitable | undefined = object[waitable]();
    if (side !== undefined) return { object, fd: side.fd, waitable: side, buffered: never };
  }
  let fd: unknown;
  let buffered = never;
  if ('fileno' in object && typeof object.fileno === 'function') {
    fd = object.fileno();
  } else if ('_handle' in object) {
    const socket = object as unknown as {
      _handle?: { fd?: number } | null;
      readableLength?: number;
    };
    fd = socket._handle?.fd;
    buffered = () => (socket.readableLength ?? 0) > 0;
  }
  if (typeof fd !== 'number' || !Number.isInteger(fd)) return fail();
  if (fd < 0) throw new ValueError(`Invalid file descriptor: ${fd}`);
  return { object, fd, waitable: undefined, buffered };
}

/** The objects of one call of `wait`. */
class Waiting {
  readonly #entries: Entry[];
  readonly slots: Int32Array;
  #armed = false;

  constructor(objects: Iterable<WaitObject>) {
    if (
      typeof (objects as Partial<Iterable<WaitObject>> | null)?.[Symbol.iterator] !== 'function'
    ) {
      throw wrongType('objects', 'an iterable', objects);
    }
    this.#entries = Array.from(objects, entryOf);
    const seen = new Set<number>();
    for (const { object, fd } of this.#entries) {
      if (seen.has(fd)) {
        throw new ValueError(`${inspect(object, { depth: 0 })} (FD ${fd}) is already registered`);
      }
      seen.add(fd);
    }
    this.slots = new Int32Array(3 * this.#entries.length);
    this.#entries.forEach(({ fd }, i) => this.slots.set([fd, POLLIN, 0], 3 * i));
  }

  /** After so long it is time to look, whatever the descriptors say: who should have rung may have died. */
  get sliceMs(): number {
    return this.#entries.some(({ waitable: side }) => side !== undefined) ? SLICE_MS : Infinity;
  }

  get fds(): number[] {
    return this.#entries.map(({ fd }) => fd);
  }

  /** Those that are ready now, in their order. Looks at the descriptors, too, unless `polled`. */
  ready(polled = false): WaitObject[] {
    if (!polled) native.poll(this.slots, 0);
    const { slots } = this;
    return this.#entries
      .filter(({ waitable: side, buffered }, i) =>
        side === undefined ? slots[3 * i + 2] !== 0 || buffered() : side.ready(),
      )
      .map(({ object }) => object);
  }

  /** From now on the descriptors tell. What is ready by then. */
  arm(): WaitObject[] {
    this.#armed = true;
    let any = false;
    for (const { waitable: side } of this.#entries) {
      side?.arm();
      any ||= side !== undefined;
    }
    return any ? this.ready() : [];
  }

  disarm(): void {
    if (!this.#armed) return;
    for (const { waitable: side } of this.#entries) side?.disarm();
  }
}

/** A descriptor may be readable, and remain so, for somebody else: after so many looks each further one takes a nap. */
const MOST_VAIN = 8;

/**
 * Waits until one of the objects is ready, and answers all that are, in the order given; none when the time was up.
 * A Connection is ready when a message or the end is there; a sentinel, when its process has ended; a descriptor or
 * a socket, when it is readable. Mirrors `multiprocessing.connection.wait`.
 *
 * @param timeout seconds; null or undefined waits for ever, 0 or less does not wait.
 * @throws ValueError something that has no descriptor, or the same descriptor twice. Error EBADF a closed
 *   Connection.
 */
export function wait<T extends WaitObject>(objects: Iterable<T>, timeout?: number | null): T[] {
  const milliseconds = timeoutMs(timeout);
  const waiting = new Waiting(objects);
  const end = endAfter(milliseconds);
  let ready = waiting.ready();
  let vain = 0;
  try {
    while (ready.length === 0) {
      const now = performance.now();
      if (now >= end) break;
      ready = waiting.arm();
      if (ready.length > 0) break;
      const told = pollSlots(waiting.slots, leftUntil(Math.min(end, now + waiting.sliceMs)));
      ready = waiting.ready(true);
      if (told && ready.length === 0 && ++vain > MOST_VAIN)
        native.sleepMs(Math.min(end - now, NAP_MS));
    }
  } finally {
    waiting.disarm();
  }
  return ready as T[];
}

/** As `wait`, without blocking the event loop. @throws the signal's reason. */
export async function waitAsync<T extends WaitObject>(
  objects: Iterable<T>,
  timeout?: number | null,
  { signal }: AsyncOptions = {},
): Promise<T[]> {
  const milliseconds = timeoutMs(timeout);
  checkAbortSignal(signal)?.throwIfAborted();
  const waiting = new Waiting(objects);
  // Whoever always finds something ready lets the event loop turn all the same.
  if (turnIsLong()) {
    await nextTurn();
    signal?.throwIfAborted();
  }
  let ready = waiting.ready();
  if (ready.length > 0 || milliseconds === 0) return ready as T[];
  const watch = newWatch();
  const { sliceMs } = waiting;
  let timer: NodeJS.Timeout | undefined;
  let failure: unknown;
  let looks = 0;
  try {
    await abortable(milliseconds, signal, (done) => {
      const arm = (): void => {
        clearTimeout(timer);
        watch.arm(look);
        if (sliceMs !== Infinity) timer = setTimeout(look, sliceMs).unref();
      };
      const look = (): void => {
        try {
          ready = waiting.ready();
          if (ready.length === 0) ready = waiting.arm();
          if (ready.length > 0) {
            done();
            return;
          }
          for (const fd of waiting.fds) watch.add(fd, true, false);
          clearTimeout(timer);
          if (++looks > MOST_VAIN) timer = setTimeout(arm, NAP_MS);
          else arm();
        } catch (error) {
          failure = error;
          done();
        }
      };
      look();
      return () => {
        clearTimeout(timer);
        watch.disarm();
      };
    });
  } finally {
    endWatch(watch);
    waiting.disarm();
  }
  if (failure !== undefined) throw failure;
  return ready as T[];
}
