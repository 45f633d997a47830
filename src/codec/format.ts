/**
 * The format of a message, and the types of whoever makes or reads one.
 *
 * Little-endian, private to one version of the package:
 *
 *   head     version | flags | value | [table of ArrayBuffers | its place: u32, if HAS_TABLE]
 *   value    tag | what the tag says
 *   count    LEB128, at most 2 ** 32 - 1
 *   key      a value, nearly always a short string
 *
 * Only files of this folder, and reduction.ts, may import this one.
 */

import { constants } from 'node:buffer';

/** Binary data of this many bytes, or more, travels beside the head. */
export const BULK_MIN = 4096;

/** A value taken apart: `head.subarray(0, headLength)`, and what was kept out of it. */
export interface Message {
  /** Scratch memory of the codec, valid until the next encode() of this thread. */
  head: Buffer;
  headLength: number;
  /** Views of the sender's memory, in order; empty for nearly all messages. */
  bulk: readonly Uint8Array[];
  /** Descriptors that must be sent along, and then closed; empty nearly always. */
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
  /** Told of each function and class that travels by reference: the kind and the place of src/registry.ts. */
  onReference?: (kind: number, where: string) => void;
  /**
   * The number (src/kinship.ts) by which the receiver, a kin of this process by fork, knows a function or class.
   * Undefined: it does not.
   *
   * @param isLost nothing else names it: the answer may be a number that the receiver will know once it is forked.
   */
  kin?: (value: object, isLost: boolean) => number | undefined;
}

/** A descriptor in a message: its number among those that come along, or where it is to be fetched. */
export type FdPlace = number | string;

/** For the `encode` of an object of the library. */
export interface InternalEncodeContext extends EncodeContext {
  /**
   * Sends a copy of a descriptor along, which must stay open until the message has been sent or kept.
   *
   * Through memory, which carries none, it is fetched from this process on arrival.
   *
   * @returns what to ask for it by on arrival. @throws PicklingError the message has too many.
   */
  addFd(fd: number): FdPlace;
  /** Refuses the object, which "is …"; the error names its place. @throws PicklingError always. */
  refuse(why: string): never;
}

/** For its `decode`. */
export interface InternalDecodeContext {
  /** The descriptor, which from here on belongs to the caller. @throws UnpicklingError there is none. */
  takeFd(place: FdPlace): number;
  /** Says that the object is one that was here before: it keeps its class and its properties. */
  wasHere(): void;
  /** Called when the rest of the message cannot be put together, and so nobody will have the object. */
  onFailure(undo: () => void): void;
}

/**
 * How a class of the library travels. The payload is any value that can be encoded. What a program has added is not its
 * business: own properties, and the class of an instance of a class that extends it, travel by themselves.
 */
