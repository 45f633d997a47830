/**
 * What a pool's parent and its workers say to each other.
 *
 *   parent ──tasks──▶ workers       one channel: whoever is free takes the next one
 *   parent ◀──results── workers     another one
 *   board                           shared words: who has what, and what is not wanted any more
 *
 * The parent alone puts tasks, so that the n-th task in the channel is the n-th that it put: its number. A worker
 * that takes a task leaves its number in the channel's memory (its claim) before the task is gone from the channel, and
 * takes that word back after the result is in the other channel. Whatever instruction a worker dies at, its parent can
 * tell: the task is still there (claimed, but not taken), or is lost (taken, and there is no result), or is done.
 *
 * Each task has a tag, the generation of workers that it is for: a function that no worker had seen makes a new
 * generation. Older workers refuse what they cannot know, and end; newer ones leave what is older to its own workers, which
 * see memory as it was at the call, as long as there are any.
 *
 *   task      label: mode and flags, 1 + the number of its switch on the board (0: none)
 *             value: [fn, items]
 *   result    label: the task's number (of `broken` and `left`: the worker's index), status
 */

import { allocateData, Block, dataAt, Segment, type Data } from '../heap.js';
import { registerInternal } from '../reduction.js';
import { malformed } from '../sharing.js';
import type { RemoteError } from './remote_errors.js';
import { elementsOn, load, readElement, store, writeElement, type Elements } from '../words.js';

/** How a task's items are given to its function. */
export const Mode = {
  /** All of them, once: `fn(...items)`. */
  apply: 0,
  /** One after another. */
  map: 1,
  /** One after another, each being the arguments. */
  starmap: 2,
  /** There is no function: the worker ends. */
  stop: 3,
} as const;
export const MODE_BITS = 3;
/** Each item has an outcome of its own. */
export const EACH = 4;
/** The time of each item counts. */
export const TIMED = 8;

export type Task = [fn: (...args: unknown[]) => unknown, items: unknown[]];

export const Status = {
  value: 0,
  error: 1,
  /** Of EACH: an EachOutcome. */
  each: 2,
  /** Nobody wants it any more. */
  skipped: 3,
  /** Of a worker: its initializer failed. */
  broken: 4,
  /** Of a worker: it has done as many tasks as it may. */
  left: 5,
} as const;

export type EachOutcome = [values: unknown[], errors: [index: number, error: RemoteError][]];

const GENERATION = 0;
const HOLD = 1;
const ORPHANED = 2;
const FIRST_SWITCH = 3;
/** So many tasks are put ahead of what is finished. */
export const MOST_AHEAD = 16_384;
/** Of jobs that can be called off, one bit for each that has tasks under way. */
export const SWITCHES = MOST_AHEAD;
const WORDS = FIRST_SWITCH + SWITCHES / 32;

const Real = { ready: 0, tasks: 1, busy: 2, since: 3 } as const;
const REALS = 4;

/** Whether the parent is still in the run of code that has forked the workers. */
export const Hold = {
  no: 0,
  /** It may have something to say first. */
  brief: 1,
  /** It is forking the others. */
  forking: 2,
} as const;

/** Between the beginning of this process, or of the one that it is a fork of, and that of the system. */
const BEGINNING_MS = Number(process.hrtime.bigint()) / 1e6 - performance.now();

/** Milliseconds by the clock that all processes have in common. */
export const now = (): number => BEGINNING_MS + performance.now();

const bytesFor = (workers: number): number => 8 * REALS * workers + 4 * WORDS;

type BoardPlace = readonly [workers: number, piece: Segment | Block, byteOffset: number];

/** What is shared beside the channels. Each word has one writer. */
export class Board {
  readonly #workers: number;
  readonly #data: Data;
  readonly #reals: Elements;
  readonly #firstWord: number;

  /** @param workers how many may be there at once. @param data where it is already. */
  constructor(workers: number, data = allocateData(bytesFor(workers))) {
    const count = REALS * workers;
    this.#workers = workers;
    this.#data = data;
    const { memory, byteOffset } = this.#data;
    this.#reals = elementsOn(Float64Array, memory, byteOffset, count);
    this.#firstWord = byteOffset / 4 + 2 * count;
  }

