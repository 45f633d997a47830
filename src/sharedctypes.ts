/**
 * Numbers and arrays of numbers in memory that processes share: the counterpart of CPython's `sharedctypes.py`.
 *
 * The memory belongs to every process forked after the object was made; nobody copies it. An access to `.value`
 * or to one element is a single untorn read or write that takes no lock, whatever its lock is doing, so
 * `v.value += 1` in two processes can lose an increment: hold `getLock()` around it, or use `add`, which is one
 * atomic step. Values and arrays travel through every channel by reference, with their lock, and nothing in them is
 * copied. A process that is killed inside such an access leaves the old value or the new one; one that is
 * killed while it holds the lock is what `Lock` says.
 */

import { constants } from 'node:buffer';
import { inspect } from 'node:util';
import { plainBytes, wrongType } from './arguments.js';
import { ValueError } from './errors.js';
import { allocateData, Block, dataAt, Segment, type Data } from './heap.js';
import { registerInternal, type InternalDecodeContext } from './reduction.js';
import { malformed, objectAt } from './sharing.js';
import { Lock, RLock } from './synchronize.js';
import {
  addToElement,
  compareExchangeElement,
  copyOf,
  elementsOn,
  exchangeReal,
  loadElement,
  readElement,
  storeElement,
  typedArrayOf,
  writeAll,
  writeElement,
  type Elements,
  type TypedArray,
  type TypedArrayClass,
} from './words.js';

// -------------------------------------------------------------------------------------------------
// Type codes

/** The codes of Python's `array` module but 'u', and 'c' (a byte), '?' (a boolean). */
export type TypeCode =
  'b' | 'B' | 'h' | 'H' | 'i' | 'I' | 'l' | 'L' | 'q' | 'Q' | 'f' | 'd' | 'c' | '?';

/** Codes whose elements have 64 bits and are read as BigInt. On Windows 'l' and 'L' have 32, and are numbers. */
export type BigCode = 'l' | 'L' | 'q' | 'Q';

/** What an element of this code is read as. */
export type ElementOf<Code extends TypeCode> = Code extends BigCode
  ? bigint
  : Code extends 'c'
    ? Buffer
    : Code extends '?'
      ? boolean
      : number;

/** What may be written into it. */
export type WritableAs<Code extends TypeCode> = Code extends 'c'
  ? Uint8Array | number
  : Code extends '?'
    ? unknown
    : number | bigint | boolean;

/** What `getObj()` answers. */
export type { TypedArray as Elements } from './words.js';

interface Type {
  /** As ctypes calls it. */
  name: string;
  /** What its elements are: only numbers are added to, and only integers by Atomics. */
  kind: 'integer' | 'real' | 'other';
  Elements: TypedArrayClass;
  /** An element as JavaScript sees it. */
  read(elements: Elements, index: number): unknown;
  /** Checked, as the typed array takes it. @throws TypeError. */
  convert(value: unknown): number | bigint;
}

/**
 * What Python would take for an int. A number from 2 ** 53 on may have been rounded, and then wraps to anything:
 * to Python it is a float, and no integer.
 */
function integer(value: unknown): bigint {
  if (typeof value === 'boolean' || typeof value === 'bigint') return BigInt(value);
  if (!Number.isInteger(value)) throw wrongType('the value', 'an integer', value);
  if (!Number.isSafeInteger(value)) {
    throw new TypeError(`${value as number} is not a safe integer: give a BigInt`);
  }
  return BigInt(value as number);
}

/** As a C conversion does it: what is too large wraps. */
function smallInteger(value: unknown): number {
  if (typeof value === 'number' && (value | 0) === value) return value;
  return Number(BigInt.asIntN(32, integer(value)));
}

function real(value: unknown): number {
  if (typeof value === 'number') return value;
  if (typeof value !== 'bigint' && typeof value !== 'boolean') {
    throw wrongType('the value', 'a number', value);
  }
  const number = Number(value);
  if (!Number.isFinite(number)) throw new RangeError('the BigInt is too large for a float');
  return number;
}

