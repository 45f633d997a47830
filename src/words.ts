/**
 * Access to memory that processes share, in words and in elements of typed arrays.
 *
 * Where the runtime allows ArrayBuffers on the memory itself, and Node does, these are `Atomics` and typed arrays,
 * and nothing stands in between. Where it forbids them (V8's sandbox, as in Electron), a segment is an opaque handle,
 * and native functions do the same, slower (native/binding/distant.cc). Which of the two is decided once, when the
 * package is loaded; each single access is untorn and sequentially consistent in both.
 */

import { native, type DistantAccess, type Memory, type WordAccess } from './native.js';

export type { Memory, Words } from './native.js';

/** Undefined: ArrayBuffers on shared memory may be made. */
const distant = native.distant;

export const { load, store, exchange, compareExchange, add, and, or }: WordAccess =
  distant ?? (Atomics as unknown as WordAccess);

// -------------------------------------------------------------------------------------------------
// Elements

export type NumberArray =
  | Int8Array
  | Uint8Array
  | Int16Array
  | Uint16Array
  | Int32Array
  | Uint32Array
  | Float32Array
  | Float64Array;
export type BigIntArray = BigInt64Array | BigUint64Array;
export type TypedArray = NumberArray | BigIntArray;

export interface TypedArrayClass {
  new (length: number): TypedArray;
  new (elements: readonly (number | bigint)[]): TypedArray;
  new (buffer: ArrayBuffer, byteOffset?: number, length?: number): TypedArray;
  readonly BYTES_PER_ELEMENT: number;
}

/** Where the typed array that would lie on the shared memory cannot be made. */
class DistantArray {
  readonly Class: TypedArrayClass;
  readonly memory: Memory;
  readonly byteOffset: number;
  readonly length: number;

  constructor(Class: TypedArrayClass, memory: Memory, byteOffset: number, length: number) {
    this.Class = Class;
    this.memory = memory;
    this.byteOffset = byteOffset;
    this.length = length;
  }

  offsetOf(index: number): number {
    return this.byteOffset + index * this.Class.BYTES_PER_ELEMENT;
  }
}

/** Elements in shared memory, of a typed array's kind. */
export type Elements = TypedArray | DistantArray;

/** The functions take typed arrays of JavaScript's own as well. */
interface ElementAccess {
  elementsOn(Class: TypedArrayClass, memory: Memory, byteOffset: number, length: number): Elements;
  /** Of integers. An Atomics access: a loop that waits for a change is not compiled to one that looks once. */
  loadElement(elements: Elements, index: number): number | bigint;
  storeElement(elements: Elements, index: number, value: number | bigint): void;
  /** Of reals, too. */
  readElement(elements: Elements, index: number): number | bigint;
  writeElement(elements: Elements, index: number, value: number | bigint): void;
  /** Of integers; they answer what was there. */
  addToElement(elements: Elements, index: number, value: number | bigint): number | bigint;
  compareExchangeElement(
    elements: Elements,
    index: number,
    expected: number | bigint,
    replacement: number | bigint,
  ): number | bigint;
  /** Compares by the bits. False: it is another number. */
  exchangeReal(elements: Elements, index: number, expected: number, replacement: number): boolean;
  /** A copy, with the bounds of `slice`. */
  copyOf(elements: Elements, start?: number, end?: number): TypedArray;
  /** From the first one on. */
  writeAll(elements: Elements, values: ArrayLike<number | bigint>): void;
  /** @throws Error ENOSYS: there is none. */
  typedArrayOf(elements: Elements): TypedArray;
}

