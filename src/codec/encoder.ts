/**
 * The encoder: a value to bytes, in one walk.
 *
 * Guarantees, for whoever sends a value through a channel:
 * - what arrives is what `structuredClone` gives, plus what it loses: classes (references.ts), an error's own
 *   properties, Buffers as Buffers. What cannot be carried throws a PicklingError that names the place inside
 *   the value; nothing is left behind by it.
 * - Objects met twice are one object on arrival, cycles included.
 * - Binary data of BULK_MIN bytes and more is not copied: the message has views of the sender's memory.
 *
 * State lives in variables of the module, for speed; a hook or getter of the user may encode something itself in
 * the middle, so it is saved when `encode` is entered a second time.
 *
 * When a process dies here, nothing is shared yet. Only reduction.ts may import this file.
 */

import { inspect, types } from 'node:util';
import { PicklingError } from '../errors.js';
import { onContinue, onNewIdentity } from '../at_fork.js';
import type * as Handles from '../handles.js';
import { lazyPart } from '../lazy_builtin.js';
import {
  BUILTIN,
  declaresPrivateMembers,
  GLOBAL,
  hasPrivateMembers,
  isOfLibrary,
  KIN,
  referenceOf,
  registryVersion,
} from '../references.js';
import {
  BULK_MIN,
  reduce,
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
  MANY_NUMBERS,
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
  OWN_NAME,
  ERROR_PARTS,
  TYPED_ARRAYS,
  DATA_VIEW,
  FLOAT16,
  viewClass,
  MOST_BYTES,
  MOST_FDS,
  NO_FDS,
  isStackOverflow,
  type Message,
  type EncodeContext,
  type InternalEncodeContext,
  type Reduced,
  type Bytes,
} from './format.js';
import { quoted, nameOf, constructorOf, describe, shown } from './names.js';
import {
  hooksVersion,
  internalPrototypes,
  reducerOfNode,
  reducers,
  type Internal,
  type Reducer,
} from './hooks.js';

// -------------------------------------------------------------------------------------------------
// The encoder's state

const SCRATCH_BYTES = 1 << 16;
/** Scratch memory beyond this is given back when it was not needed for a while. */
const KEPT_BYTES = 1 << 20;
const PATIENCE = 64;
const KEPT_NUMBERS = 1 << 16;

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
/** Keys of a Map are in the trail, which may be large objects. */
let trailHolds = false;
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
const message: Message = { head: out, headLength: 0, bulk: NO_BULK, fds: NO_FDS };

/** A channel gives the same options each time, and never changes them. */
let lastOptions: EncodeContext | undefined;
let lastContext: InternalEncodeContext;

function contextOf(options: EncodeContext): InternalEncodeContext {
  if (options === lastOptions) return lastContext;
  lastContext = {
    ...options,
    addFd(fd) {
      if (options.fds === false) return lazyPart<typeof Handles>('handles').lendFd(fd);
      if (fds.length === MOST_FDS) {
        throw refused(`has one descriptor more than the ${MOST_FDS} of a message: send several`);
      }
      return fds.push(fd) - 1;
    },
    refuse(why) {
      throw refused(why);
    },
  };
  lastOptions = options;
  return lastContext;
}

const DEFAULT_CONTEXT = contextOf({});

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

/** A Process's child leaves the encode() that its parent was in the middle of: it will never be finished there. */
let left = false;
onNewIdentity(() => {
  left = busy;
});
// The child of fork() goes on with it.
onContinue(() => {
  left = false;
});