function single(value: unknown): number {
  return Math.fround(real(value));
}

function character(value: unknown): number {
  if (typeof value === 'boolean') return Number(value);
  if (value instanceof Uint8Array) {
    const bytes = plainBytes(value);
    if (bytes.length === 1) return bytes[0]!;
  }
  if (Number.isInteger(value) && (value as number) >= 0 && (value as number) < 256) {
    return value as number;
  }
  throw new TypeError('one character bytes, bytearray or integer expected');
}

const INTEGERS = { kind: 'integer', read: loadElement, convert: smallInteger } as const;
const BIG_INTEGERS = { kind: 'integer', read: loadElement, convert: integer } as const;
const REALS = { kind: 'real', read: readElement, convert: real } as const;
const longIsShort = process.platform === 'win32';

const TYPES: Record<TypeCode, Type> = {
  b: { name: 'c_byte', Elements: Int8Array, ...INTEGERS },
  B: { name: 'c_ubyte', Elements: Uint8Array, ...INTEGERS },
  h: { name: 'c_short', Elements: Int16Array, ...INTEGERS },
  H: { name: 'c_ushort', Elements: Uint16Array, ...INTEGERS },
  i: { name: 'c_int', Elements: Int32Array, ...INTEGERS },
  I: { name: 'c_uint', Elements: Uint32Array, ...INTEGERS },
  l: longIsShort
    ? { name: 'c_long', Elements: Int32Array, ...INTEGERS }
    : { name: 'c_long', Elements: BigInt64Array, ...BIG_INTEGERS },
  L: longIsShort
    ? { name: 'c_ulong', Elements: Uint32Array, ...INTEGERS }
    : { name: 'c_ulong', Elements: BigUint64Array, ...BIG_INTEGERS },
  q: { name: 'c_longlong', Elements: BigInt64Array, ...BIG_INTEGERS },
  Q: { name: 'c_ulonglong', Elements: BigUint64Array, ...BIG_INTEGERS },
  f: { name: 'c_float', Elements: Float32Array, ...REALS, convert: single },
  d: { name: 'c_double', Elements: Float64Array, ...REALS },
  c: {
    name: 'c_char',
    kind: 'other',
    Elements: Uint8Array,
    read: (elements, index) => Buffer.of(Number(loadElement(elements, index))),
    convert: character,
  },
  '?': {
    name: 'c_bool',
    kind: 'other',
    Elements: Uint8Array,
    read: (elements, index) => loadElement(elements, index) !== 0,
    convert: (value) => (value ? 1 : 0),
  },
};

function typeOf(code: unknown): Type {
  if (typeof code === 'string' && Object.hasOwn(TYPES, code)) return TYPES[code as TypeCode];
  const codes = Object.keys(TYPES).join(' ');
  throw wrongType('the type code', `one of ${codes}`, code);
}

function allocate(type: Type, length: number): Data {
  const bytes = length * type.Elements.BYTES_PER_ELEMENT;
  if (bytes > constants.MAX_LENGTH) {
    throw new RangeError(`this Node has no arrays beyond ${constants.MAX_LENGTH} bytes`);
  }
  return allocateData(bytes);
}

/** Elements, where they lie, and of which code they are. */
interface Shared {
  _type: Type;
  _elements: Elements;
  _code: TypeCode;
  _data: Data;
}

/** In memory of their own: `place` where it is there already. */
function share(code: TypeCode, type: Type, length: number, place: unknown): Shared {
  const data = place instanceof SharedPlace ? place.data : allocate(type, length);
  const elements = elementsOn(type.Elements, data.memory, data.byteOffset, length);
  return { _type: type, _elements: elements, _code: code, _data: data };
}

/** What a reference has led to. */
class SharedPlace {
  readonly data: Data;
  constructor(data: Data) {
    this.data = data;
  }
}

