/**
 * The decoder: bytes to a value, in one walk.
 *
 * Whatever bytes it is given, it answers a value or throws an UnpicklingError; every length is checked against
 * the bytes that are there before anything is allocated for it, and no key reaches a prototype. It does run
 * what the bytes refer to (modules, reducers): bytes from a stranger must not be read, as with pickle.
 *
 * The ArrayBuffers that come beside the head become the memory of the value's Buffers and typed arrays.
 *
 * State lives in variables of the module, for speed; constructors and hooks of the user may decode something
 * themselves, so it is saved when `decode` is entered a second time. Only reduction.ts may import this file.
 */

import { UnpicklingError } from '../errors.js';
import { onContinue, onNewIdentity } from '../at_fork.js';
import type * as Handles from '../handles.js';
import { lazyPart } from '../lazy_builtin.js';
import { kinOf } from '../kinship.js';
import { KIN, resolve } from '../references.js';
import {
  setState,
  VERSION,
  HAS_REFS,
  HAS_TABLE,
  SHORT_STRING,
  SMALL_OBJECT,
  SMALL_ARRAY,
  UNDEFINED,
  NULL,
  FALSE,
  TRUE,
  INT8,
  INTEGERS,
  littleEndian,
  NUMBERS,
  INT16,
  INT32,
  DOUBLE,
  LATIN1,
  UTF16,
  BIGINT,
  OBJECT,
  ARRAY,
  REF,
  DATE,
  MAP,
  SET,
  BUFFER,
  BULK_BUFFER,
  VIEW,
  ARRAY_BUFFER,
  HOLES,
  ABSENT,
  REFERENCE,
  INSTANCE,
  DERIVED,
  REDUCED,
  INTERNAL,
  ERROR,
  REGEXP,
  BOXED,
  WITH_PROPERTIES,
  END,
  ROW,
  OWN_STACK,
  ERROR_PARTS,
  viewClass,
  NO_FDS,
  isStackOverflow,
  type Bytes,
} from './format.js';
import { nameOf } from './names.js';
import { internals } from './hooks.js';

// -------------------------------------------------------------------------------------------------
// The decoder

const NOTHING = Buffer.alloc(0) as Bytes;
let from = NOTHING;
let at = 0;
let end = 0;
/** The objects so far, if the message refers to any of them again. */
let objects: unknown[] | undefined;
let tables: { buffer: ArrayBuffer; base: number }[] = [];
let bulks: readonly ArrayBuffer[] = [];
let descriptors: readonly number[] = [];
/** The prototype and the number of the next object that is made. */
let derived: { prototype: object; number: number } | undefined;
/** What to do with objects that hold something of the system's, when the message turns out to be none. */
let undoing: (() => void)[] | undefined;
let decoding = false;

const NO_BUFFERS: readonly ArrayBuffer[] = Object.freeze([]);
/** See encoder.ts. */
let left = false;
onNewIdentity(() => {
  left = decoding;
});
onContinue(() => {
  left = false;
});

/** Stands for an object whose arguments are being read. */
const PENDING = Symbol('pending');

/**
 * Puts a value together again.
 *
 * @param head the bytes from `start` to `end` are the message's head; they are not needed afterwards.
 * @param bulk the bulks of the message, in order, exactly as long as they were: they become the memory of the
 *   value's Buffers, typed arrays and ArrayBuffers.
 * @param fds the descriptors that came along. Each that an object has taken over is replaced by -1: the others
 *   are the caller's to close, also after an error.
 * @throws UnpicklingError no message of this version, or one that names what is not here; `cause` has what a
 *   module or a hook threw.
 */
