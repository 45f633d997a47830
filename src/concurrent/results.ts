/**
 * What `map` answers: the results in the order of the items, from futures that each have a chunk of them. The
 * counterpart of `Executor.map`'s generator in CPython's `concurrent/futures/_base.py`, and of
 * `_chain_from_iterable_of_lists`.
 */

import { inspect } from 'node:util';
import { endAfter, leftUntil } from '../clock.js';
import { Fifo } from '../fifo.js';
import type { Future } from './future.js';

/** What is left until then, in seconds. */
function secondsUntil(end: number): number | null {
  const left = leftUntil(end);
  return left < 0 ? null : left / 1000;
}

/** Items of several iterables side by side, as Python's zip: it ends with the shortest. */
export class Zip {
  readonly #iterators: Iterator<unknown>[] = [];
  #over = false;

  constructor(iterables: readonly Iterable<unknown>[]) {
    for (const iterable of iterables) this.#iterators.push(iterable[Symbol.iterator]());
  }

  #next(): unknown[] | undefined {
    if (this.#over || this.#iterators.length === 0) return undefined;
    const items: unknown[] = [];
    for (const iterator of this.#iterators) {
      let result: IteratorResult<unknown>;
      try {
        result = iterator.next();
      } catch (error) {
        this.#close(iterator);
        throw error;
      }
      if (result.done === true) {
        this.#close(iterator);
        return undefined;
      }
      items.push(result.value);
    }
    return items;
  }

  /** So many of them; fewer at the end, undefined beyond it. */
  chunk(size: number): unknown[][] | undefined {
    const chunk: unknown[][] = [];
    for (let items; chunk.length < size && (items = this.#next()) !== undefined;) {
      chunk.push(items);
    }
    return chunk.length === 0 ? undefined : chunk;
  }

  /** The others need not go on. */
  #close(ended?: Iterator<unknown>): void {
    this.#over = true;
    for (const iterator of this.#iterators) if (iterator !== ended) iterator.return?.();
  }

  close(): void {
    if (!this.#over) this.#close();
  }
}

export class MapIterator<T> implements IterableIterator<T> {
  readonly #items: Zip;
  /** Makes another future, if there is another chunk. */
  readonly #more: (() => Future<T[]> | undefined) | undefined;
  readonly #futures = new Fifo<Future<T[]>>();
  #values: (T | undefined)[] = [];
  #at = 0;
  readonly #end: number;
  /** Asynchronous calls are served one after another. */
  #last: Promise<unknown> = Promise.resolve();

  /** @param milliseconds from now on, for all results; negative: without a limit. */
  constructor(
    futures: Future<T[]>[],
    milliseconds: number,
    items: Zip,
    more: (() => Future<T[]> | undefined) | undefined,
  ) {
    for (const future of futures) this.#futures.push(future);
    this.#end = endAfter(milliseconds);
    this.#items = items;
    this.#more = more;
  }

  #takeValue(): IteratorResult<T> | undefined {
    if (this.#at === this.#values.length) return undefined;
    const value = this.#values[this.#at] as T;
    // What was given is not kept.
    this.#values[this.#at++] = undefined;
    return { done: false, value };
  }

  /** The future whose turn it is; undefined: there is none. */
  #takeFuture(): Future<T[]> | undefined {
    if (this.#futures.length === 0) return undefined;
    try {
      const another = this.#more?.();
      if (another !== undefined) this.#futures.push(another);
    } catch (error) {
      this.return();
      throw error;
    }
    return this.#futures.shift();
  }

  #begin(values: T[]): void {
    this.#values = values;
    this.#at = 0;
  }

  /** It is over: with what was thrown, or without a result in time. */
  #fail(future: Future<T[]>): void {
    future.cancel();
    this.return();
  }

  /** Blocks. @throws TimeoutError. What the function threw. CancelledError. BrokenProcessPool */
  next(): IteratorResult<T> {
    for (;;) {
      const taken = this.#takeValue();
      if (taken !== undefined) return taken;
      const future = this.#takeFuture();
      if (future === undefined) return this.return();
      try {
        this.#begin(future.result(secondsUntil(this.#end)));
      } catch (error) {
        this.#fail(future);
        throw error;
      }
    }
  }

  async #nextAsync(): Promise<IteratorResult<T>> {
    for (;;) {
      const taken = this.#takeValue();
      if (taken !== undefined) return taken;
      const future = this.#takeFuture();
      if (future === undefined) return this.return();
      try {
        this.#begin(await future.resultAsync(secondsUntil(this.#end)));
      } catch (error) {
        this.#fail(future);
        throw error;
      }
    }
  }

  /** The loop is left: what has not begun is cancelled. */
  return(): IteratorResult<T> {
    this.#begin([]);
    const futures = this.#futures.clear();
    this.#items.close();
    for (const future of futures) future.cancel();
    return { done: true, value: undefined };
  }

  [Symbol.iterator](): this {
    return this;
  }

  [Symbol.asyncIterator](): AsyncIterableIterator<T> {
    const iterator: AsyncIterableIterator<T> = {
      next: () => {
        const result = this.#last.then(() => this.#nextAsync());
        this.#last = result.catch(() => {});
        return result;
      },
      return: async () => this.return(),
      [Symbol.asyncIterator]: () => iterator,
    };
    return iterator;
  }

  toString(): string {
    return '<map iterator>';
  }

  [inspect.custom](): string {
    return this.toString();
  }
}