/** By what an object is told from others in its piece of memory: a word, as slots are. */
function placeIn({ piece, byteOffset }: Data): number {
  return piece instanceof Block ? 0 : byteOffset / 4;
}

function hide(object: object, properties: object): void {
  for (const [key, value] of Object.entries(properties)) {
    Object.defineProperty(object, key, hidden(value));
  }
}

// -------------------------------------------------------------------------------------------------
// Locks

export interface SharedOptions {
  /** A Lock or RLock to share, false for an object without one; by default a new RLock. */
  lock?: Lock | RLock | boolean | null | undefined;
}

function lockOf({ lock = true }: SharedOptions): Lock | RLock | undefined {
  if (lock === false) return undefined;
  if (lock === true || lock === null) return new RLock();
  if (lock instanceof Lock || lock instanceof RLock) return lock;
  throw wrongType("'lock'", 'a Lock, an RLock or a boolean', lock);
}

const hidden = (value: unknown): PropertyDescriptor => ({ value, enumerable: false });

// -------------------------------------------------------------------------------------------------
// Value

/** One shared number without a lock: what `RawValue` answers. */
export class RawSharedValue<Code extends TypeCode = TypeCode> {
  /** @internal */ declare readonly _type: Type;
  /** @internal */ declare readonly _elements: Elements;
  /** @internal */ declare readonly _code: TypeCode;
  /** @internal */ declare readonly _data: Data;

  /** @internal */
  constructor(code: Code, value: unknown, place?: unknown) {
    const type = typeOf(code);
    const initial = value === undefined ? undefined : type.convert(value);
    const shared = share(code, type, 1, place);
    if (initial !== undefined) writeElement(shared._elements, 0, initial);
    hide(this, shared);
    shared._data.piece.objects.set(placeIn(shared._data), this);
  }

  /** Read and written in one untorn access, without the lock. @throws TypeError it is not of the type. */
  get value(): ElementOf<Code> {
    return this._type.read(this._elements, 0) as ElementOf<Code>;
  }

  set value(value: WritableAs<Code>) {
    const converted = this._type.convert(value);
    if (this._type.kind === 'real') writeElement(this._elements, 0, converted);
    else storeElement(this._elements, 0, converted);
  }

  /**
   * Adds in one atomic step, without the lock; integers wrap. Beyond Python.
   *
   * @returns the value before, as `Atomics.add`. @throws TypeError for 'c', '?' and what is not of the type.
   */
  add(amount: WritableAs<Code>): ElementOf<Code> {
    const { _type: type, _elements: shared } = this;
    const converted = type.convert(amount) as number;
    if (type.kind === 'integer') {
      return addToElement(shared, 0, converted) as ElementOf<Code>;
    }
    if (type.kind === 'other') throw new TypeError(`${type.name} cannot be added to`);
    for (;;) {
      const old = readElement(shared, 0) as number;
      if (exchangeReal(shared, 0, old, old + converted)) return old as ElementOf<Code>;
    }
  }

  /**
   * Writes `replacement` if the value is `expected`, in one atomic step, without the lock. Beyond Python.
   *
   * @returns the value before: `expected` if it was replaced. @throws TypeError what is not of the type.
   */
  compareExchange(expected: WritableAs<Code>, replacement: WritableAs<Code>): ElementOf<Code> {
    const { _type: type, _elements: shared } = this;
    const from = type.convert(expected);
    const to = type.convert(replacement);
    if (type.kind !== 'real') {
      const old = compareExchangeElement(shared, 0, from, to);
      return type.read(new type.Elements([old]), 0) as ElementOf<Code>;
    }
    for (;;) {
      const old = readElement(shared, 0) as number;
      if (!Object.is(old, from) && old !== from) return old as ElementOf<Code>;
      if (exchangeReal(shared, 0, old, to as number)) return old as ElementOf<Code>;
    }
  }