export function decode(
  head: Buffer,
  start: number,
  end_: number,
  bulk: readonly ArrayBuffer[] = NO_BUFFERS,
  fds: readonly number[] = NO_FDS,
): unknown {
  if (!(start >= 0 && end_ - start >= 3 && end_ <= head.length)) throw malformed('is too short');
  if (head[start] !== VERSION) throw malformed('is of another version, or not from this package');
  if (left) {
    left = false;
    decoding = false;
  }
  const outer = decoding
    ? { from, at, end, objects, tables, bulks, descriptors, derived, doubles, undoing }
    : undefined;
  decoding = true;
  from = head as Bytes;
  at = start + 2;
  end = end_;
  derived = undefined;
  doubles = undefined;
  bulks = bulk;
  descriptors = fds;
  undoing = undefined;
  try {
    const has = head[start + 1]!;
    if (has > (HAS_REFS | HAS_TABLE)) throw malformed('has unknown flags');
    objects = (has & HAS_REFS) === 0 ? undefined : [];
    if ((has & HAS_TABLE) !== 0) readTable();
    const value = read();
    if (at !== end) throw malformed('has bytes left over');
    return value;
  } catch (error) {
    undo();
    throw asUnpickling(error);
  } finally {
    if (outer === undefined) {
      undoing = undefined;
      decoding = false;
      from = NOTHING;
      objects = undefined;
      doubles = undefined;
      bulks = NO_BUFFERS;
      derived = undefined;
      if (tables.length > 0) tables = [];
    } else {
      ({ from, at, end, objects, tables, bulks, descriptors, derived, doubles, undoing } = outer);
    }
  }
}

/** Nobody will have the objects of this message that hold something of the system's. */
function undo(): void {
  for (const one of undoing ?? []) one();
}

function asUnpickling(error: unknown): UnpicklingError {
  if (error instanceof UnpicklingError) return error;
  if (isStackOverflow(error)) {
    return new UnpicklingError('the message is nested too deeply', { cause: error });
  }
  const why = error instanceof Error ? error.message : String(error);
  return new UnpicklingError(`the message cannot be put together: ${why}`, { cause: error });
}

function malformed(what: string): UnpicklingError {
  return new UnpicklingError(`not a message of node-multiprocessing: it ${what}`);
}

/** @throws UnpicklingError there are fewer bytes left. */
function need(bytes: number): void {
  if (bytes > end - at) throw malformed('is cut off');
}

/** A DataView of the whole message reads a double several times faster, but takes longer to make. */
let doubles: DataView | undefined;
const WORTH_A_VIEW = 160;

const eight = new Uint8Array(8);
const double = new Float64Array(eight.buffer);

function readDouble(): number {
  need(8);
  if (doubles !== undefined) {
    at += 8;
    return doubles.getFloat64(at - 8, true);
  }
  if (end - at > WORTH_A_VIEW) doubles = new DataView(from.buffer, from.byteOffset, end);
  if (littleEndian) {
    for (let i = 0; i < 8; i++) eight[i] = from[at + i]!;
  } else {
    for (let i = 0; i < 8; i++) eight[7 - i] = from[at + i]!;
  }
  at += 8;
  return double[0]!;
}

function readCount(): number {
  let count = 0;
  let factor = 1;
  for (;;) {
    if (at >= end) throw malformed('is cut off');
    const byte = from[at++]!;
    count += (byte & 127) * factor;
    if (byte < 128) break;
    factor *= 128;
    if (factor > 2 ** 28) throw malformed('has an impossible length');
  }
  if (count > 0xffff_ffff) throw malformed('has an impossible length');
  return count;
}

/** A count of things that take at least one byte each. */
function readLength(): number {
  const length = readCount();
  need(length);
  return length;
}

/** Numbers the object, and makes it of the class that is waiting for its built-in part. */
function made<T extends object>(object: T): T {
  if (derived !== undefined) {
    const { prototype, number } = derived;
    derived = undefined;
    Object.setPrototypeOf(object, prototype);
    if (objects !== undefined) objects[number] = object;
  } else if (objects !== undefined) {
    objects.push(object);
  }
  return object;
}

