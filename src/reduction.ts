/**
 * What travels between processes, and how: the public face of serialisation, `mp.reduction`.
 *
 * The counterpart of CPython's `multiprocessing/reduction.py` (ForkingPickler) and `copyreg`. Every channel
 * takes its values apart with `encode` and puts them together with `decode` (codec/); a program tells here
 * which of its classes and functions other processes can find, and how its objects are reduced; `dumps` and
 * `loads` are the same in one piece of bytes.
 *
 * Registrations belong to the process. A forked child has those that were there at the fork; any other process
 * has those that its own modules make.
 *
 * A program may import this as `reduction`; the layers above it may, too.
 */

import { constants } from 'node:buffer';
import { wrongType } from './arguments.js';
import { decode } from './codec/decoder.js';
import { encode } from './codec/encoder.js';
import {
  reduce,
  setState,
  type EncodeContext,
  type InternalCodec,
  type InternalDecodeContext,
  type InternalEncodeContext,
  type Message,
  type Reduced,
} from './codec/format.js';
import { registerInternal, registerReducer } from './codec/hooks.js';
import * as errors from './errors.js';
import { PicklingError, UnpicklingError } from './errors.js';
import { registerName, registerNamespace } from './references.js';

export { decode, encode, registerInternal };
export { BULK_MIN } from './codec/format.js';
export type {
  EncodeContext,
  InternalCodec,
  InternalDecodeContext,
  InternalEncodeContext,
  Message,
  Reduced,
};

// -------------------------------------------------------------------------------------------------
// Registration

/**
 * Makes a function or a class one that travels by its name: every process that has registered the same finds
 * its own. Call it before the fork, or at the top level of a module that both processes load. Instances of a
 * registered class travel with their own properties; on arrival they get the prototype, and the constructor is
 * not run. Registering the same again changes nothing.
 *
 *   register(Point)                                 // by the name it has
 *   register('geometry.Point', Point)
 *   register(Temperature, (t) => [Temperature, [t.celsius]])
 *
 * With `reduce` its instances are taken apart by that function: it answers `[callable, args]` or
 * `[callable, args, state]`. On arrival the callable, which must itself be registered or exported, is
 * constructed (a class) or called with the arguments; the state, if there is one, goes to the method
 * `[reduction.setState]`, or, without one, becomes properties. Mirrors `copyreg.pickle`. It holds for instances of
 * exactly this class; the method `[reduction.reduce]()` (Python's `__reduce__`) is inherited.
 *
 * @throws TypeError not a function, or one without a name and none given. ValueError the name is taken.
 */
export function register<T extends object>(
  Class: abstract new (...args: never[]) => T,
  reduce?: (instance: T) => Reduced,
): void;
export function register(fn: (...args: never[]) => unknown): void;
export function register<T extends object>(
  name: string,
  Class: abstract new (...args: never[]) => T,
  reduce?: (instance: T) => Reduced,
): void;
export function register(name: string, fn: (...args: never[]) => unknown): void;
export function register(...given: unknown[]): void {
  const [value, reducer] = typeof given[0] === 'string' ? given.slice(1) : given;
  if (typeof value !== 'function')
    throw wrongType('what is registered', 'a function or a class', value);
  const name = typeof given[0] === 'string' ? given[0] : value.name;
  if (typeof name !== 'string' || name === '') {
    throw new TypeError("it has no name to be found by: give one, register('name', …)");
  }
  if (reducer !== undefined && typeof reducer !== 'function') {
    throw wrongType('reduce', 'a function', reducer);
  }
  registerName(name, value);
  if (reducer !== undefined) registerReducer(value, reducer as (value: never) => Reduced);
}

/**
 * Makes the exports of an ES module ones that travel by reference; those of CommonJS modules do so by themselves.
 * At the module's top level:
 *
 *   import * as here from './shapes.js'; // itself
 *   reduction.registerModule(import.meta.url, here);
 *
 * @throws TypeError not a URL as text, or not an object.
 */
export function registerModule(url: string, namespace: object): void {
  if (typeof url !== 'string' || !/^[a-z][a-z0-9+.-]*:/i.test(url)) {
    throw wrongType('url', "a module's URL (import.meta.url)", url);
  }
  if (typeof namespace !== 'object' || namespace === null) {
    throw wrongType('namespace', "a module's namespace (import * as)", namespace);
  }
  registerNamespace(url, namespace as Record<string, unknown>);
}

