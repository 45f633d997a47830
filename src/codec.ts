/**
 * The encoder and the decoder: values to bytes and back, in one walk each.
 *
 * Guarantees, for whoever sends a value through a channel:
 * - what arrives is what `structuredClone` gives, plus what it loses: classes (references.ts), an error's own
 *   properties, Buffers as Buffers. What cannot be carried throws a PicklingError that names the place inside
 *   the value; nothing is left behind by it.
 * - Objects met twice are one object on arrival, cycles included.
 * - Binary data of BULK_MIN bytes and more is not copied into the head: the message has views of the sender's
 *   memory, and on arrival the ArrayBuffers given to `decode` become the values' memory.
 * - Whatever bytes `decode` is given, it answers a value or throws an UnpicklingError; every length is checked
 *   against the bytes that are there before anything is allocated for it. It does run what the bytes refer to
 *   (modules, reducers): bytes from a stranger must not be read, as with pickle.
 *
 * The format, little-endian, private to one version of the package:
 *
 *   head     version | flags | value | [table of ArrayBuffers | its place: u32, if HAS_TABLE]
 *   value    tag | what the tag says
 *   count    LEB128, at most 2 ** 32 - 1
 *   key      a value, nearly always a short string
 *
 * State lives in variables of the module, for speed; hooks of the user may encode and decode in the middle of
 * either, so both save it when they are entered a second time.
 *
 * When a process dies here, nothing is shared yet. Channels and reduction.ts may import this file.
 */

import { constants } from 'node:buffer';
import path from 'node:path';
import { inspect, types } from 'node:util';
import { PicklingError, UnpicklingError } from './errors.js';
import {
  BUILTIN,
  GLOBAL,
  hasPrivateMembers,
  referenceOf,
  registryVersion,
  resolve,
  type Reference,
} from './references.js';

/** Binary data of this many bytes, or more, travels beside the head. */
export const BULK_MIN = 4096;

/** A value taken apart: `head.subarray(0, headLength)`, and what was kept out of it. */
export interface Message {
  /** Scratch memory of the codec, valid until the next encode() of this thread. */
  head: Buffer;
  headLength: number;
  /** Views of the sender's memory, in order; empty for nearly all messages. */
  bulk: readonly Uint8Array[];
  /** Descriptors that must be sent along; empty nearly always. */
  fds: readonly number[];
}

export interface EncodeContext {
  /** False: the channel cannot carry descriptors, and objects that need them are refused. True by default. */
  fds?: boolean;
  /**
   * What becomes of an error whose class no other process can find. 'nearest' (the default): it arrives as an
   * error of the nearest class above that can be found, with its own name, message, stack, cause and
   * properties: somebody must learn what went wrong. 'refuse': PicklingError.
   */
  errors?: 'nearest' | 'refuse';
  /** What messages call the value; 'value' by default. */
  name?: string;
}

/** For the `encode` of an object of the library. */
export interface InternalEncodeContext extends EncodeContext {
  /** Sends a descriptor along. @returns the number to ask for it on arrival. @throws PicklingError */
  addFd(fd: number): number;
}

/** For its `decode`. */
export interface InternalDecodeContext {
  /** The descriptor, which from here on belongs to the caller. @throws UnpicklingError there is none. */
  takeFd(index: number): number;
}

/** How a class of the library travels. The payload is any value that can be encoded. */
export interface InternalCodec<T extends object> {
  encode(value: T, context: InternalEncodeContext): unknown;
  decode(payload: never, context: InternalDecodeContext): T;
}

/** `[callable, args]` or `[callable, args, state]`. */
export type Reduced = readonly [callable: unknown, args: readonly unknown[], state?: unknown];

/** The method that takes an instance apart: Python's `__reduce__`. */
export const reduce: unique symbol = Symbol('multiprocessing.reduce') as never;
/** The method that takes the state on arrival: Python's `__setstate__`. */
export const setState: unique symbol = Symbol('multiprocessing.setState') as never;

// -------------------------------------------------------------------------------------------------
// Format

const VERSION = 1;
/** Some object is referred to a second time: the decoder has to number them. */
const HAS_REFS = 1;
const HAS_TABLE = 2;

// 0x00 to 0x3f: the integers 0 to 63.
const SHORT_STRING = 0x40; // … to 0x7f: latin1, of 0 to 63 characters
const SMALL_OBJECT = 0x80; // … to 0x8f: of 0 to 15 properties, each a key and a value
const SMALL_ARRAY = 0x90; // … to 0x9f: of 0 to 15 elements
const UNDEFINED = 0xa0;
const NULL = 0xa1;
const FALSE = 0xa2;
const TRUE = 0xa3;
const INT8 = 0xa4;
const INT16 = 0xa5;
const INT32 = 0xa6;
const DOUBLE = 0xa7;
const LATIN1 = 0xa8; // count of characters | bytes
const UTF16 = 0xa9; // count of units | units
const BIGINT = 0xaa; // 1 if negative | count of bytes | magnitude
const OBJECT = 0xab; // count | properties
const ARRAY = 0xac; // count | elements
const REF = 0xad; // count: the number of an object that came before
const DATE = 0xae; // double
const MAP = 0xaf; // count | keys and values
const SET = 0xb0; // count | values
const BUFFER = 0xb1; // count | bytes
const BULK_BUFFER = 0xb2; // count: which bulk | double: its length
const VIEW = 0xb3; // type | count: which ArrayBuffer | doubles: offset, length
const ARRAY_BUFFER = 0xb4; // count: which of the table
const HOLES = 0xb5; // count: of missing elements, only in arrays
const ABSENT = 0xb6; // as the value of a property: a getter has removed it
const REFERENCE = 0xb7; // kind | where: value | count | names: values
const INSTANCE = 0xb8; // class: value | OBJECT
const DERIVED = 0xb9; // class: value | the built-in state: value | OBJECT: own properties
const REDUCED = 0xba; // callable: value | args: value | state: value or ABSENT
const INTERNAL = 0xbb; // tag: value | class or NULL: value | payload: value
const ERROR = 0xbc; // class: value | flags | name message stack cause errors: values | OBJECT
const REGEXP = 0xbd; // source flags: values
const BOXED = 0xbe; // value
const WITH_PROPERTIES = 0xbf; // an array: value | OBJECT

// What an error has.
const OWN_NAME = 1;
const OWN_MESSAGE = 2;
const OWN_STACK = 4;
const OWN_CAUSE = 8;
const OWN_ERRORS = 16;
const ERROR_PARTS = [
  [OWN_NAME, 'name'],
  [OWN_MESSAGE, 'message'],
  [OWN_STACK, 'stack'],
  [OWN_CAUSE, 'cause'],
  [OWN_ERRORS, 'errors'],
] as const;