function read(): unknown {
  if (at >= end) throw malformed('is cut off');
  const tag = from[at++]!;
  if (tag < SHORT_STRING) return tag;
  if (tag < SMALL_OBJECT) return readLatin1(tag & 63);
  if (tag < SMALL_ARRAY) return readPlain(tag & 15);
  if (tag < UNDEFINED) return readElements(tag & 15);
  switch (tag) {
    case UNDEFINED:
      return undefined;
    case NULL:
      return null;
    case FALSE:
      return false;
    case TRUE:
      return true;
    case INT8:
      need(1);
      return (from[at++]! << 24) >> 24;
    case INT16:
      need(2);
      at += 2;
      return ((from[at - 2]! | (from[at - 1]! << 8)) << 16) >> 16;
    case INT32:
      need(4);
      at += 4;
      return from[at - 4]! | (from[at - 3]! << 8) | (from[at - 2]! << 16) | (from[at - 1]! << 24);
    case DOUBLE:
      return readDouble();
    case LATIN1:
      return readLatin1(readLength());
    case UTF16:
      return readUtf16();
    case BIGINT:
      return readBigInt();
    case OBJECT:
      return readPlain(16);
    case ARRAY:
      return readElements(readCount());
    default:
      return readOther(tag);
  }
}

function readOther(tag: number): unknown {
  switch (tag) {
    case REF:
      return readRef();
    case INTEGERS:
      return readNumbers(Int32Array);
    case NUMBERS:
      return readNumbers(Float64Array);
    case DATE:
      return made(new Date(readDouble()));
    case MAP:
      return readMap();
    case SET:
      return readSet();
    case BUFFER:
      return readBuffer();
    case BULK_BUFFER:
      return readBulkBuffer();
    case VIEW:
      return readView();
    case ARRAY_BUFFER:
      return made(tableAt(readCount()).buffer);
    case REFERENCE:
      return readReference();
    case INSTANCE:
      return readInstance();
    case DERIVED:
      return readDerived();
    case REDUCED:
      return readReduced();
    case INTERNAL:
      return readInternal();
    case ERROR:
      return readError();
    case REGEXP:
      return made(new RegExp(readText(), readText()));
    case BOXED:
      return readBoxed();
    case WITH_PROPERTIES: {
      const array = read();
      if (!Array.isArray(array)) throw malformed('has properties of something else than an array');
      readProperties(array);
      return array;
    }
    default:
      throw malformed(`has an unknown tag, ${tag}`);
  }
}

// -------------------------------------------------------------------------------------------------
// Decoding: strings, numbers

/** Up to this length a string is put together here. */
const ASSEMBLED = 12;
const code = String.fromCharCode;

function readLatin1(length: number): string {
  need(length);
  const start = at;
  at += length;
  return length <= ASSEMBLED ? assembled(start, length) : from.latin1Slice(start, at);
}

/** A call into C++ takes four times as long. */
function assembled(s: number, length: number): string {
  switch (length) {
    case 1:
      return code(from[s]!);
    case 2:
      return code(from[s]!, from[s + 1]!);
    case 3:
      return code(from[s]!, from[s + 1]!, from[s + 2]!);
    case 4:
      return code(from[s]!, from[s + 1]!, from[s + 2]!, from[s + 3]!);
    case 5:
      return code(from[s]!, from[s + 1]!, from[s + 2]!, from[s + 3]!, from[s + 4]!);
    case 6:
      return code(from[s]!, from[s + 1]!, from[s + 2]!, from[s + 3]!, from[s + 4]!, from[s + 5]!);
    case 7:
      return code(
        from[s]!,
        from[s + 1]!,
        from[s + 2]!,
        from[s + 3]!,
        from[s + 4]!,
        from[s + 5]!,
        from[s + 6]!,
      );
    case 8:
      return code(
        from[s]!,
        from[s + 1]!,
        from[s + 2]!,
        from[s + 3]!,
        from[s + 4]!,
        from[s + 5]!,
        from[s + 6]!,
        from[s + 7]!,
      );
    case 9:
      return code(
        from[s]!,
        from[s + 1]!,
        from[s + 2]!,
        from[s + 3]!,
        from[s + 4]!,
        from[s + 5]!,
        from[s + 6]!,
        from[s + 7]!,
        from[s + 8]!,
      );
    case 10:
      return code(
        from[s]!,
        from[s + 1]!,
        from[s + 2]!,
        from[s + 3]!,
        from[s + 4]!,
        from[s + 5]!,
        from[s + 6]!,
        from[s + 7]!,
        from[s + 8]!,
        from[s + 9]!,
      );
    case 11:
      return code(
        from[s]!,
        from[s + 1]!,
        from[s + 2]!,
        from[s + 3]!,
        from[s + 4]!,
        from[s + 5]!,
        from[s + 6]!,
        from[s + 7]!,
        from[s + 8]!,
        from[s + 9]!,
        from[s + 10]!,
      );
    case 12:
      return code(
        from[s]!,
        from[s + 1]!,
        from[s + 2]!,
        from[s + 3]!,
        from[s + 4]!,
        from[s + 5]!,
        from[s + 6]!,
        from[s + 7]!,
        from[s + 8]!,
        from[s + 9]!,
        from[s + 10]!,
        from[s + 11]!,
      );
    default:
      return '';
  }
}

