/**
 * What carries the messages of a Connection: shared memory between the ends of a Pipe (`PipeTransport`;
 * native/core/pipe.h tells how), CPython's frames over any other descriptor (`FrameTransport`). Connection has the
 * rules; here are the bytes.
 *
 * A message is received into one scratch buffer when it is small, and into a buffer of its own, allocated once, when
 * it is not. It is sent from where it lies, in as many parts as it has.
 *
 * A wait may end in the middle of a message, in either direction. What has been received is kept for the next
 * call, and what has been sent is noted in the message.
 *
 * When the peer dies in the middle of a message, it is never taken for whole: ECONNRESET.
 *
 * Only connection.ts and what is built on frames (queues) may import this file.
 */

import { constants } from 'node:buffer';
import { currentGeneration } from './at_fork.js';
import { waitInSlices, waitsInSlices } from './clock.js';
import { EOFError } from './errors.js';
import { systemError } from './system_error.js';
import { native } from './native.js';
import type { PipeEnd } from '#native';

/** FrameOutcome of native/core/frame.h. */
const NOT_YET = -1;
const END = -2;
const TOO_LONG = -3;
const PARTIAL = -4;
const MALFORMED = -6;
// Of FrameState there.
const STATE_DOUBLES = 9;
const LENGTH = 0;
const FILLED = 1;
const PATIENCE = 5;

/** What is sent, and how far it is. */
export interface Outgoing {
  parts: Uint8Array[];
  /** Descriptors that travel along; the receiver gets copies. */
  fds: readonly number[];
  /** 0: nothing has left. Else the transport's note. */
  sent: number;
  /** The child that is being started by it. */
  child?: number;
}

/** A message whose length cannot be, or is more than the receiver wants. */
export const BAD_LENGTH = Symbol('bad message length');

/** What tells of messages where the descriptor does so only on demand. */
export interface Bell {
  /** Whether a message, or the end, is there. */
  ready(): boolean;
  /**
   * From now on the descriptor becomes readable when there is something to receive, or room to send. It may do so for
   * nothing. Whoever waits looks every `SLICE_MS` all the same: a sender may die before it rings.
   *
   * @returns after how many milliseconds to look all the same: 0 when there is something, or room, already. `NAP_MS`:
   *   the descriptor is readable and remains so, for another receiver, and tells nothing meanwhile.
   */
  arm(receive: boolean, send: boolean): number;
}

export const SLICE_MS = 250;
export const NAP_MS = 1;
/** By what native/core/pipe.h answers: armed, now, soon. */
const LOOK_AFTER_MS = [SLICE_MS, 0, NAP_MS] as const;

/** Messages in both directions. Timeouts are milliseconds: 0 does not block, negative is for ever. */
export interface Transport {
  /** Readable when a message, or a part of one, or the end is there; with a `bell`, after its `arm`. */
  readonly fd: number;
  readonly bell: Bell | undefined;
  /** Whether a message, or a part of one, or the end is there in time. */
  poll(timeoutMs: number): boolean;
  /** Sends one small or large part at once, blocking. */
  sendBytes(bytes: Uint8Array, offset: number, size: number): void;
  /** Goes on sending; whether all of it has left. @throws Error EPIPE nobody reads. */
  send(message: Outgoing, timeoutMs: number): boolean;
  /**
   * The next message, undefined when it has not come in time.
   *
   * @param limit BAD_LENGTH for a longer one, whose payload stays where it is.
   * @param fds takes the descriptors that came with it; without it they are dropped.
   * @param into where the message goes if it fits and comes at once.
   * @returns a view of scratch memory, valid until the next call of anybody's (`isScratch`), a part of `into`, or
   *   a buffer of its own.
   * @throws EOFError the other end is closed. Error ECONNRESET it was closed in the middle of a message.
   */
  receive(
    limit: number,
    timeoutMs: number,
    fds?: number[],
    into?: Uint8Array,
  ): Uint8Array | typeof BAD_LENGTH | undefined;
  /** Whether a message has been received in part. */
  readonly amidst: boolean;
  close(): void;
}

const POLLIN = 1;
const SCRATCH_BYTES = 16_384;
/** As native/core/channel.h has it. */
const MOST_SMALL = 4096;
let scratch: Buffer | undefined;

/** Whether a received message has to be copied to be kept. */
export function isScratch(bytes: Uint8Array): boolean {
  return bytes.buffer === scratch?.buffer;
}

/** For a message that one Buffer can hold: 4 GiB in Node 20. */
function room(bytes: number): Buffer | undefined {
  if (bytes > constants.MAX_LENGTH) return undefined;
  try {
    // Memory that nobody has touched costs nothing: what a peer announces and does not send is not paid for.
    return Buffer.allocUnsafeSlow(bytes);
  } catch {
    // Later versions of node have no such limit, but the system has.
    return undefined;
  }
}

function truncated(): Error {
  return systemError('ECONNRESET', 'recv', 'got end of file during message');
}

