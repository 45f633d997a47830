/**
 * Memory for the synchronisation objects and small shared values: slots and words of segments that every
 * process forked afterwards shares (native/core/segment.h has the layout).
 *
 * Whoever allocates only ever counts upwards, by Atomics, so parent and children may allocate from the same
 * segment at once and a process that dies there harms nobody. Nothing is given back one by one: a segment is
 * unmapped when the garbage collector has found the last object of this process that lies in it, and its memory
 * goes with the last process that has it mapped.
 *
 * A segment costs one descriptor, which a process that was not forked after it was made needs to attach to it.
 */

import { onNewIdentity } from './at_fork.js';
import { onTakeBack } from './loans.js';
import { native, type Memory, type PlainMemory } from './native.js';
import { add, load, store, type Words } from './words.js';

/**
 * Memory that processes share, as one thread of a process sees it. It has an identity that no other has, and a thread
 * has one Piece at most of each: what is told it by a reference finds the one that is there (src/sharing.ts).
 */
export abstract class Piece {
  /** From its beginning. */
  readonly words: Words;
  /** Its identity, in hexadecimal digits. */
  readonly key: string;
  /** The objects of this thread that lie in it, by where they lie. Whoever makes one enters it. */
  readonly objects = new native.WeakTable<object>();

  constructor(words: Words) {
    this.words = words;
    let key = '';
    for (let i = 0; i < IDENTITY_WORDS; i++) key += hexadecimal(load(words, IDENTITY + i));
    this.key = key;
    enter(this);
  }

  /** What another process needs to attach to it; -1: nothing is needed there. */
  abstract descriptors(): readonly number[];
}

const IDENTITY_WORDS = 4;

function hexadecimal(word: number): string {
  return (word >>> 0).toString(16).padStart(8, '0');
}

/** The identity as native code takes it; undefined: it is none. */
export function identityOf(key: string): Uint32Array | undefined {
  if (!/^[0-9a-f]{32}$/.test(key)) return undefined;
  return Uint32Array.from({ length: IDENTITY_WORDS }, (_, i) =>
    Number.parseInt(key.slice(8 * i, 8 * i + 8), 16),
  );
}

/** All pieces of this thread, by number, and the numbers by identity. */
const pieces = new native.WeakTable<Piece>();
const numbers = new Map<string, number>();
let lastNumber = 0;
let crowded = 64;

function enter(piece: Piece): void {
  if (numbers.size >= crowded) {
    const living = new Set(pieces.keys());
    for (const [key, number] of numbers) if (!living.has(number)) numbers.delete(key);
    crowded = Math.max(64, 2 * numbers.size);
  }
  numbers.set(piece.key, ++lastNumber);
  pieces.set(lastNumber, piece);
  returnLent();
}

/** The one of this identity, if this thread has it. */
export function pieceOf(key: string): Piece | undefined {
  const number = numbers.get(key);
  return number === undefined ? undefined : pieces.get(number);
}

/** A segment as one thread of a process sees it. */
export class Segment extends Piece {
  /** In words. */
  readonly size: number;
  readonly #fd: number;
  /** This thread's name in the locks of the segment (native/core/owner.h). 0: it has none yet, see `tokenIn`. */
  token = 0;

  /** @throws Error EMFILE, ENFILE, ENOMEM: no room for another segment. */
  constructor({ words, fd } = native.createSegment()) {
    super(words);
    this.size = load(words, SIZE);
    this.#fd = fd;
  }

  descriptors(): readonly number[] {
    return [this.#fd];
  }
}

/** Memory of its own, for one object that is too large for a segment. */
export class Block extends Piece {
  readonly #plain: PlainMemory;

  /** @throws Error EMFILE, ENFILE, ENOMEM: no room. */
  constructor(plain: PlainMemory) {
    super(plain.words);
    this.#plain = plain;
  }

  get memory(): Memory {
    return this.#plain.memory;
  }

  /** Where its bytes begin in `memory`. */
  get byteOffset(): number {
    return this.#plain.offset;
  }

  get bytes(): number {
    return this.#plain.bytes;
  }

  descriptors(): readonly number[] {
    return [this.#plain.fd];
  }
}

// A name is one thread's: that of the child of a fork is another one.
onNewIdentity(() => {
  lent.clear();
  looking = undefined;
  for (const number of pieces.keys()) {
    const piece = pieces.get(number);
    if (piece instanceof Segment) piece.token = 0;
  }
});

// -------------------------------------------------------------------------------------------------
// What is under way
//
// A reference that does not carry the descriptor along leads to memory only as long as its sender has it. So the
// sender keeps what is under way, and the receivers count in the memory itself what has arrived. The sender looks when
// it makes or sends something else, and, if its event loop turns, by a timer. A reference that never arrives (a message
// that nobody gets) keeps the piece until the sender ends.

const lent = new Set<Piece>();
let looking: NodeJS.Timeout | undefined;
const LOOK_MS = 250;
const LOOKED_AT_ONCE = 4;

function isUnderWay({ words }: Piece): boolean {
  return ((load(words, LENT) - load(words, ARRIVED)) | 0) > 0;
}

/** A reference to it leaves. */
export function lend(piece: Piece): void {
  add(piece.words, LENT, 1);
  onTakeBack(() => arrive(piece));
  lent.add(piece);
  returnLent();
  lookLater();
}

/** A reference to it has come. */
export function arrive(piece: Piece): void {
  if (isUnderWay(piece)) add(piece.words, ARRIVED, 1);
}

/** Looks at some, the longest unseen first. */
function returnLent(count = LOOKED_AT_ONCE): void {
  let left = Math.min(count, lent.size);
  for (const piece of lent) {
    if (left-- === 0) return;
    lent.delete(piece);
    if (isUnderWay(piece)) lent.add(piece);
  }
}

function lookLater(): void {
  looking ??= setTimeout(() => {
    looking = undefined;
    returnLent(Infinity);
    if (lent.size > 0) lookLater();
  }, LOOK_MS).unref();
}

// -------------------------------------------------------------------------------------------------
// Places

/** @throws Error EAGAIN: 16,384 threads that live have a name there. */
export function tokenIn(segment: Segment): number {
  if (segment.token === 0) segment.token = native.enrol(segment.words);
  return segment.token;
}

/** Where an object lies: in a segment, from this word on. */
export class Place {
  readonly segment: Segment;
  readonly words: Words;
  readonly index: number;