/** Strings that came lately, by their bytes: keys, above all. */
const KNOWN = 1024;
const LONGEST_KNOWN = 24;
const lately: string[] = new Array<string>(KNOWN).fill('');

function known(start: number, length: number): string {
  let hash = length;
  for (let i = 0; i < length; i++) hash = (Math.imul(hash, 31) + from[start + i]!) | 0;
  hash = (hash ^ (hash >>> 10)) & (KNOWN - 1);
  const candidate = lately[hash]!;
  if (candidate.length === length) {
    let i = 0;
    while (i < length && candidate.charCodeAt(i) === from[start + i]) i++;
    if (i === length) return candidate;
  }
  // Made a property's name, which V8 keeps only one of: setting a property with it is quick.
  const [key] = Object.keys({ [from.latin1Slice(start, start + length)]: 0 });
  lately[hash] = key!;
  return key!;
}

function readKey(): string {
  if (at >= end) throw malformed('is cut off');
  const tag = from[at++]!;
  if ((tag & 0xc0) === SHORT_STRING) {
    const length = tag & 63;
    if (length > LONGEST_KNOWN) return readLatin1(length);
    need(length);
    const start = at;
    at += length;
    return known(start, length);
  }
  if (tag === LATIN1) return readLatin1(readLength());
  if (tag === UTF16) return readUtf16();
  throw malformed('has a key that is no string');
}

function readText(): string {
  return readKey();
}

function readUtf16(): string {
  const bytes = 2 * readCount();
  need(bytes);
  at += bytes;
  return from.ucs2Slice(at - bytes, at);
}

function readBigInt(): bigint {
  need(1);
  const negative = from[at++] === 1;
  const length = readLength();
  at += length;
  const value = length === 0 ? 0n : BigInt(`0x${from.hexSlice(at - length, at)}`);
  return negative ? -value : value;
}

// -------------------------------------------------------------------------------------------------
// Decoding: objects

/** @param count how many properties; 16: until END. */
function readPlain(count: number): object {
  const object: Record<string, unknown> = made({});
  for (let i = 0; i < count;) {
    if (count < 16) i++;
    else if (isEnd()) break;
    const key = readKey();
    if (from[at] === ABSENT && at < end) at++;
    else if (key === '__proto__') define(object, key, read());
    else object[key] = read();
  }
  return object;
}

function isEnd(): boolean {
  if (from[at] !== END || at >= end) return false;
  at++;
  return true;
}

/** An object with these keys. */
function readRow(keys: readonly string[]): object {
  const object: Record<string, unknown> = made({});
  for (let i = 0; i < keys.length; i++) {
    const key = keys[i]!;
    if (from[at] === ABSENT && at < end) at++;
    else if (key === '__proto__') define(object, key, read());
    else object[key] = read();
  }
  return object;
}

function define(object: object, key: string, value: unknown, enumerable = true): void {
  Object.defineProperty(object, key, { value, enumerable, writable: true, configurable: true });
}

