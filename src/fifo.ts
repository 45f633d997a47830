/**
 * First in, first out: what was taken is not kept, and taking costs the same however long the line is.
 *
 * Anyone may import this file.
 */

/** So many places of what was taken are given back at once. */
const MOST_TAKEN = 1024;

export class Fifo<T> {
  #items: (T | undefined)[] = [];
  /** Those before this one were taken. */
  #first = 0;

  get length(): number {
    return this.#items.length - this.#first;
  }

  push(item: T): void {
    this.#items.push(item);
  }

  /** Undefined: beyond the last one. */
  at(index: number): T | undefined {
    return this.#items[this.#first + index];
  }

  /** Undefined: it is empty. */
  shift(): T | undefined {
    if (this.length === 0) return undefined;
    const item = this.#items[this.#first];
    this.#items[this.#first++] = undefined;
    if (this.#first >= MOST_TAKEN && 2 * this.#first >= this.#items.length) {
      this.#items = this.#items.slice(this.#first);
      this.#first = 0;
    }
    return item;
  }

  /** Takes it out, wherever it is. */
  remove(item: T): void {
    const at = this.#items.indexOf(item, this.#first);
    if (at === this.#first) this.shift();
    else if (at > this.#first) this.#items.splice(at, 1);
  }

  /** Takes all. */
  clear(): T[] {
    const items = this.#items.slice(this.#first) as T[];
    this.#items = [];
    this.#first = 0;
    return items;
  }
}
