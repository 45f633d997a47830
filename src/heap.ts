/**
 * Memory for the synchronisation objects and small shared values: slots and words of segments that every
 * process forked afterwards shares (native/core/segment.h has the layout).
 *
 * Whoever allocates only ever counts upwards, by Atomics, so parent and children may allocate from the same
 * segment at once and a process that dies there harms nobody. Nothing is given back one by one: a segment is
 * unmapped when the garbage collector has found the last object of this process that lies in it, and its memory
 * goes with the last process that has it mapped.
 *
 * A segment costs one descriptor, which a process that is no fork would need to attach to it.
 */

import { onNewIdentity } from './fork_child.js';
import { native } from './native.js';
import { add, load, store, type Words } from './words.js';

/** A segment as one thread of a process sees it. */
export class Segment {
  /** All of it. */
  readonly words: Words;
  /** In words. */
  readonly size: number;
  /** This thread's name in the locks of the segment (native/core/owner.h). 0: it has none yet, see `tokenIn`. */
  token = 0;

  /** @throws Error EMFILE, ENFILE, ENOMEM: no room for another segment. */
  constructor() {
    this.words = native.createSegment().words;
    this.size = load(this.words, SIZE);
    segments = segments.filter((held) => held.deref() !== undefined);
    segments.push(new WeakRef(this));
  }
}

let segments: WeakRef<Segment>[] = [];

// A name is one thread's: that of the child of a fork is another one.
onNewIdentity(() => {
  for (const held of segments) {
    const segment = held.deref();
    if (segment !== undefined) segment.token = 0;
  }
});

/** @throws Error EAGAIN: 16,384 threads that live have a name there. */
export function tokenIn(segment: Segment): number {
  if (segment.token === 0) segment.token = native.enrol(segment.words);
  return segment.token;
}

/** Where an object lies: in a segment, from this word on. */
export interface Place {
  readonly segment: Segment;
  readonly words: Words;
  readonly index: number;
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
  return { segment: home, words: home.words, index };
}

/** The largest piece of user data that a segment takes; what is larger deserves a mapping of its own. */
export const MOST_DATA_BYTES = 64 * 1024;

/** `bytes` zeroed bytes of a segment, aligned to 8, for values of the user's. */
export function allocateData(bytes: number): { words: Words; byteOffset: number } {
  const size = 2 * Math.max(1, Math.ceil(bytes / 8));
  for (let segment = current ?? freshSegment(); ; segment = freshSegment()) {
    const { words } = segment;
    const room = segment.size - load(words, DATA_USED) - RESERVED_WORDS;
    if (room - size < load(words, NEXT_SLOT)) continue;
    const used = add(words, DATA_USED, size) + size;
    const index = segment.size - used;
    if (index < load(words, NEXT_SLOT)) continue;
    return { words, byteOffset: 4 * index };
  }
}