/** `receive`, which answers undefined when nothing has come, in slices: for a Worker. */
function receiveInSlices<T>(
  timeoutMs: number,
  receive: (sliceMs: number) => T | undefined,
): T | undefined {
  let received: T | undefined;
  waitInSlices(timeoutMs, (slice) => (received = receive(slice)) !== undefined);
  return received;
}

/** Frames on a descriptor: a socket, or anything else that can be read and written. */
export class FrameTransport implements Transport {
  readonly fd: number;
  readonly bell = undefined;
  readonly #state = new Float64Array(STATE_DOUBLES);
  /** The message that is received in part. */
  #payload: Buffer | undefined;
  #fds: number[] | undefined;

  constructor(fd: number) {
    this.fd = fd;
    this.#state[LENGTH] = -1;
    this.#state[PATIENCE] = 1;
  }

  get amidst(): boolean {
    return this.#state[LENGTH]! >= 0 || this.#state[FILLED + 1]! > 0;
  }

  poll(timeoutMs: number): boolean {
    const slots = Int32Array.of(this.fd, POLLIN, 0);
    return waitInSlices(timeoutMs, (slice) => native.poll(slots, slice) > 0);
  }

  sendBytes(bytes: Uint8Array, offset: number, size: number): void {
    if (!waitsInSlices) {
      native.sendFrame(this.fd, bytes, offset, size, -1);
      return;
    }
    this.send({ parts: [bytes.subarray(offset, offset + size)], fds: [], sent: 0 }, -1);
  }

  send(message: Outgoing, timeoutMs: number): boolean {
    let total = 0;
    for (const part of message.parts) total += part.byteLength;
    total += total > 0x7fff_ffff ? 12 : 4;
    const { fd } = this;
    return waitInSlices(timeoutMs, (slice) => {
      const { parts, fds, sent, child } = message;
      message.sent = native.sendFrameParts(fd, parts, fds, sent, slice, child);
      return message.sent === total;
    });
  }