const TYPED_ARRAYS = [
  Int8Array,
  Uint8Array,
  Uint8ClampedArray,
  Int16Array,
  Uint16Array,
  Int32Array,
  Uint32Array,
  Float32Array,
  Float64Array,
  BigInt64Array,
  BigUint64Array,
] as const;
const DATA_VIEW = TYPED_ARRAYS.length;
const FLOAT16 = DATA_VIEW + 1;

type ViewClass = {
  new (buffer: ArrayBuffer, byteOffset: number, length: number): ArrayBufferView;
  readonly BYTES_PER_ELEMENT?: number;
  readonly prototype: object;
};

function viewClass(type: number): ViewClass | undefined {
  if (type === DATA_VIEW) return DataView as ViewClass;
  if (type === FLOAT16) return (globalThis as { Float16Array?: ViewClass }).Float16Array;
  return TYPED_ARRAYS[type] as ViewClass | undefined;
}

/** Of heads and flat messages: what a u32 can count, and a Buffer of this Node can hold. */
const MOST_BYTES = Math.min(0xffff_ffff, constants.MAX_LENGTH);

// -------------------------------------------------------------------------------------------------
// The encoder's state

/** Node's own copying functions: what `buf.write` and `buf.toString` call once they know the encoding. */
interface Bytes extends Buffer {
  latin1Write(text: string, offset: number, length: number): number;
  ucs2Write(text: string, offset: number, length: number): number;
  hexWrite(text: string, offset: number, length: number): number;
  latin1Slice(start: number, end: number): string;
  ucs2Slice(start: number, end: number): string;
  hexSlice(start: number, end: number): string;
}

const SCRATCH_BYTES = 1 << 16;
/** Scratch memory beyond this is given back when it was not needed for a while. */
const KEPT_BYTES = 1 << 20;
const PATIENCE = 64;

let out = Buffer.alloc(0) as Bytes;
let view = new DataView(out.buffer);
let pos = 0;
let room = 0;
let modest = 0;

/** The objects met so far, in order: the first few in `first`, all of them in `numbers` beyond that. */
const FEW = 12;
let first: unknown[] = new Array<unknown>(FEW).fill(undefined);
let numbers: Map<unknown, number> | undefined;
let met = 0;
let flags = 0;

let bulk: Uint8Array[] = [];
let fds: number[] = [];
/** The ArrayBuffers that views lie on, each with the part that is needed. */
let buffers: { buffer: ArrayBuffer; from: number; to: number }[] = [];

/** Where the walk is, for messages: at each level how the container holds its items, and which one. */
let trail: unknown[] = [];
let kinds: number[] = [];
let level = 0;
const BY_KEY = 0;
const BY_INDEX = 1;
const MAP_KEY = 2;
const MAP_VALUE = 3;
const SET_ITEM = 4;
const ARGUMENT = 5;
const STATE = 6;
const CLASS = 7;
const SAME = 8;

let context: InternalEncodeContext;
let busy = false;

const NO_BULK: readonly Uint8Array[] = Object.freeze([]);
const NO_FDS: readonly number[] = Object.freeze([]);
const message: Message = { head: out, headLength: 0, bulk: NO_BULK, fds: NO_FDS };
const DEFAULT_CONTEXT = contextOf({});

function contextOf(options: EncodeContext): InternalEncodeContext {
  return {
    ...options,
    addFd(fd) {
      if (options.fds === false)
        throw refused('needs a descriptor, which this channel cannot carry');
      return fds.push(fd) - 1;
    },
  };
}

function newScratch(size: number): void {
  out = Buffer.allocUnsafeSlow(size) as Bytes;
  view = new DataView(out.buffer, out.byteOffset, size);
  room = size;
}

function grow(more: number): void {
  const wanted = pos + more;
  if (wanted > MOST_BYTES) {
    throw refused(`is too large: a message beside its binary data has at most ${MOST_BYTES} bytes`);
  }
  const before = out;
  newScratch(Math.min(MOST_BYTES, Math.max(SCRATCH_BYTES, 2 * room, wanted)));
  before.copy(out, 0, 0, pos);
}

/**
 * Takes a value apart. The answer, and its `head`, are the same object and memory each time: use them before
 * the next call of this thread. `bulk` shows the value's own memory: send it before the value changes.
 *
 * @throws PicklingError something in the value cannot be carried; `err.message` names it.
 */
export function encode(value: unknown, options?: EncodeContext): Message {
  if (busy) return encodeInside(value, options);
  if (room > KEPT_BYTES) {
    // A message that needed the memory is a reason to keep it for the next.
    modest = pos > room >> 3 ? 0 : modest + 1;
    if (modest > PATIENCE) room = 0;
  }
  if (room === 0) newScratch(SCRATCH_BYTES);
  busy = true;
  try {
    run(value, options);
    return message;
  } finally {
    busy = false;
    reset();
  }
}

/** A hook of the user, called by an encode() that is under way, encodes something itself. */
function encodeInside(value: unknown, options: EncodeContext | undefined): Message {
  const outer = {
    out,
    view,
    pos,
    room,
    first,
    numbers,
    met,
    flags,
    bulk,
    fds,
    buffers,
    trail,
    kinds,
    level,
    context,
    reducing,
  };
  const answer = { ...message };
  first = new Array<unknown>(FEW).fill(undefined);
  numbers = undefined;
  [trail, kinds, bulk, fds, buffers] = [[], [], [], [], []];
  reducing = new Set();
  newScratch(4096);
  try {
    run(value, options);
    Object.assign(answer, message);
    return answer;
  } finally {
    ({ out, view, pos, room, first, numbers, met, flags, bulk, fds, buffers, trail, kinds, level } =
      outer);
    ({ context, reducing } = outer);
  }
}

function run(value: unknown, options: EncodeContext | undefined): void {
  context = options === undefined ? DEFAULT_CONTEXT : contextOf(options);
  met = 0;
  flags = 0;
  level = 0;
  out[0] = VERSION;
  pos = 2;
  try {
    write(value);
  } catch (error) {
    throw isStackOverflow(error)
      ? new PicklingError(`${root()} is nested too deeply`, { cause: error })
      : error;
  }
  if (buffers.length > 0) writeTable();
  out[1] = flags;
  message.head = out;
  message.headLength = pos;
  message.bulk = bulk.length === 0 ? NO_BULK : bulk;
  message.fds = fds.length === 0 ? NO_FDS : fds;
}