  toString(): string {
    return `${this._type.name}(${inspect(this.value)})`;
  }

  [inspect.custom](): string {
    return this.toString();
  }
}

/** One shared number with a lock: what `Value` answers. Mirrors `multiprocessing.sharedctypes.Synchronized`. */
export class Synchronized<Code extends TypeCode = TypeCode> extends RawSharedValue<Code> {
  /** @internal */ declare readonly _lock: Lock | RLock;

  /** @internal */
  constructor(code: Code, value: unknown, lock: Lock | RLock, place?: unknown) {
    super(code, value, place);
    Object.defineProperty(this, '_lock', hidden(lock));
  }

  /** The lock to hold for more than one access. */
  getLock(): Lock | RLock {
    return this._lock;
  }

  /**
   * A typed array of length 1 on the shared memory itself. @throws Error ENOSYS: this runtime allows none, as Electron.
   */
  getObj(): TypedArray {
    return typedArrayOf(this._elements);
  }

  acquire(block?: boolean, timeout?: number | null): boolean {
    return this._lock.acquire(block, timeout);
  }

  release(): void {
    this._lock.release();
  }

  override toString(): string {
    return `<${this.constructor.name} wrapper for ${super.toString()}>`;
  }
}

/**
 * A shared number with a lock. Mirrors `multiprocessing.Value`.
 *
 * @param code see TypeCode. @param value at first; without one 0.
 * @throws TypeError no such code, a value that is not of the type, a `lock` that is none.
 */
export function Value<Code extends TypeCode>(
  code: Code,
  value: WritableAs<Code> | undefined,
  options: { lock: false },
): RawSharedValue<Code>;
export function Value<Code extends TypeCode>(
  code: Code,
  value?: WritableAs<Code>,
  options?: SharedOptions,
): Synchronized<Code>;
export function Value(code: TypeCode, value?: unknown, options?: SharedOptions): RawSharedValue {
  // `Value('i', { lock: false })`, as Python's keyword may follow the code at once.
  if (options === undefined && isOptions(value)) return Value(code, undefined, value);
  const lock = lockOf(options ?? {});
  return lock === undefined ? new RawSharedValue(code, value) : new Synchronized(code, value, lock);
}

function isOptions(value: unknown): value is SharedOptions {
  return typeof value === 'object' && value !== null && 'lock' in value;
}

/** A shared number without a lock. Mirrors `multiprocessing.RawValue`. */
export function RawValue<Code extends TypeCode>(
  code: Code,
  value?: WritableAs<Code>,
): RawSharedValue<Code> {
  return new RawSharedValue(code, value);
}

// -------------------------------------------------------------------------------------------------
// Array

/** '1.5', '-1', 'NaN': a number, as a property's name. */
function isNumeric(key: string): boolean {
  return key === '-0' || String(Number(key)) === key;
}

/** '7', as a property's name: the index, or -1. */
function indexOf(key: string): number {
  const first = key.charCodeAt(0);
  if (first < 48 || first > 57) return -1;
  const index = Number(key);
  return Number.isInteger(index) && String(index) === key ? index : -1;
}

const ELEMENT_ACCESS: ProxyHandler<RawSharedArray> = {
  get(array, key) {
    if (typeof key === 'string') {
      const index = indexOf(key);
      if (index >= 0) return array._read(index);
    }
    return Reflect.get(array, key, array) as unknown;
  },
  set(array, key, value) {
    if (typeof key === 'string') {
      const index = indexOf(key);
      if (index >= 0 || isNumeric(key)) {
        array._write(index, value);
        return true;
      }
    }
    return Reflect.set(array, key, value, array);
  },
  defineProperty(array, key, descriptor) {
    if (typeof key !== 'string' || !isNumeric(key)) {
      return Reflect.defineProperty(array, key, descriptor);
    }
    if (!('value' in descriptor)) throw new TypeError('an element of a shared array has a value');
    array._write(indexOf(key), descriptor.value);
    return true;
  },
  has(array, key) {
    const index = typeof key === 'string' ? indexOf(key) : -1;
    return index >= 0 ? index < array.length : Reflect.has(array, key);
  },
};