// -------------------------------------------------------------------------------------------------
// In one piece
//
//   offset   what
//   0        version
//   1        the head's length: u32
//   5        how many bulks: u32
//   9        the length of each: double
//   …        the head, the bulks

const FLAT_VERSION = 1;
const FLAT_HEAD = 9;

/**
 * The value as bytes, for `loads` in any process of the same version of this package. Mirrors
 * `ForkingPickler.dumps`.
 *
 * @throws PicklingError something in it cannot be carried; it needs a descriptor, which bytes cannot carry; it
 *   takes more bytes than a Buffer has in this version of Node (4 GiB in Node 20).
 */
export function dumps(value: unknown): Buffer {
  const { head, headLength, bulk } = encode(value, { fds: false });
  const start = FLAT_HEAD + 8 * bulk.length;
  const total = bulk.reduce((sum, { byteLength }) => sum + byteLength, start + headLength);
  if (total > constants.MAX_LENGTH) {
    throw new PicklingError(
      `cannot pickle value: it takes ${total} bytes, and a Buffer has at most ${constants.MAX_LENGTH}`,
    );
  }
  const flat = Buffer.allocUnsafeSlow(total);
  flat[0] = FLAT_VERSION;
  flat.writeUInt32LE(headLength, 1);
  flat.writeUInt32LE(bulk.length, 5);
  bulk.forEach(({ byteLength }, i) => flat.writeDoubleLE(byteLength, FLAT_HEAD + 8 * i));
  head.copy(flat, start, 0, headLength);
  let at = start + headLength;
  for (const bytes of bulk) {
    flat.set(bytes, at);
    at += bytes.byteLength;
  }
  return flat;
}

/**
 * The value that `dumps` took apart. Mirrors `ForkingPickler.loads`, and pickle's warning: bytes can name any
 * function that can be found and have it called, so never load what a stranger has sent.
 *
 * @param bytes are copied: the value does not lie on them.
 * @throws UnpicklingError no such bytes, or a reference to what is not here. TypeError not bytes at all.
 */
export function loads(bytes: Uint8Array): unknown {
  if (!(bytes instanceof Uint8Array)) throw wrongType('bytes', 'a Uint8Array', bytes);
  const flat = Buffer.from(bytes.buffer as ArrayBuffer, bytes.byteOffset, bytes.length);
  if (flat.length < FLAT_HEAD || flat[0] !== FLAT_VERSION) {
    throw new UnpicklingError('not bytes that dumps() of this version has made');
  }
  const headLength = flat.readUInt32LE(1);
  const count = flat.readUInt32LE(5);
  const start = FLAT_HEAD + 8 * count;
  if (start + headLength > flat.length) throw new UnpicklingError('the bytes are cut off');
  const lengths: number[] = [];
  let total = start + headLength;
  for (let i = 0; i < count; i++) {
    const length = flat.readDoubleLE(FLAT_HEAD + 8 * i);
    if (!Number.isSafeInteger(length) || length < 0) {
      throw new UnpicklingError('the bytes have an impossible length');
    }
    lengths.push(length);
    total += length;
  }
  if (total !== flat.length) {
    throw new UnpicklingError(
      total > flat.length ? 'the bytes are cut off' : 'there are bytes left over',
    );
  }
  let at = start + headLength;
  const bulk = lengths.map((length) => {
    const buffer = new ArrayBuffer(length);
    new Uint8Array(buffer).set(flat.subarray(at, at + length));
    at += length;
    return buffer;
  });
  return decode(flat, start, start + headLength, bulk);
}

// -------------------------------------------------------------------------------------------------
// What every process knows

/** The error classes of the package; what is an error to JavaScript is one by itself. */
for (const [name, Class] of Object.entries(errors)) {
  registerName(`multiprocessing.${name}`, Class);
}

/** `mp.reduction`. */
export const reduction = {
  register,
  registerModule,
  dumps,
  loads,
  reduce: reduce as typeof reduce,
  setState: setState as typeof setState,
  PicklingError,
  UnpicklingError,
} as const;