/** Nothing of the value is kept alive by the codec. */
function reset(): void {
  if (met > 0) first.fill(undefined, 0, FEW);
  numbers = undefined;
  if (trail.length > 64) {
    trail = [];
    kinds = [];
  } else {
    trail.fill(undefined);
  }
  if (bulk.length > 0) bulk = [];
  if (fds.length > 0) fds = [];
  if (buffers.length > 0) buffers = [];
}

function isStackOverflow(error: unknown): boolean {
  return error instanceof RangeError && error.message.includes('call stack');
}

// -------------------------------------------------------------------------------------------------
// Complaints

function root(): string {
  return context.name ?? 'value';
}

/** `value.tasks[3].callback`: where the walk is. */
function place(): string {
  let text = root();
  for (let at = 0; at < level; at++) text += step(kinds[at]!, trail[at]);
  return text;
}

function step(kind: number, item: unknown): string {
  switch (kind) {
    case BY_KEY: {
      const key = String(item);
      return /^[\p{ID_Start}$_][\p{ID_Continue}$]*$/u.test(key) ? `.${key}` : `[${quoted(key)}]`;
    }
    case BY_INDEX:
      return `[${String(item)}]`;
    case MAP_KEY:
      return `.keys()[${String(item)}]`;
    case MAP_VALUE:
      return `.get(${shown(item)})`;
    case SET_ITEM:
      return `.values()[${String(item)}]`;
    case ARGUMENT:
      return `[reduction.reduce]()[${String(item)}]`;
    case STATE:
      return '[its state]';
    case CLASS:
      return '.constructor';
    default:
      return '';
  }
}

function quoted(text: string): string {
  return JSON.stringify(text.length > 40 ? `${text.slice(0, 40)}…` : text);
}

function shown(key: unknown): string {
  if (typeof key === 'string') return quoted(key);
  if (typeof key === 'bigint') return `${key}n`;
  return typeof key === 'object' && key !== null ? describe(key) : String(key);
}

function refused(why: string, options?: ErrorOptions): PicklingError {
  return new PicklingError(`cannot pickle ${place()}: it ${why}`, options);
}

function nameOf(fn: unknown): string {
  if (typeof fn !== 'function') return '';
  const name = Object.getOwnPropertyDescriptor(fn, 'name')?.value as unknown;
  return typeof name === 'string' ? name : '';
}

function constructorOf(prototype: object | null): unknown {
  return prototype === null
    ? undefined
    : Object.getOwnPropertyDescriptor(prototype, 'constructor')?.value;
}

/** 'a Foo', without running code of the program. */
function describe(value: object): string {
  if (types.isProxy(value)) return 'a Proxy';
  const name = nameOf(constructorOf(Object.getPrototypeOf(value) as object | null));
  const noun = name === '' ? 'object of a class without a name' : name;
  return /^[aeiou]/i.test(noun) ? `an ${noun}` : `a ${noun}`;
}

// -------------------------------------------------------------------------------------------------
// Encoding: primitives

function write(value: unknown): void {
  if (pos + 16 > room) grow(16);
  switch (typeof value) {
    case 'number':
      writeNumber(value);
      return;
    case 'string':
      writeString(value);
      return;
    case 'object':
      if (value === null) out[pos++] = NULL;
      else writeObject(value);
      return;
    case 'boolean':
      out[pos++] = value ? TRUE : FALSE;
      return;
    case 'undefined':
      out[pos++] = UNDEFINED;
      return;
    case 'bigint':
      writeBigInt(value);
      return;
    case 'function':
      writeFunction(value);
      return;
    default:
      throw refused(`is ${String(value)}, and symbols exist in one process only`);
  }
}

/** There is room for 16 bytes. */
function writeNumber(value: number): void {
  const int = value | 0;
  if (int !== value || (int === 0 && 1 / value < 0)) {
    out[pos] = DOUBLE;
    view.setFloat64(pos + 1, value, true);
    pos += 9;
  } else if (int >= 0 && int < 64) {
    out[pos++] = int;
  } else if (int >= -128 && int < 128) {
    out[pos] = INT8;
    out[pos + 1] = int;
    pos += 2;
  } else if (int >= -32768 && int < 32768) {
    out[pos] = INT16;
    view.setInt16(pos + 1, int, true);
    pos += 3;
  } else {
    out[pos] = INT32;
    view.setInt32(pos + 1, int, true);
    pos += 5;
  }
}

/** A count of up to 2 ** 32 - 1, in 1 to 5 bytes. */
function writeCount(count: number): void {
  if (pos + 5 > room) grow(5);
  while (count > 127) {
    out[pos++] = (count & 127) | 128;
    count >>>= 7;
  }
  out[pos++] = count;
}

function writeDouble(value: number): void {
  if (pos + 8 > room) grow(8);
  view.setFloat64(pos, value, true);
  pos += 8;
}

/** A regular expression that one-byte strings fail without being looked at: V8 knows that they cannot match. */
const WIDE = /[^\0-\xff]/;
/** Strings up to this length are copied here: a call into C++ takes as long as some fifty characters. */
const COPIED = 48;

function writeString(text: string): void {
  const { length } = text;
  if (pos + length + 16 > room) grow(length + 16);
  if (length <= COPIED) {
    const start = pos;
    let to = start + 1;
    for (let i = 0; i < length; i++) {
      const unit = text.charCodeAt(i);
      if (unit > 255) {
        writeWide(text);
        return;
      }
      out[to++] = unit;
    }
    out[start] = SHORT_STRING | length;
    pos = to;
  } else if (WIDE.test(text)) {
    writeWide(text);
  } else {
    if (length < 64) {
      out[pos++] = SHORT_STRING | length;
    } else {
      out[pos++] = LATIN1;
      writeCount(length);
    }
    pos += out.latin1Write(text, pos, length);
  }
}

function writeWide(text: string): void {
  const { length } = text;
  if (pos + 2 * length + 16 > room) grow(2 * length + 16);
  out[pos++] = UTF16;
  writeCount(length);
  pos += out.ucs2Write(text, pos, 2 * length);
}

function writeBigInt(value: bigint): void {
  const negative = value < 0n;
  const digits = (negative ? -value : value).toString(16);
  const bytes = (digits.length + 1) >> 1;
  if (pos + bytes + 16 > room) grow(bytes + 16);
  out[pos++] = BIGINT;
  out[pos++] = negative ? 1 : 0;
  writeCount(bytes);
  out.hexWrite(digits.length & 1 ? `0${digits}` : digits, pos, bytes);
  pos += bytes;
}