/** A shared array without a lock: what `RawArray` answers. Its elements are `array[0]` to `array[length - 1]`. */
export class RawSharedArray<Code extends TypeCode = TypeCode> {
  /** @internal */ declare readonly _type: Type;
  /** @internal */ declare readonly _elements: Elements;
  /** @internal */ declare readonly _code: TypeCode;
  /** @internal */ declare readonly _data: Data;

  [index: number]: ElementOf<Code>;

  /** @internal */
  constructor(code: Code, sizeOrInitializer: unknown, place?: unknown) {
    const type = typeOf(code);
    const initial = initialElements(type, sizeOrInitializer);
    const length = typeof initial === 'number' ? initial : initial.length;
    const shared = share(code, type, length, place);
    if (typeof initial !== 'number') writeAll(shared._elements, initial);
    hide(this, shared);
    const array = new Proxy(this, ELEMENT_ACCESS as ProxyHandler<this>);
    shared._data.piece.objects.set(placeIn(shared._data), array);
    // oxlint-disable-next-line no-constructor-return
    return array;
  }

  /** The number of elements. */
  get length(): number {
    return this._elements.length;
  }

  /** @internal */
  _read(index: number): ElementOf<Code> | undefined {
    if (index >= this._elements.length) return undefined;
    return this._type.read(this._elements, index) as ElementOf<Code>;
  }

  /** @internal */
  _write(index: number, value: unknown): void {
    const elements = this._elements;
    const converted = this._type.convert(value);
    if (index < 0 || index >= elements.length) throw new RangeError('invalid index');
    if (this._type.kind === 'real') writeElement(elements, index, converted);
    else storeElement(elements, index, converted);
  }

  /** As an array's: a negative index counts from the end. */
  at(index: number): ElementOf<Code> | undefined {
    const whole = Math.trunc(index) || 0;
    return whole < 0
      ? whole + this.length < 0
        ? undefined
        : this._read(whole + this.length)
      : this._read(whole);
  }

  /** A plain array of these elements, copied; of 'c' the bytes. */
  slice(start?: number, end?: number): Code extends 'c' ? Buffer : ElementOf<Code>[] {
    const part = copyOf(this._elements, start, end);
    if (this._type === TYPES.c) return Buffer.from(part.buffer) as never;
    return Array.from(part as ArrayLike<number>, (_, i) => this._type.read(part, i)) as never;
  }

  *[Symbol.iterator](): IterableIterator<ElementOf<Code>> {
    for (let i = 0; i < this.length; i++) yield this._read(i)!;
  }

  /** As arrays have them. */
  values(): IterableIterator<ElementOf<Code>> {
    return this[Symbol.iterator]();
  }

  *keys(): IterableIterator<number> {
    for (let i = 0; i < this.length; i++) yield i;
  }

  *entries(): IterableIterator<[number, ElementOf<Code>]> {
    for (let i = 0; i < this.length; i++) yield [i, this._read(i)!];
  }

  forEach(callback: (element: ElementOf<Code>, index: number, array: this) => void): void {
    for (const [index, element] of this.entries()) callback(element, index, this);
  }

  /** A plain array of what `callback` answers. */
  map<T>(callback: (element: ElementOf<Code>, index: number, array: this) => T): T[] {
    return Array.from(this.entries(), ([index, element]) => callback(element, index, this));
  }

  /** Of 'c': all bytes, copied. */
  get raw(): Code extends 'c' ? Buffer : undefined {
    return (
      this._type === TYPES.c ? Buffer.from(copyOf(this._elements).buffer) : undefined
    ) as never;
  }