/** Own properties, past setters: what a class does with an assignment is not asked. */
function readProperties(object: object): void {
  if (at >= end) throw malformed('is cut off');
  const tag = from[at++]!;
  if (tag !== OBJECT && (tag & 0xf0) !== SMALL_OBJECT) throw malformed('lacks properties');
  const count = tag === OBJECT ? 16 : tag & 15;
  for (let i = 0; i < count;) {
    if (count < 16) i++;
    else if (isEnd()) break;
    const key = readKey();
    if (from[at] === ABSENT && at < end) {
      at++;
      continue;
    }
    const value = read();
    if (key in object) define(object, key, value);
    else (object as Record<string, unknown>)[key] = value;
  }
}

/** Missing elements in a row, up to which an array has memory for them. */
const FAR = 64;

function readElements(length: number): unknown[] {
  const array: unknown[] = made([]);
  let last: object | undefined;
  let keys: readonly string[] | undefined;
  for (let i = 0; i < length;) {
    const tag = at < end ? from[at]! : NULL;
    if (tag < SHORT_STRING) {
      at++;
      array[i++] = tag;
    } else if (tag === INT16 && end - at > 2) {
      array[i++] = ((from[at + 1]! | (from[at + 2]! << 8)) << 16) >> 16;
      at += 3;
    } else if ((tag & 0xf0) === SMALL_OBJECT || tag === OBJECT) {
      at++;
      last = readPlain(tag === OBJECT ? 16 : tag & 15);
      keys = undefined;
      array[i++] = last;
    } else if (tag === ROW) {
      at++;
      keys ??= last === undefined ? [] : Object.keys(last);
      if (keys.length === 0) throw malformed('has an object without keys');
      array[i++] = readRow(keys);
    } else if (tag === HOLES) {
      at++;
      const holes = readCount();
      if (holes === 0 || holes > length - i) throw malformed('has an impossible length');
      i += holes;
      // Memory for many missing elements is not for a few bytes to claim: V8 keeps such an array sparse.
      if (holes > FAR) array.length = 0xffff_ffff;
      array.length = i;
    } else {
      array[i++] = read();
    }
  }
  return array;
}

function readRef(): unknown {
  const number = readCount();
  if (objects === undefined || number >= objects.length) throw malformed('refers to nothing');
  const object = objects[number];
  if (object === PENDING) throw malformed('has an object among its own arguments');
  return object;
}

function readMap(): object {
  const count = readLength();
  const map = made(new Map<unknown, unknown>());
  for (let i = 0; i < count; i++) {
    const key = read();
    addToMap.call(map, key, read());
  }
  return map;
}

function readSet(): object {
  const count = readLength();
  const set = made(new Set<unknown>());
  for (let i = 0; i < count; i++) addToSet.call(set, read());
  return set;
}

/** Not those of a class that extends them. */
const addToMap = Map.prototype.set;
const addToSet = Set.prototype.add;

function readBoxed(): object {
  const value = read();
  if (typeof value === 'object' || typeof value === 'function' || value === undefined) {
    throw malformed('has a boxed object');
  }
  return made(Object(value) as object);
}

function readError(): object {
  const number = reserve();
  const Class = readClass();
  need(1);
  const has = from[at++]!;
  const error = Reflect.construct(Error, [], Class) as Error;
  settle(number, error);
  if ((has & OWN_STACK) === 0) delete error.stack;
  for (const [bit, key] of ERROR_PARTS) if ((has & bit) !== 0) define(error, key, read(), false);
  readProperties(error);
  return error;
}

/** A number for an object that is not made yet. Also what `made` would do for a class that waits. */
function reserve(): number {
  if (derived !== undefined) throw malformed('has a class of a class');
  return objects === undefined ? -1 : objects.push(PENDING) - 1;
}

function settle(number: number, object: unknown): void {
  if (objects !== undefined) objects[number] = object;
}

// -------------------------------------------------------------------------------------------------
// Decoding: binary data

function readBuffer(): object {
  const length = readLength();
  const buffer = Buffer.allocUnsafe(length);
  if (length < 32) for (let i = 0; i < length; i++) buffer[i] = from[at + i]!;
  else from.copy(buffer, 0, at, at + length);
  at += length;
  return made(buffer);
}