// -------------------------------------------------------------------------------------------------
// Encoding: objects

/** True: it came before, and is written as that. Otherwise it has a number now. */
function isKnown(value: unknown): boolean {
  let number: number | undefined;
  if (numbers === undefined) {
    for (let i = 0; i < met; i++) {
      if (first[i] === value) {
        number = i;
        break;
      }
    }
    if (number === undefined) {
      if (met < FEW) {
        first[met++] = value;
        return false;
      }
      numbers = new Map();
      for (let i = 0; i < FEW; i++) numbers.set(first[i], i);
    }
  } else {
    number = numbers.get(value);
  }
  if (number === undefined) {
    numbers!.set(value, met++);
    return false;
  }
  if (reducing.size > 0 && reducing.has(value)) {
    throw refused('is an argument of its own reduce hook: put what refers back into the state');
  }
  flags |= HAS_REFS;
  if (pos + 8 > room) grow(8);
  out[pos++] = REF;
  writeCount(number);
  return true;
}

const objectPrototype = Object.prototype;
const arrayPrototype = Array.prototype;
const bufferPrototype = Buffer.prototype;

function writeObject(value: object): void {
  if (isKnown(value)) return;
  const prototype = Object.getPrototypeOf(value) as object | null;
  if (prototype === objectPrototype) {
    if (types.isProxy(value)) throw refused('is a Proxy');
    writePlain(value as Record<string, unknown>);
  } else if (prototype === arrayPrototype && Array.isArray(value)) {
    if (types.isProxy(value)) throw refused('is a Proxy');
    writeArray(value);
  } else {
    planOf(prototype, value)(value);
  }
}

function writePlain(value: Record<string, unknown>): void {
  const keys = Object.keys(value);
  // Also the objects of JavaScript that look plain: their first key tells.
  if ((keys.length === 0 || keys[0] === '0') && types.isArgumentsObject(value)) {
    throw refused('is an arguments object: send [...arguments]');
  }
  writeProperties(value, keys);
}

function writeProperties(value: Record<string, unknown>, keys: readonly string[]): void {
  const { length } = keys;
  if (length < 16) {
    if (pos >= room) grow(1);
    out[pos++] = SMALL_OBJECT | length;
  } else {
    if (pos >= room) grow(1);
    out[pos++] = OBJECT;
    writeCount(length);
  }
  const here = level++;
  kinds[here] = BY_KEY;
  for (let i = 0; i < length; i++) {
    const key = keys[i]!;
    trail[here] = key;
    writeString(key);
    const item = value[key];
    if (item === undefined && !Object.hasOwn(value, key)) out[pos++] = ABSENT;
    else write(item);
  }
  level = here;
}

/** Elements up to which it is cheaper to have all keys listed than to ask `inspect`. */
const LISTED = 64;
const ELEMENTS_LEFT_OUT = {
  maxArrayLength: 0,
  depth: 0,
  customInspect: false,
  breakLength: Infinity,
};

/** The keys of an array that are no indices. */
function extraKeys(array: readonly unknown[]): string[] {
  const { length } = array;
  // `inspect` is the one public function that lists them without listing all elements first.
  if (length > LISTED && inspect(array, ELEMENTS_LEFT_OUT) === `[ ... ${length} more items ]`) {
    return NO_KEYS;
  }
  const keys = Object.keys(array);
  if (keys.length === length && (length === 0 || keys[length - 1] === String(length - 1))) {
    return NO_KEYS;
  }
  const from = keys.findIndex((key) => !isIndex(key));
  return from < 0 ? NO_KEYS : keys.slice(from);
}

const NO_KEYS: string[] = [];

function isIndex(key: string): boolean {
  const number = Number(key);
  return number >>> 0 === number && number !== 0xffff_ffff && String(number) === key;
}

function writeArray(value: readonly unknown[]): void {
  const extra = extraKeys(value);
  if (extra.length === 0) {
    writeElements(value);
  } else {
    out[pos++] = WITH_PROPERTIES;
    writeElements(value);
    writeProperties(value as unknown as Record<string, unknown>, extra);
  }
}

function writeElements(value: readonly unknown[]): void {
  const { length } = value;
  if (pos >= room) grow(1);
  if (length < 16) {
    out[pos++] = SMALL_ARRAY | length;
  } else {
    out[pos++] = ARRAY;
    writeCount(length);
  }
  const here = level++;
  kinds[here] = BY_INDEX;
  for (let i = 0; i < length; i++) {
    const item = value[i];
    if (item === undefined && !Object.hasOwn(value, i)) {
      i += writeHoles(value, i, length) - 1;
    } else {
      trail[here] = i;
      write(item);
    }
  }
  level = here;
}

/** From `start` to the next element; the answer is how many. */
function writeHoles(value: readonly unknown[], start: number, length: number): number {
  let end = start + 1;
  const near = Math.min(length, start + 64);
  while (end < near && !Object.hasOwn(value, end)) end++;
  if (end === near && end < length) {
    // Far apart: `new Array(1e9)` must not be walked. Keys come in ascending order.
    const next = Object.keys(value).find((key) => !isIndex(key) || Number(key) >= end);
    end = next === undefined || !isIndex(next) ? length : Math.min(length, Number(next));
  }
  if (pos + 8 > room) grow(8);
  out[pos++] = HOLES;
  writeCount(end - start);
  return end - start;
}

// -------------------------------------------------------------------------------------------------
// Encoding: by prototype

type Plan = (value: object) => void;

/** What to do with an object of this prototype; learnt at the first one. */
let plans = new WeakMap<object, Plan>();
let plansOf = -1;

function planOf(prototype: object | null, value: object): Plan {
  if (prototype === bufferPrototype) return writeBuffer;
  if (prototype === null) return writeWithoutPrototype;
  if (plansOf !== registryVersion() + internalCount()) {
    plans = new WeakMap(BUILTIN_PLANS);
    plansOf = registryVersion() + internalCount();
  }
  let plan = plans.get(prototype);
  if (plan === undefined) {
    plan = learn(prototype, value);
    plans.set(prototype, plan);
  }
  return plan;
}

function writeWithoutPrototype(value: object): void {
  if (types.isProxy(value)) throw refused('is a Proxy');
  if (types.isModuleNamespaceObject(value)) throw refused('is the namespace of a module');
  writePlain(value as Record<string, unknown>);
}

/** A plan for values of one kind, which checks that they are: anybody can make `Object.create(Map.prototype)`. */
function genuine(is: (value: object) => boolean, plan: (value: never) => void): Plan {
  return (value) => {
    if (types.isProxy(value)) throw refused('is a Proxy');
    if (!is(value)) throw refused(`has the prototype of ${describe(value)}, but is none`);
    plan(value as never);
  };
}