/** Straight on the memory. */
const NEAR: ElementAccess = {
  elementsOn(Class, memory, byteOffset, length) {
    const buffer = ArrayBuffer.isView(memory) ? memory.buffer : memory;
    return new Class(buffer as ArrayBuffer, byteOffset, length);
  },
  loadElement: (elements, index) => Atomics.load(elements as Int32Array, index),
  storeElement(elements, index, value) {
    Atomics.store(elements as Int32Array, index, value as number);
  },
  readElement: (elements, index) => (elements as TypedArray)[index]!,
  writeElement(elements, index, value) {
    (elements as TypedArray)[index] = value;
  },
  addToElement: (elements, index, value) =>
    Atomics.add(elements as Int32Array, index, value as number),
  compareExchangeElement: (elements, index, expected, replacement) =>
    Atomics.compareExchange(
      elements as Int32Array,
      index,
      expected as number,
      replacement as number,
    ),
  exchangeReal(elements, index, expected, replacement) {
    const reals = elements as Float32Array | Float64Array;
    const [Reals, Bits] =
      reals instanceof Float32Array ? [Float32Array, Int32Array] : [Float64Array, BigInt64Array];
    const [before] = new Bits(new Reals([expected]).buffer);
    const [after] = new Bits(new Reals([replacement]).buffer);
    const shared = new Bits(
      reals.buffer as ArrayBuffer,
      reals.byteOffset,
      reals.length,
    ) as Int32Array;
    return Atomics.compareExchange(shared, index, before as number, after as number) === before;
  },
  copyOf: (elements, start, end) => (elements as TypedArray).slice(start, end),
  writeAll(elements, values) {
    (elements as NumberArray).set(values as ArrayLike<number>);
  },
  typedArrayOf: (elements) => elements as TypedArray,
};

/** By native functions. Here copies are typed arrays, and what is shared is not. */
function far({ readElements, writeElements, exchangeElement }: DistantAccess): ElementAccess {
  const read = (elements: Elements, index: number): number | bigint => {
    if (!(elements instanceof DistantArray)) return elements[index]!;
    const one = new elements.Class(1);
    readElements(elements.memory, elements.offsetOf(index), one);
    return one[0]!;
  };
  const write = (elements: Elements, index: number, value: number | bigint): void => {
    const { Class, memory } = elements as DistantArray;
    writeElements(memory, (elements as DistantArray).offsetOf(index), new Class([value]));
  };
  return {
    elementsOn: (Class, memory, byteOffset, length) =>
      new DistantArray(Class, memory, byteOffset, length),
    loadElement: read,
    storeElement: write,
    readElement: read,
    writeElement: write,
    addToElement(elements, index, value) {
      const { Class, memory } = elements as DistantArray;
      const seen = new Class([read(elements, index)]);
      const sum = new Class(1);
      do {
        sum[0] = (seen[0] as number) + (value as number);
      } while (!exchangeElement(memory, (elements as DistantArray).offsetOf(index), seen, sum));
      return seen[0]!;
    },
    compareExchangeElement(elements, index, expected, replacement) {
      const { Class, memory } = elements as DistantArray;
      const seen = new Class([expected]);
      const after = new Class([replacement]);
      exchangeElement(memory, (elements as DistantArray).offsetOf(index), seen, after);
      return seen[0]!;
    },
    exchangeReal(elements, index, expected, replacement) {
      const { Class, memory } = elements as DistantArray;
      const offset = (elements as DistantArray).offsetOf(index);
      return exchangeElement(memory, offset, new Class([expected]), new Class([replacement]));
    },
    copyOf(elements, start, end) {
      const { Class, memory, length } = elements as DistantArray;
      const all = new Class(length);
      readElements(memory, (elements as DistantArray).byteOffset, all);
      return start === undefined && end === undefined ? all : all.slice(start, end);
    },
    writeAll(elements, values) {
      const { Class, memory, byteOffset } = elements as DistantArray;
      writeElements(memory, byteOffset, new Class(values as number[]));
    },
    typedArrayOf() {
      throw Object.assign(
        new Error(
          "this runtime allows no ArrayBuffer on shared memory (V8's sandbox, as in Electron), so there is no typed " +
            'array to answer: read and write by .value, the index, or slice(), or run this process by node itself',
        ),
        { code: 'ENOSYS' },
      );
    },
  };
}

export const {
  elementsOn,
  loadElement,
  storeElement,
  readElement,
  writeElement,
  addToElement,
  compareExchangeElement,
  exchangeReal,
  copyOf,
  writeAll,
  typedArrayOf,
}: ElementAccess = distant === undefined ? NEAR : far(distant);
