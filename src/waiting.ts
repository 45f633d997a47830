/**
 * Waiting on the event loop for words that processes share: what the Async calls of locks and their like stand on.
 *
 * All waits of a process on one segment share one native thread, which sleeps until a process rings the segment's
 * bell; no thread of libuv's pool is used and any number may wait. A pending wait keeps the event loop alive.
 * A child of a fork starts with none: what waited is the parent's.
 */

import { abortable } from './clock.js';
import { currentGeneration, onNewIdentity } from './at_fork.js';
import type { Place } from './heap.js';
import { native, type Native } from './native.js';
import type { Words } from './words.js';

/** A word to wait for. */
export type Spot = Pick<Place, 'words' | 'index'>;

/** As native/core/listener.h counts. */
export const WatchFor = { lock: 0, semaphore: 1, change: 2 } as const;

type NativeListener = InstanceType<Native['SegmentListener']>;

class Listener {
  readonly #native: NativeListener;
  /** Native code holds it only while something is watched. */
  readonly #onReady = (ids: number[]): void => {
    for (const id of ids) this.#fire(id);
  };
  readonly #callbacks = new Map<number, () => void>();
  #lastId = 0;

  constructor(words: Words) {
    this.#native = new native.SegmentListener(words, this.#onReady);
  }

  watch(index: number, what: number, expected: number, callback: () => void): () => void {
    const id = (this.#lastId = (this.#lastId + 1) >>> 0);
    if (this.#callbacks.size === 0) this.#native.ref();
    this.#callbacks.set(id, callback);
    this.#native.watch(id, index, what, expected);
    return () => {
      if (this.#remove(id)) this.#native.forget(id);
    };
  }

  #fire(id: number): void {
    const callback = this.#callbacks.get(id);
    if (this.#remove(id)) callback!();
  }

  #remove(id: number): boolean {
    const removed = this.#callbacks.delete(id);
    if (removed && this.#callbacks.size === 0) this.#native.unref();
    return removed;
  }
}

let listeners = new WeakMap<Words, Listener>();

onNewIdentity(() => (listeners = new WeakMap()));

function listenerOf(words: Words): Listener {
  let listener = listeners.get(words);
  if (listener === undefined) listeners.set(words, (listener = new Listener(words)));
  return listener;
}

// -------------------------------------------------------------------------------------------------
// Turns of the event loop

/**
 * A task that always finds what it awaits goes on by microtasks alone, and timers and sockets would have to wait: after
 * so long it lets them.
 */
const LONGEST_TURN_MS = 2;
/** When this turn was first asked about; 0: not yet. */
let turnBegan = 0;
let asked = 0;

onNewIdentity(() => (turnBegan = 0));

/**
 * Whether whoever is about to take something without waiting had better wait for the next turn first.
 *
 * @param costly what it took last was large.
 */
export function turnIsLong(costly = false): boolean {
  if (turnBegan === 0) {
    turnBegan = performance.now();
    setImmediate(() => (turnBegan = 0));
    return false;
  }
  // The clock costs more than most of what is taken.
  return (costly || (++asked & 15) === 0) && performance.now() - turnBegan > LONGEST_TURN_MS;
}

export function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

// -------------------------------------------------------------------------------------------------
// Words

/** Calls back once, when the word is worth another look. Answers how to stop. */
export function watch(
  { words, index }: Spot,
  what: number,
  expected: number,
  callback: () => void,
): () => void {
  return listenerOf(words).watch(index, what, expected, callback);
}

/** Resolves when the word is not `expected` any more, or after `milliseconds`. @throws the signal's reason. */
export async function changed(
  place: Spot,
  expected: number,
  milliseconds: number,
  signal: AbortSignal | null | undefined,
): Promise<void> {
  await abortable(milliseconds, signal, (done) => watch(place, WatchFor.change, expected, done));
}

interface Waiter<Outcome, Request> {
  request: Request;
  outcome: Outcome | undefined;
  done: () => void;
}

/** The tasks of this process that wait for one thing, such as a lock: first come, first served. */
export class Line<Outcome, Request = undefined> {
  readonly #arm: (wake: () => void) => () => void;
  readonly #attempt: (request: Request) => Outcome | undefined;
  #waiters = new Set<Waiter<Outcome, Request>>();
  #stop: (() => void) | undefined;
  #attempting = false;
  #generation = currentGeneration();

  /**
   * @param arm calls back, once, when another attempt is worth it; answers how to stop.
   * @param attempt takes it for the first waiter; undefined: in vain.
   */
  constructor(
    arm: (wake: () => void) => () => void,
    attempt: (request: Request) => Outcome | undefined,
  ) {
    this.#arm = arm;
    this.#attempt = attempt;
  }

  get empty(): boolean {
    if (this.#generation !== currentGeneration()) this.#renew();
    return this.#waiters.size === 0;
  }

  /** What the first one wants. */
  get first(): Request | undefined {
    return this.empty ? undefined : this.#waiters.values().next().value!.request;
  }

  /** Waits for its turn and for what is attempted then. Undefined: the time was up. @throws the signal's reason. */
  async wait(
    milliseconds: number,
    signal: AbortSignal | null | undefined,
    request: Request,
  ): Promise<Outcome | undefined> {
    if (this.#generation !== currentGeneration()) this.#renew();
    const waiter: Waiter<Outcome, Request> = { request, outcome: undefined, done: () => {} };
    await abortable(milliseconds, signal, (done) => {
      waiter.done = done;
      this.#waiters.add(waiter);
      try {
        this.#watch();
      } catch (error) {
        // Nobody would take what comes for it.
        this.#waiters.delete(waiter);
        throw error;
      }
      return () => {
        this.#waiters.delete(waiter);
        if (this.empty) this.#disarm();
      };
    });
    return waiter.outcome;
  }

  /** It was released right here: who waits need not be told by another thread. */
  poke(): void {
    if (this.#attempting || this.empty) return;
    this.#attempting = true;
    queueMicrotask(() => {
      this.#attempting = false;
      this.#serve();
    });
  }

  /** Somebody has done for the first waiter what it waits for. */
  serveFirst(outcome: Outcome): void {
    const [first] = this.#waiters;
    first!.outcome = outcome;
    first!.done();
  }

  #serve(): void {
    for (const first of this.#waiters) {
      const outcome = this.#attempt(first.request);
      if (outcome === undefined) break;
      first.outcome = outcome;
      first.done();
    }
    if (!this.empty) this.#watch();
  }

  #watch(): void {
    this.#stop ??= this.#arm(() => {
      this.#stop = undefined;
      this.#serve();
    });
  }

  #disarm(): void {
    this.#stop?.();
    this.#stop = undefined;
  }

  /** In the child of a fork: who waited waits in the parent. */
  #renew(): void {
    this.#generation = currentGeneration();
    this.#waiters = new Set();
    this.#stop = undefined;
    this.#attempting = false;
  }
}