type Kind = [name: string, is: (value: object) => boolean, write: (value: never) => void];

const BUILTIN_KINDS: readonly Kind[] = [
  ['Object', () => true, writePlain],
  ['Array', Array.isArray, writeArray],
  ['Date', types.isDate, writeDate],
  ['Map', types.isMap, writeMap],
  ['Set', types.isSet, writeSet],
  ['RegExp', types.isRegExp, writeRegExp],
  ['ArrayBuffer', types.isArrayBuffer, writeArrayBuffer],
  ['DataView', types.isDataView, writeView],
  ...[...TYPED_ARRAYS.map(({ name }) => name), 'Float16Array'].map((name): Kind => [
    name,
    types.isTypedArray,
    writeView,
  ]),
  ['Number', types.isNumberObject, writeBoxed],
  ['String', types.isStringObject, writeBoxed],
  ['Boolean', types.isBooleanObject, writeBoxed],
  ['BigInt', types.isBigIntObject, writeBoxed],
  ...['Error', 'EvalError', 'RangeError', 'ReferenceError', 'SyntaxError', 'TypeError'].map(
    (name): Kind => [name, types.isNativeError, writeError],
  ),
  ['URIError', types.isNativeError, writeError],
  ['AggregateError', types.isNativeError, writeError],
];

const KINDS_BY_NAME = new Map(
  BUILTIN_KINDS.map(([name, is, plan]) => [name, { is, write: plan, plan: genuine(is, plan) }]),
);

const BUILTIN_PLANS = [...KINDS_BY_NAME].flatMap(([name, { plan }]) => {
  const Class = (globalThis as unknown as Record<string, { prototype: object } | undefined>)[name];
  return Class === undefined ? [] : [[Class.prototype, plan] as [object, Plan]];
});

/** What a subclass of a built-in class has inside, found by looking at the value. */
function builtinKindOf(value: object): string | undefined {
  if (Array.isArray(value)) return 'Array';
  for (const [name, is] of BUILTIN_KINDS) {
    if (name === 'Object' || name === 'Array' || !is(value)) continue;
    return ArrayBuffer.isView(value) && name !== 'DataView' ? viewName(value) : name;
  }
  return undefined;
}

function viewName(value: object): string {
  return Reflect.apply(viewTag, value, []) as string;
}

/** A typed array's own word on what it is, whatever its class has put over it. */
const viewTag = Object.getOwnPropertyDescriptor(
  Object.getPrototypeOf(Uint8Array.prototype),
  Symbol.toStringTag,
)!.get!;

/** @throws PicklingError always: these keep what they are where nobody can read it. */
function refusePlan(why: string): never {
  throw refused(why);
}

function learn(prototype: object, value: object): Plan {
  const internal = internalPlan(prototype);
  if (internal !== undefined) return internal;
  if (types.isProxy(value)) throw refused('is a Proxy');

  const Class = constructorOf(prototype);
  const isClassOf =
    typeof Class === 'function' && (Class as { prototype?: unknown }).prototype === prototype;
  const reducer = isClassOf ? reducers.get(Class) : undefined;
  if (reducer !== undefined) return (item) => writeReduced(item, reducer);
  if (typeof (value as { [reduce]?: unknown })[reduce] === 'function') {
    return (item) => writeReduced(item, reduceByMethod);
  }
  if (isErrorObject(value)) return writeError;
  if (!isClassOf) {
    refusePlan(
      'has a prototype that is not the prototype of a class: send a plain object, or make it an instance ' +
        'of a class and call reduction.register(Class)',
    );
  }
  const ofNode = reducerOfNode(Class);
  if (ofNode !== undefined) return (item) => writeReduced(item, ofNode);
  const foreign = foreignPlan(Class);
  if (foreign !== undefined) return foreign;

  const reference = referenceOf(Class);
  if (reference === undefined || reference.kind === GLOBAL || reference.kind === BUILTIN) {
    refuseClass(value, Class);
  }
  if (isOfLibrary(reference)) {
    refusePlan(`is ${describe(value)}, which cannot be sent in this version`);
  }
  checkAncestors(Class, value);
  const kind = builtinKindOf(value);
  if (kind === undefined) return (item) => writeInstance(item, Class);
  return (item) => writeDerived(item, Class, kind);
}

function refuseClass(value: object, Class: object): never {
  const reference = referenceOf(Class);
  const what = describe(value);
  if (types.isSharedArrayBuffer(value)) throw refused(SHARED_BY_THREADS);
  if (reference !== undefined) {
    // Of JavaScript or of node: promises, streams, emitters, weak things.
    throw refused(`is ${what}, which keeps its state where it cannot be read`);
  }
  throw refused(
    `is ${what}, a class that no other process can find: call reduction.register(${nameOf(Class) || 'Class'}) ` +
      'before the fork, or at the top level of its module; or export it',
  );
}

/** A class whose instances have state that properties do not show. */
function checkAncestors(Class: object, value: object): void {
  if (hasPrivateMembers(Class)) {
    throw refused(
      `is ${describe(value)}, whose class has private members (#name), which nobody else can read: give it a ` +
        'reduce hook, reduction.register(Class, (instance) => [Class, [arguments]]) or a method [reduction.reduce]()',
    );
  }
  for (let at: unknown = Object.getPrototypeOf(Class); typeof at === 'function';) {
    const name = nameOf(at);
    const source = Function.prototype.toString.call(at);
    if (source.endsWith('{ [native code] }') && name !== '' && name !== 'Object') {
      if (KINDS_BY_NAME.has(name) || name === 'TypedArray') return;
      throw refused(`is ${describe(value)}, which extends ${name}, whose state cannot be read`);
    }
    at = Object.getPrototypeOf(at);
  }
}

/** Of another realm (node:vm): its own Object, Map, … are carried as ours, as structured clone does. */
function foreignPlan(Class: object): Plan | undefined {
  const kind = KINDS_BY_NAME.get(nameOf(Class));
  if (kind === undefined) return undefined;
  const source = Function.prototype.toString.call(Class);
  if (source !== `function ${nameOf(Class)}() { [native code] }`) return undefined;
  return kind.plan;
}

function isErrorObject(value: object): boolean {
  return types.isNativeError(value);
}

/** Own enumerable properties with string keys, as structured clone takes them. */
function writeInstance(value: object, Class: object): void {
  if (types.isProxy(value)) throw refused('is a Proxy');
  if (pos >= room) grow(1);
  out[pos++] = INSTANCE;
  writeClass(Class);
  writeProperties(value as Record<string, unknown>, Object.keys(value));
}