  /** @internal */
  get _place(): BoardPlace {
    return [this.#workers, this.#data.piece, this.#data.byteOffset];
  }

  #load(index: number): number {
    return load(this.#data.piece.words, this.#firstWord + index);
  }

  #store(index: number, value: number): void {
    store(this.#data.piece.words, this.#firstWord + index, value);
  }

  /** Workers of an older one are not needed any more. */
  get generation(): number {
    return this.#load(GENERATION);
  }

  set generation(value: number) {
    this.#store(GENERATION, value);
  }

  /** Tasks of this generation and older ones have no workers of their own any more: anybody takes them. */
  get orphaned(): number {
    return this.#load(ORPHANED);
  }

  set orphaned(value: number) {
    this.#store(ORPHANED, value);
  }

  /** Fresh workers leave their parent a moment before they begin: see Hold. */
  get hold(): number {
    return this.#load(HOLD);
  }

  set hold(value: number) {
    this.#store(HOLD, value);
  }

  /** Whether the tasks of this switch were called off. */
  isOff(which: number): boolean {
    return ((this.#load(FIRST_SWITCH + (which >>> 5)) >>> (which & 31)) & 1) !== 0;
  }

  turn(which: number, off: boolean): void {
    const word = FIRST_SWITCH + (which >>> 5);
    const bit = 1 << (which & 31);
    const others = this.#load(word) & ~bit;
    this.#store(word, off ? others | bit : others);
  }

  // Of each worker, by its index.

  #real(worker: number, which: number): number {
    return readElement(this.#reals, REALS * worker + which) as number;
  }

  #setReal(worker: number, which: number, value: number): void {
    writeElement(this.#reals, REALS * worker + which, value);
  }

  clear(worker: number): void {
    for (let which = 0; which < REALS; which++) this.#setReal(worker, which, 0);
  }

  /** Whether its initializer has run. */
  isReady(worker: number): boolean {
    return this.#real(worker, Real.ready) !== 0;
  }

  setReady(worker: number): void {
    this.#setReal(worker, Real.ready, now());
  }

  /** Milliseconds since when it is busy with this task, or with this item of a timed one; 0: it is idle. */
  since(worker: number): number {
    return this.#real(worker, Real.since);
  }

  begin(worker: number, time: number): void {
    this.#setReal(worker, Real.since, time);
  }

  /** It was busy for so long. */
  end(worker: number, milliseconds: number): void {
    this.#setReal(worker, Real.since, 0);
    this.#setReal(worker, Real.busy, this.#real(worker, Real.busy) + milliseconds);
    this.#setReal(worker, Real.tasks, this.#real(worker, Real.tasks) + 1);
  }

  /** Tasks done, and milliseconds that it was busy and idle. */
  statistics(worker: number): { tasks: number; busy: number; idle: number } {
    const ready = this.#real(worker, Real.ready);
    const since = this.since(worker);
    const time = now();
    const busy = this.#real(worker, Real.busy) + (since === 0 ? 0 : time - since);
    const lifetime = ready === 0 ? 0 : time - ready;
    return { tasks: this.#real(worker, Real.tasks), busy, idle: Math.max(0, lifetime - busy) };
  }
}

const isCount = (value: unknown): value is number =>
  Number.isSafeInteger(value) && Number(value) >= 0;

registerInternal(Board, 'Board', {
  encode: (board) => board._place,
  decode(payload: unknown) {
    const [workers, piece, byteOffset]: unknown[] = Array.isArray(payload) ? payload : [];
    const isPiece = piece instanceof Segment || piece instanceof Block;
    if (!isPiece || !isCount(workers) || !isCount(byteOffset)) throw malformed();
    const data = dataAt(piece, byteOffset, bytesFor(workers));
    if (data === undefined) throw malformed();
    return new Board(workers, data);
  },
});