  constructor(segment: Segment, index: number) {
    this.segment = segment;
    this.words = segment.words;
    this.index = index;
  }
}

/** What a slot is: its last word. Only locks are looked for, at the end of a process. */
export const Tag = {
  lock: 1,
  semaphore: 2,
  condition: 3,
  waiters: 4,
  event: 5,
  barrier: 6,
} as const;

/** A slot is one cache line. */
export const SLOT_WORDS = 16;
const TAG_WORD = 15;
// Words of the segment's header.
const SIZE = 2;
const NEXT_SLOT = 3;
const DATA_USED = 4;
const FIRST_SLOT = 5;
const IDENTITY = 8;
const LENT = 18;
const ARRIVED = 19;

let current: Segment | undefined;

/** @throws Error EMFILE, ENFILE, ENOMEM: no room for another segment. */
function freshSegment(): Segment {
  current = new Segment();
  return current;
}

/**
 * Kept for objects that grow where they are, such as a condition with many waiters: 4,096 slots of 61,438.
 */
const RESERVED_WORDS = 4096 * SLOT_WORDS;

function slotIn(home: Segment, size: number, reserved: number): number | undefined {
  const { words } = home;
  const end = home.size - reserved;
  // Counting is for good: what does not fit anyway is not counted.
  if (load(words, NEXT_SLOT) + size > end - load(words, DATA_USED)) return undefined;
  const index = add(words, NEXT_SLOT, size);
  return index + size <= end - load(words, DATA_USED) ? index : undefined;
}

/**
 * `count` slots of 16 words in a row, one cache line each, all 0 but for the first one's tag.
 *
 * @param segment the one that it must be, for what belongs to an object there.
 * @throws RangeError more than a segment has.
 */
export function allocateSlots(tag: number, count = 1, segment?: Segment): Place {
  const size = count * SLOT_WORDS;
  const reserved = segment === undefined ? RESERVED_WORDS : 0;
  let home = segment ?? current ?? freshSegment();
  let index = slotIn(home, size, reserved);
  if (index === undefined) {
    if (segment !== undefined) throw new RangeError('the segment of this object is full');
    if (load(home.words, FIRST_SLOT) + size > home.size - RESERVED_WORDS) {
      throw new RangeError(
        `an object of ${4 * size} bytes is larger than a segment of shared memory`,
      );
    }
    home = freshSegment();
    index = slotIn(home, size, reserved)!;
  }
  store(home.words, index + TAG_WORD, tag);
  return new Place(home, index);
}

/** The place that a reference means; undefined: there is no such object there. */
export function slotAt(segment: Segment, index: number, tag: number, count = 1): Place | undefined {
  const { words, size } = segment;
  const first = load(words, FIRST_SLOT);
  const end = Math.min(size, load(words, NEXT_SLOT));
  const isSlot = index >= first && (index - first) % SLOT_WORDS === 0;
  if (!isSlot || !(index + count * SLOT_WORDS <= end)) return undefined;
  return load(words, index + TAG_WORD) === tag ? new Place(segment, index) : undefined;
}

/** The largest piece of user data that a segment takes; what is larger deserves a mapping of its own. */
const MOST_DATA_BYTES = 64 * 1024;

/** Bytes of a piece. */
export interface Data {
  readonly piece: Segment | Block;
  readonly memory: Memory;
  readonly byteOffset: number;
}

/** `bytes` zeroed bytes, aligned to 8, for values of the user's. @throws Error EMFILE, ENFILE, ENOMEM: no room. */
export function allocateData(bytes: number): Data {
  if (bytes > MOST_DATA_BYTES) {
    const block = new Block(native.createSharedBuffer(bytes));
    return { piece: block, memory: block.memory, byteOffset: block.byteOffset };
  }
  const size = 2 * Math.max(1, Math.ceil(bytes / 8));
  for (let segment = current ?? freshSegment(); ; segment = freshSegment()) {
    const { words } = segment;
    const room = segment.size - load(words, DATA_USED) - RESERVED_WORDS;
    if (room - size < load(words, NEXT_SLOT)) continue;
    const used = add(words, DATA_USED, size) + size;
    const index = segment.size - used;
    if (index < load(words, NEXT_SLOT)) continue;
    return { piece: segment, memory: words, byteOffset: 4 * index };
  }
}

/** The bytes that a reference means; undefined: there are not so many there. */
export function dataAt(
  piece: Segment | Block,
  byteOffset: number,
  bytes: number,
): Data | undefined {
  if (piece instanceof Block) {
    if (byteOffset !== 0 || bytes > piece.bytes) return undefined;
    return { piece, memory: piece.memory, byteOffset: piece.byteOffset };
  }
  const { words, size } = piece;
  const first = Math.max(load(words, NEXT_SLOT), size - load(words, DATA_USED));
  if (byteOffset % 8 !== 0 || !(byteOffset >= 4 * first && byteOffset + bytes <= 4 * size)) {
    return undefined;
  }
  return { piece, memory: words, byteOffset };
}