function writeDerived(value: object, Class: object, kindName: string): void {
  if (types.isProxy(value)) throw refused('is a Proxy');
  const kind = KINDS_BY_NAME.get(kindName)!;
  if (!kind.is(value))
    throw refused(`has the prototype of ${describe(value)}, but is no ${kindName}`);
  if (pos >= room) grow(1);
  out[pos++] = DERIVED;
  writeClass(Class);
  let keys: string[];
  if (kindName === 'Array') {
    writeElements(value as unknown[]);
    keys = extraKeys(value as unknown[]);
  } else {
    kind.write(value as never);
    keys =
      ArrayBuffer.isView(value) || kindName === 'String'
        ? Object.keys(value).filter((key) => !isIndex(key))
        : Object.keys(value);
  }
  writeProperties(value as Record<string, unknown>, keys);
}

function writeClass(Class: object): void {
  kinds[level] = CLASS;
  level++;
  writeFunction(Class);
  level--;
}

function writeFunction(value: object): void {
  if (isKnown(value)) return;
  const reference = types.isProxy(value) ? undefined : referenceOf(value);
  if (reference === undefined) throw refusedFunction(value);
  out[pos++] = REFERENCE;
  out[pos++] = reference.kind;
  writeString(reference.where);
  writeCount(reference.names.length);
  for (const name of reference.names) writeString(name);
}

function refusedFunction(value: object): PicklingError {
  const name = nameOf(value);
  const what = name === '' ? 'a function without a name' : `the function '${name}'`;
  return refused(
    `is ${what}, which no other process can find: move it to the top level of a module and export it, or ` +
      `call reduction.register(${name === '' ? "'name', fn" : name}) before the fork, or at the top level of its module`,
  );
}

// -------------------------------------------------------------------------------------------------
// Encoding: built-in classes

function writeDate(value: Date): void {
  if (pos >= room) grow(1);
  out[pos++] = DATE;
  writeDouble(Date.prototype.getTime.call(value));
}

function writeMap(value: Map<unknown, unknown>): void {
  // Taken at once, as structured clone does: a getter may change the map meanwhile.
  const entries = [...Map.prototype.entries.call(value)];
  if (pos >= room) grow(1);
  out[pos++] = MAP;
  writeCount(entries.length);
  const here = level++;
  let index = 0;
  for (const [key, item] of entries) {
    kinds[here] = MAP_KEY;
    trail[here] = index++;
    write(key);
    kinds[here] = MAP_VALUE;
    trail[here] = key;
    write(item);
  }
  level = here;
}

function writeSet(value: Set<unknown>): void {
  const items = [...Set.prototype.values.call(value)];
  if (pos >= room) grow(1);
  out[pos++] = SET;
  writeCount(items.length);
  const here = level++;
  kinds[here] = SET_ITEM;
  for (let i = 0; i < items.length; i++) {
    trail[here] = i;
    write(items[i]);
  }
  level = here;
}

function writeRegExp(value: RegExp): void {
  if (pos >= room) grow(1);
  out[pos++] = REGEXP;
  writeString(value.source);
  writeString(value.flags);
}

function writeBoxed(value: object): void {
  if (pos >= room) grow(1);
  out[pos++] = BOXED;
  write(unboxed(value));
}

function unboxed(value: object): unknown {
  if (types.isNumberObject(value)) return Number.prototype.valueOf.call(value);
  if (types.isStringObject(value)) return String.prototype.valueOf.call(value);
  if (types.isBooleanObject(value)) return Boolean.prototype.valueOf.call(value);
  return BigInt.prototype.valueOf.call(value as unknown as bigint);
}

function writeError(value: object): void {
  if (types.isProxy(value)) throw refused('is a Proxy');
  if (!isErrorObject(value))
    throw refused(`has the prototype of ${describe(value)}, but is no error`);
  const error = value as unknown as Record<string, unknown>;
  if (pos + 2 > room) grow(2);
  out[pos++] = ERROR;
  const { Class, exact } = errorClass(value);
  writeClass(Class);
  let has = 0;
  for (const [bit, key] of ERROR_PARTS) {
    if (Object.hasOwn(value, key)) has |= bit;
  }
  // The class that could not be referred to leaves its name.
  const name = exact ? undefined : visibleName(value);
  if (name !== undefined && name !== (Class as { prototype: Error }).prototype.name)
    has |= OWN_NAME;
  if (pos >= room) grow(1);
  out[pos++] = has;
  const here = level++;
  kinds[here] = BY_KEY;
  for (const [bit, key] of ERROR_PARTS) {
    if ((has & bit) === 0) continue;
    trail[here] = key;
    write(key === 'name' && name !== undefined ? name : error[key]);
  }
  level = here;
  const parts = ERROR_PARTS.map(([, key]) => key as string);
  writeProperties(
    error,
    Object.keys(value).filter((key) => !parts.includes(key)),
  );
}

function visibleName(value: object): string {
  const name = (value as Error).name as unknown;
  const ofClass = nameOf(constructorOf(Object.getPrototypeOf(value) as object));
  return typeof name === 'string' && name !== 'Error' ? name : ofClass || 'Error';
}

/** The class of an error, or the nearest above it that another process can find. */
function errorClass(value: object): { Class: object; exact: boolean } {
  let exact = true;
  for (
    let at = Object.getPrototypeOf(value) as object | null;
    at !== null;
    at = Object.getPrototypeOf(at)
  ) {
    const Class = constructorOf(at);
    if (typeof Class === 'function' && (Class as { prototype?: unknown }).prototype === at) {
      if (referenceOf(Class) !== undefined && !hasPrivateMembers(Class)) return { Class, exact };
      // Of another realm: ours of that name.
      const name = nameOf(Class);
      const ours = (globalThis as unknown as Record<string, object>)[name];
      if (KINDS_BY_NAME.get(name)?.write === writeError && foreignPlan(Class) !== undefined) {
        return { Class: ours!, exact };
      }
    }
    if (context.errors === 'refuse') {
      if (typeof Class !== 'function') {
        throw refused('has a prototype that is not the prototype of a class');
      }
      if (referenceOf(Class) !== undefined) checkAncestors(Class, value);
      refuseClass(value, Class);
    }
    exact = false;
  }
  return { Class: Error, exact };
}

// -------------------------------------------------------------------------------------------------
// Encoding: binary data