function bulkAt(index: number, length: number): ArrayBuffer {
  const buffer = bulks[index];
  if (buffer === undefined || buffer.byteLength !== length) {
    throw malformed('does not go with the binary data that came along');
  }
  return buffer;
}

function readBulkBuffer(): object {
  const index = readCount();
  const length = readDouble();
  return made(Buffer.from(bulkAt(index, length), 0, length));
}

/** See writeTable. Leaves `end` at where the value ends. */
function readTable(): void {
  const start = at;
  const last = end - 4;
  at = last;
  if (last < start) throw malformed('is cut off');
  const place = from.readUInt32LE(last) + start - 2;
  if (place < start || place >= last) throw malformed('is cut off');
  [at, end] = [place, last];
  const count = readLength();
  const found: typeof tables = [];
  for (let i = 0; i < count; i++) {
    const base = readDouble();
    const length = readDouble();
    need(1);
    const beside = from[at++] === 1;
    if (beside) {
      found.push({ buffer: bulkAt(readCount(), length), base });
    } else {
      if (!(length >= 0)) throw malformed('has an impossible length');
      need(length);
      const bytes = new Uint8Array(length);
      bytes.set(from.subarray(at, at + length));
      at += length;
      found.push({ buffer: bytes.buffer, base });
    }
  }
  if (at !== end) throw malformed('has bytes left over');
  tables = found;
  at = start;
  end = place;
}

function tableAt(index: number): { buffer: ArrayBuffer; base: number } {
  const entry = tables[index];
  if (entry === undefined) throw malformed('refers to nothing');
  return entry;
}

function readView(): object {
  need(1);
  const Class = viewClass(from[at++]!);
  if (Class === undefined)
    throw malformed('has a typed array that this version of Node does not know');
  const { buffer, base } = tableAt(readCount());
  const offset = readDouble() - base;
  const length = readDouble();
  // Of wrong ones the constructor complains.
  return made(new Class(buffer, offset, length));
}

// -------------------------------------------------------------------------------------------------
// Decoding: classes

function readReference(): object {
  need(1);
  const kind = from[at++]!;
  if (kind === KIN) return readKin();
  const where = readText();
  const count = readLength();
  const names: string[] = [];
  for (let i = 0; i < count; i++) names.push(readText());
  const number = reserve();
  const found = resolve({ kind, where, names });
  settle(number, found);
  return found;
}

function readKin(): object {
  const number = readCount();
  const found = kinOf(number);
  if (found === undefined) {
    throw new UnpicklingError(`the function number ${number} of a parent is not known here`);
  }
  settle(reserve(), found);
  return found;
}

type Constructible = { prototype: object } & (new (...args: unknown[]) => object);

function readClass(): Constructible {
  const Class = read();
  if (typeof Class !== 'function') throw malformed('has no class where there must be one');
  const { prototype } = Class as unknown as Constructible;
  if (typeof prototype !== 'object' || prototype === null) {
    throw new UnpicklingError(`${nameOf(Class) || 'what was a class'} is no class in this process`);
  }
  return Class as unknown as Constructible;
}

/** The constructor is not run, as pickle does it. */
function readInstance(): object {
  const number = reserve();
  const { prototype } = readClass();
  const object = Object.create(prototype) as object;
  settle(number, object);
  readProperties(object);
  return object;
}

const BUILTIN_STATES: readonly number[] = [
  ARRAY,
  INTEGERS,
  NUMBERS,
  DATE,
  MAP,
  SET,
  VIEW,
  ARRAY_BUFFER,
  REGEXP,
  BOXED,
];

function readNumbers(Class: Int32ArrayConstructor | Float64ArrayConstructor): number[] {
  const count = readCount();
  const bytes = count * Class.BYTES_PER_ELEMENT;
  need(bytes);
  if (!littleEndian) throw malformed('has numbers in the order of another machine');
  const numbers = new Class(count);
  new Uint8Array(numbers.buffer).set(from.subarray(at, at + bytes));
  at += bytes;
  const array = made(new Array<number>(count));
  for (let i = 0; i < count; i++) array[i] = numbers[i]!;
  return array;
}