  set raw(bytes: Uint8Array) {
    const [elements, given] = this.#bytes('raw', bytes);
    writeAll(elements, given);
  }

  /** Of 'c': the bytes up to the first NUL, copied. Writing fewer than there is room for adds a NUL. */
  get value(): Code extends 'c' ? Buffer : undefined {
    const raw = this.raw as Buffer | undefined;
    const end = raw?.indexOf(0) ?? -1;
    return (end < 0 ? raw : raw!.subarray(0, end)) as never;
  }

  set value(bytes: Uint8Array) {
    const [elements, given] = this.#bytes('value', bytes);
    writeAll(elements, given);
    if (given.length < elements.length) writeElement(elements, given.length, 0);
  }

  #bytes(name: string, bytes: unknown): [elements: Elements, given: Uint8Array] {
    if (this._type !== TYPES.c) throw new TypeError(`only an array of 'c' has '${name}'`);
    if (!(bytes instanceof Uint8Array)) throw wrongType(`'${name}'`, 'a Uint8Array', bytes);
    const given = plainBytes(bytes);
    if (given.length > this.length) throw new ValueError('byte string too long');
    return [this._elements, given];
  }

  toJSON(): unknown[] {
    return [...this];
  }

  toString(): string {
    return `<${this._type.name}_Array_${this.length}>`;
  }

  [inspect.custom](_depth: number, options: object): string {
    return `${this.toString()} ${inspect([...this], options)}`;
  }
}

function initialElements(type: Type, given: unknown): number | (number | bigint)[] | Uint8Array {
  if (typeof given === 'number') {
    if (!Number.isInteger(given)) throw wrongType('the size', 'an integer', given);
    if (given < 0) throw new ValueError(`Array length must be >= 0, not ${given}`);
    return given;
  }
  if (type === TYPES.c && given instanceof Uint8Array) return plainBytes(given);
  if (typeof (given as Iterable<unknown> | null | undefined)?.[Symbol.iterator] !== 'function') {
    throw wrongType('the second argument', 'a size or an iterable', given);
  }
  return Array.from(given as Iterable<unknown>, (value) => type.convert(value));
}

/** A shared array with a lock: what `Array` answers. Mirrors `multiprocessing.sharedctypes.SynchronizedArray`. */
export class SynchronizedArray<Code extends TypeCode = TypeCode> extends RawSharedArray<Code> {
  /** @internal */ declare readonly _lock: Lock | RLock;

  /** @internal */
  constructor(code: Code, sizeOrInitializer: unknown, lock: Lock | RLock, place?: unknown) {
    super(code, sizeOrInitializer, place);
    Object.defineProperty(this, '_lock', hidden(lock));
  }

  /** The lock to hold for more than one access. */
  getLock(): Lock | RLock {
    return this._lock;
  }

  /**
   * The typed array on the shared memory itself: the fastest access. @throws Error ENOSYS: this runtime allows none, as
   * Electron.
   */
  getObj(): TypedArray {
    return typedArrayOf(this._elements);
  }

  acquire(block?: boolean, timeout?: number | null): boolean {
    return this._lock.acquire(block, timeout);
  }

  release(): void {
    this._lock.release();
  }

  override toString(): string {
    return `<${this.constructor.name} wrapper for ${super.toString()}>`;
  }
}

/**
 * A shared array with a lock. Mirrors `multiprocessing.Array`.
 *
 * @param code see TypeCode. @param sizeOrInitializer how many elements, zeroed, or the elements.
 * @throws TypeError no such code, an element that is not of the type, a `lock` that is none. ValueError a
 *   negative size.
 */