/** A Buffer is its own bytes: most lie in a pool of node's that nobody wants to have sent. */
function writeBuffer(value: object): void {
  if (types.isProxy(value)) throw refused('is a Proxy');
  if (!types.isUint8Array(value)) throw refused('has the prototype of a Buffer, but is none');
  const { length } = value;
  checkNotDetached(value.buffer as ArrayBuffer);
  if (length >= BULK_MIN) {
    out[pos++] = BULK_BUFFER;
    writeCount(bulk.push(value) - 1);
    writeDouble(length);
    return;
  }
  if (pos + length + 8 > room) grow(length + 8);
  out[pos++] = BUFFER;
  writeCount(length);
  if (length < 32) for (let i = 0; i < length; i++) out[pos + i] = value[i]!;
  else out.set(value, pos);
  pos += length;
}

function checkNotDetached(buffer: ArrayBuffer): void {
  if (buffer.byteLength > 0) return;
  try {
    void new Uint8Array(buffer);
  } catch {
    throw refused(
      'lies on an ArrayBuffer that is detached: it was transferred, or its memory closed',
    );
  }
}

const SHARED_BY_THREADS =
  'has a SharedArrayBuffer, which only threads share: use SharedMemory, or Array()';

/** The number of the ArrayBuffer in the table, of which this part is needed. */
function tableEntry(buffer: ArrayBufferLike, from: number, to: number): number {
  if (types.isSharedArrayBuffer(buffer)) {
    throw refused(SHARED_BY_THREADS);
  }
  if ((buffer as { resizable?: boolean }).resizable === true) {
    throw refused('lies on a resizable ArrayBuffer: send a slice() of it');
  }
  checkNotDetached(buffer as ArrayBuffer);
  for (let i = 0; i < buffers.length; i++) {
    const entry = buffers[i]!;
    if (entry.buffer === buffer) {
      entry.from = Math.min(entry.from, from);
      entry.to = Math.max(entry.to, to);
      return i;
    }
  }
  return buffers.push({ buffer: buffer as ArrayBuffer, from, to }) - 1;
}

function writeView(value: ArrayBufferView): void {
  const { buffer, byteOffset, byteLength } = value;
  const type = types.isDataView(value)
    ? DATA_VIEW
    : TYPED_ARRAYS.findIndex(({ name }) => name === viewName(value));
  const size = viewClass(type < 0 ? FLOAT16 : type)!.BYTES_PER_ELEMENT ?? 1;
  const entry = tableEntry(buffer, byteOffset - (byteOffset % 8), byteOffset + byteLength);
  if (pos + 24 > room) grow(24);
  out[pos++] = VIEW;
  out[pos++] = type < 0 ? FLOAT16 : type;
  writeCount(entry);
  writeDouble(byteOffset);
  writeDouble(byteLength / size);
}

function writeArrayBuffer(value: ArrayBuffer): void {
  const entry = tableEntry(value, 0, value.byteLength);
  if (pos >= room) grow(1);
  out[pos++] = ARRAY_BUFFER;
  writeCount(entry);
}

/**
 * The ArrayBuffers, after the value, because only now it is known which part of each is needed:
 *
 *   count | for each: where its part begins, its length: doubles | 0, bytes; or 1 | count: which bulk
 */
function writeTable(): void {
  const start = pos;
  flags |= HAS_TABLE;
  level = 0;
  writeCount(buffers.length);
  for (const { buffer, from, to } of buffers) {
    const length = to - from;
    writeDouble(from);
    writeDouble(length);
    if (pos + length + 8 > room && length < BULK_MIN) grow(length + 8);
    if (length >= BULK_MIN) {
      if (pos + 8 > room) grow(8);
      out[pos++] = 1;
      writeCount(bulk.push(bytesOf(buffer, from, length)) - 1);
    } else {
      out[pos++] = 0;
      out.set(new Uint8Array(buffer, from, length), pos);
      pos += length;
    }
  }
  if (pos + 4 > room) grow(4);
  view.setUint32(pos, start, true);
  pos += 4;
}

function bytesOf(buffer: ArrayBuffer, from: number, length: number): Uint8Array {
  try {
    return new Uint8Array(buffer, from, length);
  } catch (cause) {
    throw refused(`has ${length} bytes: more than this Node has in one Uint8Array`, { cause });
  }
}

// -------------------------------------------------------------------------------------------------
// Hooks

type Reducer = (value: never) => Reduced;

const reducers = new Map<object, Reducer>();

/** Instances of exactly this class are taken apart by `reducer`. Mirrors `copyreg.pickle`. */
export function registerReducer(Class: object, reducer: Reducer): void {
  reducers.set(Class, reducer);
  plansOf = -1;
}

/** Classes of node whose objects are what they were made from. Not touched before one comes: node makes them late. */
const REDUCERS_OF_NODE: Record<string, Reducer> = {
  URL: (url: URL) => [URL, [url.href]],
  DOMException: (error: DOMException) => [
    DOMException,
    [error.message, { name: error.name, ...('cause' in error ? { cause: error.cause } : {}) }],
  ],
};

function reducerOfNode(Class: object): Reducer | undefined {
  const name = nameOf(Class);
  if (!Object.hasOwn(REDUCERS_OF_NODE, name)) return undefined;
  return (globalThis as unknown as Record<string, unknown>)[name] === Class
    ? REDUCERS_OF_NODE[name]
    : undefined;
}

function reduceByMethod(value: { [reduce](): Reduced }): Reduced {
  return value[reduce]();
}

/** Objects whose arguments are being written. */
let reducing = new Set<unknown>();

function writeReduced(value: object, reducer: Reducer): void {
  const reduced = reducer(value as never) as unknown;
  if (!Array.isArray(reduced) || reduced.length < 2 || reduced.length > 3) {
    throw refused(
      `is ${describe(value)}, whose reduce hook must answer [callable, args] or [callable, args, state]`,
    );
  }
  const [callable, args, state] = reduced as unknown as Reduced;
  if (typeof callable !== 'function' || !Array.isArray(args)) {
    throw refused(
      `is ${describe(value)}, whose reduce hook must answer a function or class, and an array`,
    );
  }
  if (pos >= room) grow(1);
  out[pos++] = REDUCED;
  reducing.add(value);
  try {
    writeClass(callable);
    const here = level++;
    kinds[here] = ARGUMENT;
    if (pos + 8 > room) grow(8);
    writeCount(args.length);
    for (let i = 0; i < args.length; i++) {
      trail[here] = i;
      write(args[i]);
    }
    level = here;
  } finally {
    reducing.delete(value);
  }
  if (pos >= room) grow(1);
  if (state === undefined) {
    out[pos++] = ABSENT;
  } else {
    kinds[level++] = STATE;
    write(state);
    level--;
  }
}