function readDerived(): object {
  const number = reserve();
  const { prototype } = readClass();
  const tag = at < end ? from[at]! : 0;
  if ((tag & 0xf0) !== SMALL_ARRAY && !BUILTIN_STATES.includes(tag)) {
    throw malformed('has a class of something that it cannot extend');
  }
  derived = { prototype, number };
  const object = read() as object;
  readProperties(object);
  return object;
}

function readReduced(): unknown {
  const number = reserve();
  const callable = read();
  if (typeof callable !== 'function') throw malformed('has no function where there must be one');
  const count = readLength();
  const args: unknown[] = [];
  for (let i = 0; i < count; i++) args.push(read());
  const object = isConstructor(callable)
    ? (Reflect.construct(callable, args) as unknown)
    : Reflect.apply(callable, undefined, args);
  settle(number, object);
  if (at < end && from[at] === ABSENT) {
    at++;
    return object;
  }
  applyState(object, read());
  return object;
}

/** Called with `new`: classes, and JavaScript's own constructors. */
function isConstructor(callable: object): boolean {
  const { prototype } = callable as { prototype?: unknown };
  if (typeof prototype !== 'object' || prototype === null) return false;
  const source = Function.prototype.toString.call(callable);
  return (
    source.startsWith('class') ||
    source.endsWith('{ [native code] }') ||
    Object.getOwnPropertyNames(prototype).length > 1
  );
}

function applyState(object: unknown, state: unknown): void {
  if ((typeof object !== 'object' && typeof object !== 'function') || object === null)
    throw malformed('has the state of a primitive');
  const method = (object as { [setState]?: unknown })[setState];
  if (typeof method === 'function') {
    Reflect.apply(method, object, [state]);
    return;
  }
  if (typeof state !== 'object' || state === null)
    throw malformed('has a state without properties');
  for (const [key, value] of Object.entries(state)) define(object, key, value);
}

const OF_SHARED_MEMORY: readonly string[] = ['SharedMemory', 'ShareableList'];
const OF_HANDLES = /^(?:(net|dgram)\.|DupFd$)/;

function readInternal(): unknown {
  const tag = readText();
  // The program may never have named the sub-path.
  if (OF_SHARED_MEMORY.includes(tag)) lazyPart('sharedMemory');
  if (tag === 'Connection') lazyPart('connection');
  if (tag === 'Board') lazyPart('pool');
  const ofHandles = OF_HANDLES.exec(tag);
  if (ofHandles !== null) {
    const { register } = lazyPart<typeof Handles>('handles');
    if (ofHandles[1] !== undefined) register(ofHandles[1] as 'net' | 'dgram');
  }
  const internal = internals.get(tag);
  if (internal === undefined) throw new UnpicklingError(`this version knows no '${tag}'`);
  const number = reserve();
  const Class = at < end && from[at] === NULL ? undefined : readClass();
  if (Class === undefined) at++;
  const payload = read();
  if (Class !== undefined && !isPrototypeOf.call(internal.Class.prototype, Class.prototype)) {
    throw malformed('has a class that does not extend the one it says');
  }
  const taken = descriptors as number[];
  let isNew = true;
  const object = internal.codec.decode(payload as never, {
    takeFd(place) {
      if (typeof place === 'string') return lazyPart<typeof Handles>('handles').fetchFd(place);
      const fd = taken[place];
      if (fd === undefined || fd < 0) throw malformed('lacks a descriptor');
      taken[place] = -1;
      return fd;
    },
    wasHere() {
      isNew = false;
    },
    onFailure(undo) {
      (undoing ??= []).push(undo);
    },
  });
  if (isNew && Class !== undefined) Object.setPrototypeOf(object, Class.prototype);
  settle(number, object);
  readProperties(isNew ? object : {});
  return object;
}

const { isPrototypeOf } = Object.prototype;