function SharedArray<Code extends TypeCode>(
  code: Code,
  sizeOrInitializer: number | Iterable<WritableAs<Code>>,
  options: { lock: false },
): RawSharedArray<Code>;
function SharedArray<Code extends TypeCode>(
  code: Code,
  sizeOrInitializer: number | Iterable<WritableAs<Code>>,
  options?: SharedOptions,
): SynchronizedArray<Code>;
function SharedArray<Code extends TypeCode>(
  code: Code,
  sizeOrInitializer: number | Iterable<WritableAs<Code>>,
  options: SharedOptions = {},
): RawSharedArray<Code> {
  const lock = lockOf(options);
  return lock === undefined
    ? new RawSharedArray(code, sizeOrInitializer)
    : new SynchronizedArray(code, sizeOrInitializer, lock);
}

export { SharedArray as Array };

/** A shared array without a lock. Mirrors `multiprocessing.RawArray`. */
export function RawArray<Code extends TypeCode>(
  code: Code,
  sizeOrInitializer: number | Iterable<WritableAs<Code>>,
): RawSharedArray<Code> {
  return new RawSharedArray(code, sizeOrInitializer);
}

// -------------------------------------------------------------------------------------------------
// What travels of them

type SharedReference = [
  code: TypeCode,
  length: number,
  piece: Segment | Block,
  byteOffset: number,
  lock?: Lock | RLock,
];

function referenceTo(
  { _code: code, _elements: elements, _data: data }: RawSharedValue | RawSharedArray,
  lock?: Lock | RLock,
): SharedReference {
  const { piece, byteOffset } = data;
  return [code, elements.length, piece, piece instanceof Block ? 0 : byteOffset, lock];
}

/** The object that a reference means. @throws UnpicklingError there is none. */
function referred<T extends RawSharedValue | RawSharedArray>(
  [code, length, piece, byteOffset, lock]: SharedReference,
  Class: abstract new (...args: never[]) => T,
  context: InternalDecodeContext,
  make: (place: SharedPlace, lock: Lock | RLock) => T,
): T {
  const width = typeOf(code).Elements.BYTES_PER_ELEMENT;
  const isPiece = piece instanceof Segment || piece instanceof Block;
  if (!isPiece || !Number.isSafeInteger(length) || length < 0) throw malformed();
  if (lock !== undefined && !(lock instanceof Lock || lock instanceof RLock)) throw malformed();
  const data = dataAt(piece, byteOffset, length * width);
  if (data === undefined) throw malformed();
  const object = objectAt(piece, placeIn(data), Class, context, () =>
    make(new SharedPlace(data), lock!),
  );
  if (object._code !== code || object._elements.length !== length) throw malformed();
  return object;
}

function checkSingle([, length]: SharedReference): void {
  if (length !== 1) throw malformed();
}

function checkLock([, , , , lock]: SharedReference): void {
  if (lock === undefined) throw malformed();
}

registerInternal(RawSharedValue, 'RawValue', {
  encode: (value) => referenceTo(value),
  decode(reference: SharedReference, context) {
    checkSingle(reference);
    return referred(
      reference,
      RawSharedValue,
      context,
      (place) => new RawSharedValue(reference[0], undefined, place),
    );
  },
});
registerInternal(Synchronized, 'Value', {
  encode: (value) => referenceTo(value, value.getLock()),
  decode(reference: SharedReference, context) {
    checkSingle(reference);
    checkLock(reference);
    return referred(
      reference,
      Synchronized,
      context,
      (place, lock) => new Synchronized(reference[0], undefined, lock, place),
    );
  },
});
registerInternal(RawSharedArray, 'RawArray', {
  encode: (array) => referenceTo(array),
  decode: (reference: SharedReference, context) =>
    referred(
      reference,
      RawSharedArray,
      context,
      (place) => new RawSharedArray(reference[0], reference[1], place),
    ),
});
registerInternal(SynchronizedArray, 'Array', {
  encode: (array) => referenceTo(array, array.getLock()),
  decode(reference: SharedReference, context) {
    checkLock(reference);
    return referred(
      reference,
      SynchronizedArray,
      context,
      (place, lock) => new SynchronizedArray(reference[0], reference[1], lock, place),
    );
  },
});