  receive(
    limit: number,
    timeoutMs: number,
    fds?: number[],
    into?: Uint8Array,
  ): Uint8Array | typeof BAD_LENGTH | undefined {
    if (!waitsInSlices || timeoutMs === 0) return this.#receive(limit, timeoutMs, fds, into);
    return receiveInSlices(timeoutMs, (slice) => this.#receive(limit, slice, fds, into));
  }

  #receive(
    limit: number,
    timeoutMs: number,
    fds?: number[],
    into?: Uint8Array,
  ): Uint8Array | typeof BAD_LENGTH | undefined {
    if (this.#payload !== undefined) {
      return this.#payload.length > limit ? BAD_LENGTH : this.#rest(timeoutMs, fds);
    }
    const target = into ?? (scratch ??= Buffer.allocUnsafeSlow(SCRATCH_BYTES));
    const most = Math.min(limit, target.length);
    const state = this.#state;
    const outcome =
      fds === undefined
        ? native.receiveFrame(this.fd, state, target, most, timeoutMs)
        : native.receiveFrame(this.fd, state, target, most, timeoutMs, (this.#fds ??= []));
    if (outcome >= 0) {
      if (this.#fds !== undefined) this.#handOver(fds);
      return target.subarray(0, outcome);
    }
    if (outcome === NOT_YET) return undefined;
    if (outcome !== TOO_LONG && outcome !== PARTIAL) return this.#failed(outcome);
    if (state[LENGTH]! > limit) return BAD_LENGTH;
    const payload = room(state[LENGTH]!);
    if (payload === undefined) return BAD_LENGTH;
    payload.set(target.subarray(0, state[FILLED]!));
    this.#payload = payload;
    return this.#rest(timeoutMs, fds);
  }

  #rest(timeoutMs: number, fds: number[] | undefined): Uint8Array | undefined {
    const payload = this.#payload!;
    const outcome = native.continueFrame(this.fd, this.#state, payload, timeoutMs);
    if (outcome === PARTIAL) return undefined;
    this.#payload = undefined;
    if (outcome < 0) return this.#failed(outcome) as never;
    if (this.#fds !== undefined) this.#handOver(fds);
    return payload;
  }

  #failed(outcome: number): typeof BAD_LENGTH {
    this.#dropFds();
    if (outcome === MALFORMED) return BAD_LENGTH;
    this.#state[LENGTH] = -1;
    this.#state[FILLED] = 0;
    this.#state[FILLED + 1] = 0;
    if (outcome === END) throw new EOFError('the other end of the connection is closed');
    throw truncated();
  }

  #handOver(fds: number[] | undefined): void {
    if (fds === undefined) {
      this.#dropFds();
    } else {
      fds.push(...this.#fds!);
      this.#fds = undefined;
    }
  }

  #dropFds(): void {
    for (const fd of this.#fds ?? []) native.close(fd);
    this.#fds = undefined;
  }

  close(): void {
    this.#dropFds();
    this.#payload = undefined;
    native.close(this.fd);
  }
}

// -------------------------------------------------------------------------------------------------
// The ends of a Pipe

/** PipeOutcome of native/core/pipe.h. */
const Outcome = {
  notYet: -1,
  end: -2,
  begun: -3,
  truncated: -4,
  large: -5,
  largeDone: -6,
  done: -7,
} as const;

/** One end of a Pipe. */
export class PipeTransport implements Transport {
  readonly #end: PipeEnd;
  readonly fd: number;
  readonly side: number;
  readonly bell: Bell;
  #token = 0;
  #generation = currentGeneration();
  /** The message that is received in part. */
  #payload: Buffer | undefined;

  private constructor(end: PipeEnd) {
    this.#end = end;
    this.fd = end.fd();
    this.side = end.side();
    this.bell = {
      ready: () => end.ready(),
      arm: (receive, send) => LOOK_AFTER_MS[end.arm(receive, send, this.#me())],
    };
  }

  /** @throws Error EMFILE, ENFILE, ENOMEM. */
  static pair(duplex: boolean): [PipeTransport, PipeTransport] {
    const first = new native.PipeEnd(duplex);
    const second = new native.PipeEnd(first);
    return [new PipeTransport(first), new PipeTransport(second)];
  }

  /** An end that another process has, by its `fds`, which are its own from here on. @throws Error EPROTO, ENOMEM. */
  static of(socket: number, memory: number, side: number): PipeTransport {
    return new PipeTransport(new native.PipeEnd(socket, memory, side));
  }

  /** What another process needs: its socket, and the memory. */
  get fds(): number[] {
    return [this.fd, this.#end.memoryFd()];
  }

  #me(): number {
    const generation = currentGeneration();
    if (this.#generation !== generation) {
      this.#generation = generation;
      this.#token = 0;
      // The parent goes on with it.
      this.#payload = undefined;
      this.#end.forget();
    }
    if (this.#token === 0) this.#token = this.#end.token();
    return this.#token;
  }

  get amidst(): boolean {
    return this.#generation === currentGeneration() && this.#end.amidst();
  }

  poll(timeoutMs: number): boolean {
    if (timeoutMs === 0) return this.#end.ready();
    const me = this.#me();
    return waitInSlices(timeoutMs, (slice) => this.#end.waitUntilReady(me, slice));
  }

  sendBytes(bytes: Uint8Array, offset: number, size: number): void {
    if (!waitsInSlices) {
      this.#end.send(bytes, offset, size, this.#me());
      return;
    }
    this.send({ parts: [bytes.subarray(offset, offset + size)], fds: [], sent: 0 }, -1);
  }

  send(message: Outgoing, timeoutMs: number): boolean {
    const me = this.#me();
    const { parts, fds } = message;
    return waitInSlices(timeoutMs, (slice) => {
      const sent = this.#end.sendParts(parts, fds, message.sent, me, slice);
      if (sent >= 0) message.sent = sent;
      return sent < 0;
    });
  }

  receive(
    limit: number,
    timeoutMs: number,
    fds?: number[],
    into?: Uint8Array,
  ): Uint8Array | typeof BAD_LENGTH | undefined {
    if (!waitsInSlices || timeoutMs === 0) return this.#receive(limit, timeoutMs, fds, into);
    return receiveInSlices(timeoutMs, (slice) => this.#receive(limit, slice, fds, into));
  }

  #receive(
    limit: number,
    timeoutMs: number,
    fds: number[] | undefined,
    into: Uint8Array | undefined,
  ): Uint8Array | typeof BAD_LENGTH | undefined {
    const end = this.#end;
    const me = this.#me();
    scratch ??= Buffer.allocUnsafeSlow(SCRATCH_BYTES);
    // Where any small message has room.
    const target = into !== undefined && into.length >= MOST_SMALL ? into : scratch;
    let large: Uint8Array | undefined;
    for (;;) {
      if (this.#payload !== undefined && this.#payload.length > limit) return BAD_LENGTH;
      const outcome = end.receive(target, this.#payload, large, me, timeoutMs);
      if (outcome >= 0) return outcome > limit ? BAD_LENGTH : target.subarray(0, outcome);
      switch (outcome) {
        case Outcome.notYet:
          return undefined;
        case Outcome.large: {
          const size = end.largeLength();
          if (size > limit) return BAD_LENGTH;
          large = into !== undefined && size <= into.length ? into.subarray(0, size) : room(size);
          break;
        }
        case Outcome.largeDone:
          return large;
        case Outcome.begun: {
          const size = end.incomingLength();
          this.#payload = size > limit ? undefined : room(size);
          if (this.#payload === undefined) return BAD_LENGTH;
          break;
        }
        case Outcome.done: {
          const payload = this.#payload;
          this.#payload = undefined;
          this.#handOver(fds);
          return payload;
        }
        case Outcome.truncated:
          this.#payload = undefined;
          throw truncated();
        default:
          throw new EOFError('the other end of the connection is closed');
      }
    }
  }

  #handOver(fds: number[] | undefined): void {
    for (const fd of this.#end.takeFds()) {
      if (fds === undefined) native.close(fd);
      else fds.push(fd);
    }
  }

  close(): void {
    this.#payload = undefined;
    this.#end.close();
  }
}