interface Internal {
  tag: string;
  Class: { prototype: object };
  codec: InternalCodec<object>;
}

const internals = new Map<string, Internal>();
const internalPrototypes = new Map<object, Internal>();

function internalCount(): number {
  return internals.size;
}

/**
 * How objects of one class of the library travel, and of classes that extend it. Called once, when the class's
 * module is loaded. `tag` is part of the format.
 */
export function registerInternal<T extends object>(
  Class: abstract new (...args: never[]) => T,
  tag: string,
  codec: InternalCodec<T>,
): void {
  const internal = { tag, Class: Class as unknown as { prototype: object }, codec: codec as never };
  internals.set(tag, internal);
  internalPrototypes.set(internal.Class.prototype, internal);
}

function internalPlan(prototype: object): Plan | undefined {
  for (let at: object | null = prototype; at !== null; at = Object.getPrototypeOf(at)) {
    const internal = internalPrototypes.get(at);
    if (internal === undefined) continue;
    const Class = at === prototype ? null : (constructorOf(prototype) as object | null);
    return (value) => writeInternal(value, internal, Class);
  }
  return undefined;
}

function writeInternal(value: object, { tag, codec }: Internal, Class: object | null): void {
  const payload = codec.encode(value, context);
  if (pos >= room) grow(1);
  out[pos++] = INTERNAL;
  writeString(tag);
  if (Class === null) {
    if (pos >= room) grow(1);
    out[pos++] = NULL;
  } else {
    writeClass(Class);
  }
  kinds[level++] = SAME;
  reducing.add(value);
  try {
    write(payload);
  } finally {
    reducing.delete(value);
  }
  level--;
}

/** The package's own classes can be found, being exports; their objects are more than their properties. */
function isOfLibrary({ where }: Reference): boolean {
  return where.startsWith(LIBRARY);
}

const LIBRARY = import.meta.dirname + path.sep;

// -------------------------------------------------------------------------------------------------
// The decoder

let from = out;
let at = 0;
let end = 0;
/** The objects so far, if the message refers to any of them again. */
let objects: unknown[] | undefined;
let tables: { buffer: ArrayBuffer; base: number }[] = [];
let bulks: readonly ArrayBuffer[] = [];
let descriptors: readonly number[] = [];
/** The prototype and the number of the next object that is made. */
let derived: { prototype: object; number: number } | undefined;
let decoding = false;

const NOTHING = Buffer.alloc(0) as Bytes;
const NO_BUFFERS: readonly ArrayBuffer[] = Object.freeze([]);
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
  const outer = decoding
    ? { from, at, end, objects, tables, bulks, descriptors, derived }
    : undefined;
  decoding = true;
  from = head as Bytes;
  at = start + 2;
  end = end_;
  derived = undefined;
  bulks = bulk;
  descriptors = fds;
  try {
    const has = head[start + 1]!;
    if (has > (HAS_REFS | HAS_TABLE)) throw malformed('has unknown flags');
    objects = (has & HAS_REFS) === 0 ? undefined : [];
    if ((has & HAS_TABLE) !== 0) readTable();
    const value = read();
    if (at !== end) throw malformed('has bytes left over');
    return value;
  } catch (error) {
    throw asUnpickling(error);
  } finally {
    if (outer === undefined) {
      decoding = false;
      from = NOTHING;
      objects = undefined;
      bulks = NO_BUFFERS;
      derived = undefined;
      if (tables.length > 0) tables = [];
    } else {
      ({ from, at, end, objects, tables, bulks, descriptors, derived } = outer);
    }
  }
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

const eight = new Uint8Array(8);
const double = new Float64Array(eight.buffer);
const littleEndian = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1;

function readDouble(): number {
  need(8);
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
      return readPlain(readLength());
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
const ASSEMBLED = 10;
const code = String.fromCharCode;

function readLatin1(length: number): string {
  need(length);
  const start = at;
  at += length;
  if (length > ASSEMBLED) return from.latin1Slice(start, at);
  switch (length) {
    case 0:
      return '';
    case 1:
      return code(from[start]!);
    case 2:
      return code(from[start]!, from[start + 1]!);
    case 3:
      return code(from[start]!, from[start + 1]!, from[start + 2]!);
    case 4:
      return code(from[start]!, from[start + 1]!, from[start + 2]!, from[start + 3]!);
    default:
      return (
        code(from[start]!, from[start + 1]!, from[start + 2]!, from[start + 3]!) +
        from.latin1Slice(start + 4, at)
      );
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

function readPlain(count: number): object {
  const object: Record<string, unknown> = made({});
  for (let i = 0; i < count; i++) {
    const key = readKey();
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
  let count = tag & 15;
  if (tag === OBJECT) count = readLength();
  else if ((tag & 0xf0) !== SMALL_OBJECT) throw malformed('lacks properties');
  for (let i = 0; i < count; i++) {
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
  for (let i = 0; i < length;) {
    if (from[at] === HOLES && at < end) {
      at++;
      const holes = readCount();
      if (holes === 0 || holes > length - i) throw malformed('has an impossible length');
      i += holes;
      // Memory for many missing elements is not for a few bytes to claim: V8 keeps such an array sparse.
      if (holes > FAR) array.length = 0xffff_ffff;
      array.length = i;
    } else {
      const element = read();
      if (i < array.length) throw malformed('has an array that changes');
      array.push(element);
      i++;
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
  const where = readText();
  const count = readLength();
  const names: string[] = [];
  for (let i = 0; i < count; i++) names.push(readText());
  const number = reserve();
  const found = resolve({ kind, where, names });
  settle(number, found);
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
  DATE,
  MAP,
  SET,
  VIEW,
  ARRAY_BUFFER,
  REGEXP,
  BOXED,
];

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
  if (typeof object !== 'object' || object === null)
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

function readInternal(): unknown {
  const tag = readText();
  const internal = internals.get(tag);
  if (internal === undefined) throw new UnpicklingError(`this version knows no '${tag}'`);
  const number = reserve();
  const Class = at < end && from[at] === NULL ? undefined : readClass();
  if (Class === undefined) at++;
  const payload = read();
  const taken = descriptors as number[];
  const object = internal.codec.decode(payload as never, {
    takeFd(index) {
      const fd = taken[index];
      if (fd === undefined || fd < 0) throw malformed('lacks a descriptor');
      taken[index] = -1;
      return fd;
    },
  });
  if (Class !== undefined) Object.setPrototypeOf(object, Class.prototype);
  settle(number, object);
  return object;
}