/** A hook of the user, called by an encode() that is under way, encodes something itself. */
function encodeInside(value: unknown, options: EncodeContext | undefined): Message {
  if (left) {
    left = false;
    busy = false;
    reducing = new Set();
    room = 0;
    trailHolds = true;
    reset();
    return encode(value, options);
  }
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
  if (options === undefined) {
    context = DEFAULT_CONTEXT;
  } else {
    // A channel gives the same one each time.
    context = contextOf(options);
  }
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
  for (let i = met < FEW ? met : FEW; i-- > 0;) first[i] = undefined;
  numbers = undefined;
  if (trailHolds || trail.length > 64) {
    trail = [];
    kinds = [];
    trailHolds = false;
  }
  if (bulk.length > 0) bulk = [];
  if (fds.length > 0) fds = [];
  if (buffers.length > 0) buffers = [];
  if (integers.length > KEPT_NUMBERS) integers = new Int32Array(0);
  if (doubles.length > KEPT_NUMBERS) doubles = new Float64Array(0);
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

function refused(why: string, options?: ErrorOptions): PicklingError {
  return new PicklingError(`cannot pickle ${place()}: it ${why}`, options);
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
  if (pos + 16 > room) grow(16);
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
  if (inheritsProperties()) {
    writeProperties(value, Object.keys(value));
    return;
  }
  if (pos >= room) grow(1);
  const start = pos++;
  const here = level++;
  kinds[here] = BY_KEY;
  let count = 0;
  // V8 has the keys and places of such an object at hand: half the time of Object.keys().
  for (const key in value) {
    // Also the arguments of a function look plain; their first key tells.
    if (count === 0 && key === '0') {
      level = here;
      refuseArguments(value);
      level = here + 1;
    }
    count++;
    trail[here] = key;
    writeString(key);
    write(value[key]);
  }
  level = here;
  if (count < 16) {
    out[start] = SMALL_OBJECT | count;
    if (count === 0) refuseArguments(value);
  } else {
    out[start] = OBJECT;
    if (pos >= room) grow(1);
    out[pos++] = END;
  }
}

/** Somebody gave Object.prototype enumerable properties: `for in` would have them in every object. */
function inheritsProperties(): boolean {
  for (const _ in EMPTY) return true;
  return false;
}

const EMPTY = {};

function refuseArguments(value: object): void {
  if (types.isArgumentsObject(value)) {
    throw refused('is an arguments object: send [...arguments]');
  }
}

/**
 * An object in an array: its keys are left out if they are those of the one before. Answers the keys for the next
 * one, undefined if it must not go by them.
 */
function writeRow(
  value: Record<string, unknown>,
  above: readonly string[] | undefined,
): readonly string[] | undefined {
  if (isKnown(value)) return above;
  if (types.isProxy(value)) throw refused('is a Proxy');
  const keys = Object.keys(value);
  const { length } = keys;
  let same = above !== undefined && length === above.length;
  for (let i = 0; same && i < length; i++) same = keys[i] === above![i];
  if (!same) {
    if (length === 0 || keys[0] === '0') refuseArguments(value);
    return writeProperties(value, keys) && length > 0 ? keys : undefined;
  }
  if (pos >= room) grow(1);
  out[pos++] = ROW;
  const here = level++;
  kinds[here] = BY_KEY;
  for (let i = 0; i < length; i++) {
    const key = keys[i]!;
    trail[here] = key;
    const item = value[key];
    if (item === undefined) writeUndefined(value, key);
    else write(item);
  }
  level = here;
  return above;
}

/** True: the property is there. */
function writeUndefined(value: object, key: string): boolean {
  const isThere = Object.hasOwn(value, key);
  if (pos >= room) grow(1);
  out[pos++] = isThere ? UNDEFINED : ABSENT;
  return isThere;
}

/** True: all of them were there; a getter may remove one. */
function writeProperties(value: Record<string, unknown>, keys: readonly string[]): boolean {
  const { length } = keys;
  if (pos >= room) grow(1);
  out[pos++] = length < 16 ? SMALL_OBJECT | length : OBJECT;
  const here = level++;
  kinds[here] = BY_KEY;
  let complete = true;
  for (let i = 0; i < length; i++) {
    const key = keys[i]!;
    trail[here] = key;
    writeString(key);
    const item = value[key];
    if (item !== undefined) write(item);
    else if (!writeUndefined(value, key)) complete = false;
  }
  level = here;
  if (length >= 16) {
    if (pos >= room) grow(1);
    out[pos++] = END;
  }
  return complete;
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
  if (keys.length === length && (length === 0 || isLast(keys[length - 1]!, length - 1))) {
    return NO_KEYS;
  }
  const from = keys.findIndex((key) => !isIndex(key));
  return from < 0 ? NO_KEYS : keys.slice(from);
}

const NO_KEYS: string[] = [];

/** Indices come first: if the last key is the last index, there is nothing else. */
function isLast(key: string, index: number): boolean {
  return index < 10 ? key.length === 1 && key.charCodeAt(0) === 48 + index : key === String(index);
}

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

let integers = new Int32Array(0);
let doubles = new Float64Array(0);

/** Longer ones are not looked at: `new Array(1e9)` has nothing in it. */
const MOST_NUMBERS = 1 << 24;

/** False: there is something else in it. */
function writeNumbers(value: readonly unknown[], length: number): boolean {
  if (typeof value[0] !== 'number' || typeof value[length - 1] !== 'number') return false;
  if (integers.length < length) integers = new Int32Array(length);
  let at = 0;
  for (; at < length; at++) {
    const item = value[at];
    if (typeof item !== 'number') return false;
    const integer = item | 0;
    if (integer !== item || (item === 0 && 1 / item < 0)) break;
    integers[at] = integer;
  }
  if (at === length) {
    writeBlock(INTEGERS, length, new Uint8Array(integers.buffer, 0, 4 * length));
    return true;
  }
  if (doubles.length < length) doubles = new Float64Array(length);
  for (let i = 0; i < at; i++) doubles[i] = integers[i]!;
  for (; at < length; at++) {
    const item = value[at];
    if (typeof item !== 'number') return false;
    doubles[at] = item;
  }
  writeBlock(NUMBERS, length, new Uint8Array(doubles.buffer, 0, 8 * length));
  return true;
}

function writeBlock(tag: number, length: number, bytes: Uint8Array): void {
  if (pos + bytes.length + 16 > room) grow(bytes.length + 16);
  out[pos++] = tag;
  writeCount(length);
  out.set(bytes, pos);
  pos += bytes.length;
}

function writeElements(value: readonly unknown[]): void {
  const { length } = value;
  if (length >= MANY_NUMBERS && length <= MOST_NUMBERS && littleEndian) {
    if (writeNumbers(value, length)) return;
  }
  if (pos >= room) grow(1);
  if (length < 16) {
    out[pos++] = SMALL_ARRAY | length;
  } else {
    out[pos++] = ARRAY;
    writeCount(length);
  }
  const here = level++;
  kinds[here] = BY_INDEX;
  let above: readonly string[] | undefined;
  for (let i = 0; i < length; i++) {
    const item = value[i];
    trail[here] = i;
    if (typeof item === 'number') {
      if (pos + 16 > room) grow(16);
      writeNumber(item);
    } else if (typeof item === 'object' && item !== null && length > 1) {
      if (Object.getPrototypeOf(item) === objectPrototype) {
        above = writeRow(item as Record<string, unknown>, above);
      } else {
        above = undefined;
        writeObject(item);
      }
    } else if (item === undefined && !Object.hasOwn(value, i)) {
      i += writeHoles(value, i, length) - 1;
    } else {
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
  if (plansOf !== registryVersion() + hooksVersion()) {
    plans = new WeakMap(BUILTIN_PLANS);
    plansOf = registryVersion() + hooksVersion();
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
  const internal =
    internalPlan(prototype) ?? (learnHandles(prototype) ? internalPlan(prototype) : undefined);
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
  const isFound =
    reference === undefined
      ? isKin(Class)
      : reference.kind !== GLOBAL && reference.kind !== BUILTIN;
  if (!isFound) refuseClass(value, Class);
  if (reference !== undefined && isOfLibrary(reference)) {
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
  const kin = context.kin?.(value, false);
  if (kin !== undefined) {
    writeKin(kin);
    return;
  }
  const reference = types.isProxy(value) ? undefined : referenceOf(value);
  if (reference === undefined) {
    const lost = context.kin?.(value, true);
    if (lost === undefined) throw refusedFunction(value);
    writeKin(lost);
    return;
  }
  context.onReference?.(reference.kind, reference.where);
  out[pos++] = REFERENCE;
  out[pos++] = reference.kind;
  writeString(reference.where);
  writeCount(reference.names.length);
  for (const name of reference.names) writeString(name);
}

function writeKin(number: number): void {
  if (pos + 8 > room) grow(8);
  out[pos++] = REFERENCE;
  out[pos++] = KIN;
  writeCount(number);
}

function isKin(value: object): boolean {
  return context.kin?.(value, true) !== undefined;
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
    trailHolds = true;
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
      const isFound = referenceOf(Class) !== undefined || isKin(Class);
      if (isFound && !hasPrivateMembers(Class)) return { Class, exact };
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
  const [callable, args, given] = reduced as unknown as Reduced;
  // Python's None.
  const state = given === null ? undefined : given;
  if (
    state !== undefined &&
    typeof state !== 'object' &&
    typeof (value as { [setState]?: unknown })[setState] !== 'function'
  ) {
    throw refused(
      `is ${describe(value)}, whose reduce hook answers a state without properties: give it a method [reduction.setState]`,
    );
  }
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

/** Node's sockets and servers, which most programs never send. Whether there is something new to know. */
function learnHandles(prototype: object): boolean {
  for (let at: object | null = prototype; at !== null; at = Object.getPrototypeOf(at)) {
    const name = nameOf(constructorOf(at));
    if (name !== 'Socket' && name !== 'Server') continue;
    return lazyPart<typeof Handles>('handles').register(
      Object.hasOwn(at, 'bind') ? 'dgram' : 'net',
    );
  }
  return false;
}

function internalPlan(prototype: object): Plan | undefined {
  for (let at: object | null = prototype; at !== null; at = Object.getPrototypeOf(at)) {
    const internal = internalPrototypes.get(at);
    if (internal === undefined) continue;
    const Class = at === prototype ? null : classBelow(prototype, at);
    return (value) => writeInternal(value, internal, Class);
  }
  return undefined;
}

/** The class of instances that extend a class of the library, which makes them on arrival without the constructor. */
function classBelow(prototype: object, ofLibrary: object): object {
  const Class = constructorOf(prototype);
  if (typeof Class !== 'function' || (Class as { prototype?: unknown }).prototype !== prototype) {
    refusePlan('has a prototype that is not the prototype of a class');
  }
  for (let at = prototype; at !== ofLibrary; at = Object.getPrototypeOf(at) as object) {
    const above = constructorOf(at);
    if (typeof above === 'function' && declaresPrivateMembers(above)) {
      refusePlan(
        `is of the class ${nameOf(above)}, which has private members (#name), that nobody else can make`,
      );
    }
  }
  return Class;
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
  const { except = [] } = codec;
  const own = except === 'all' ? [] : Object.keys(value).filter((key) => !except.includes(key));
  writeProperties(value as Record<string, unknown>, own);
}