export interface InternalCodec<T extends object> {
  /** Own properties that are the class's, and do not travel by themselves; 'all' for classes that are not ours. */
  except?: readonly string[] | 'all';
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

export const VERSION = 1;
/** Some object is referred to a second time: the decoder has to number them. */
export const HAS_REFS = 1;
export const HAS_TABLE = 2;

// 0x00 to 0x3f: the integers 0 to 63.
export const SHORT_STRING = 0x40; // … to 0x7f: latin1, of 0 to 63 characters
export const SMALL_OBJECT = 0x80; // … to 0x8f: of 0 to 15 properties, each a key and a value
export const SMALL_ARRAY = 0x90; // … to 0x9f: of 0 to 15 elements
export const UNDEFINED = 0xa0;
export const NULL = 0xa1;
export const FALSE = 0xa2;
export const TRUE = 0xa3;
export const INT8 = 0xa4;
export const INT16 = 0xa5;
export const INT32 = 0xa6;
export const DOUBLE = 0xa7;
export const LATIN1 = 0xa8; // count of characters | bytes
export const UTF16 = 0xa9; // count of units | units
export const BIGINT = 0xaa; // 1 if negative | count of bytes | magnitude
export const OBJECT = 0xab; // properties | END
export const ARRAY = 0xac; // count | elements
export const REF = 0xad; // count: the number of an object that came before
export const DATE = 0xae; // double
export const MAP = 0xaf; // count | keys and values
export const SET = 0xb0; // count | values
export const BUFFER = 0xb1; // count | bytes
export const BULK_BUFFER = 0xb2; // count: which bulk | double: its length
export const VIEW = 0xb3; // type | count: which ArrayBuffer | doubles: offset, length
export const ARRAY_BUFFER = 0xb4; // count: which of the table
export const HOLES = 0xb5; // count: of missing elements, only in arrays
export const ABSENT = 0xb6; // as the value of a property: a getter has removed it; as a state: there is none
export const REFERENCE = 0xb7; // kind | where: value | count | names: values; or KIN | count: its number
export const INSTANCE = 0xb8; // class: value | OBJECT
export const DERIVED = 0xb9; // class: value | the built-in state: value | OBJECT: own properties
export const REDUCED = 0xba; // callable: value | args: value | state: value or ABSENT
export const INTERNAL = 0xbb; // tag: value | class or NULL: value | payload: value | OBJECT: own properties
export const ERROR = 0xbc; // class: value | flags | name message stack cause errors: values | OBJECT
export const REGEXP = 0xbd; // source flags: values
export const BOXED = 0xbe; // value
export const WITH_PROPERTIES = 0xbf; // an array: value | OBJECT
export const END = 0xc0; // where the key of a further property would be
export const INTEGERS = 0xc2; // an array: count | int32s
export const NUMBERS = 0xc3; // an array: count | doubles
export const ROW = 0xc1; // in an array, an object with the keys of the last one that has keys: values

// What an error has.
export const OWN_NAME = 1;
export const OWN_MESSAGE = 2;
export const OWN_STACK = 4;
export const OWN_CAUSE = 8;
export const OWN_ERRORS = 16;
export const ERROR_PARTS = [
  [OWN_NAME, 'name'],
  [OWN_MESSAGE, 'message'],
  [OWN_STACK, 'stack'],
  [OWN_CAUSE, 'cause'],
  [OWN_ERRORS, 'errors'],
] as const;

export const TYPED_ARRAYS = [
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
export const DATA_VIEW = TYPED_ARRAYS.length;
export const FLOAT16 = DATA_VIEW + 1;

export type ViewClass = {
  new (buffer: ArrayBuffer, byteOffset: number, length: number): ArrayBufferView;
  readonly BYTES_PER_ELEMENT?: number;
  readonly prototype: object;
};

export function viewClass(type: number): ViewClass | undefined {
  if (type === DATA_VIEW) return DataView as ViewClass;
  if (type === FLOAT16) return (globalThis as { Float16Array?: ViewClass }).Float16Array;
  return TYPED_ARRAYS[type] as ViewClass | undefined;
}

/** Of heads and flat messages: what a u32 can count, and a Buffer of this Node can hold. */
export const MOST_BYTES = Math.min(0xffff_ffff, constants.MAX_LENGTH);

/** An array of so many numbers, and of nothing else, travels as the numbers alone. */
export const MANY_NUMBERS = 32;
/** What the format is; on another machine numbers are written one by one. */
export const littleEndian = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1;

/** Node's own copying functions: what `buf.write` and `buf.toString` call once they know the encoding. */
export interface Bytes extends Buffer {
  latin1Write(text: string, offset: number, length: number): number;
  ucs2Write(text: string, offset: number, length: number): number;
  hexWrite(text: string, offset: number, length: number): number;
  latin1Slice(start: number, end: number): string;
  ucs2Slice(start: number, end: number): string;
  hexSlice(start: number, end: number): string;
}

/** That can travel with one message: SCM_MAX_FD of Linux. */
export const MOST_FDS = 253;

/** No descriptors. */
export const NO_FDS: readonly number[] = Object.freeze([]);

export function isStackOverflow(error: unknown): boolean {
  return error instanceof RangeError && error.message.includes('call stack');
}
