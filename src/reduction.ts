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
import type * as Codec from './codec.js';
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
import { ERROR_CLASSES, PicklingError, UnpicklingError } from './errors.js';
import type * as Handles from './handles.js';
import { lazyPart } from './lazy_builtin.js';
import { beginLending, endLending, takeBack } from './loans.js';
import { missing, registerName, registerNamespace, registryVersion } from './registry.js';

export { registerInternal };
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
// For channels

let codec: typeof Codec | undefined;

/**
 * Loads the codec, which otherwise happens with the first value. Whoever makes a channel calls it: what is loaded
 * before a fork need not be loaded by each child.
 */
export function prepareCodec(): typeof Codec {
  return (codec ??= lazyPart<typeof Codec>('codec'));
}

/** See codec/encoder.ts. */
export const encode: typeof Codec.encode = (value, options) =>
  (codec ?? prepareCodec()).encode(value, options);

/** See codec/decoder.ts. */
export const decode: typeof Codec.decode = (head, start, end, bulk, fds) =>
  (codec ?? prepareCodec()).decode(head, start, end, bulk, fds);

/** Whether other processes find the function by a name. */
export function hasReference(value: object): boolean {
  return prepareCodec().referenceOf(value) !== undefined;
}

/** Of what `decode` threw: the ES module that has to be imported and registered first. */
export function missingModule(error: unknown): string | undefined {
  return missing.get(error as object);
}

/** Grows with every registration. */
export const registrations = registryVersion;

/** See references.ts. */
export function hasPrivateMembers(Class: object): boolean {
  return prepareCodec().hasPrivateMembers(Class);
}

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
// A message without bulks is its head, which begins with the version of the format. Else:
//
//   offset   what
//   0        FLAT
//   1        the head's length: u32
//   5        how many bulks: u32
//   9        the length of each: double
//   …        the head, the bulks

/** No version of a head. */
const FLAT = 0x81;
const FLAT_HEAD = 9;
const WITHOUT_FDS: EncodeContext = { fds: false };

/**
 * A message's bytes, in parts, which need not be joined to be sent. The first two lie in the codec's scratch
 * memory, the others are the value's own.
 */
export function flatParts({ head, headLength, bulk }: Message): Uint8Array[] {
  const first = head.subarray(0, headLength);
  if (bulk.length === 0) return [first];
  const preamble = Buffer.allocUnsafe(FLAT_HEAD + 8 * bulk.length);
  preamble[0] = FLAT;
  preamble.writeUInt32LE(headLength, 1);
  preamble.writeUInt32LE(bulk.length, 5);
  bulk.forEach(({ byteLength }, i) => preamble.writeDoubleLE(byteLength, FLAT_HEAD + 8 * i));
  return [preamble, first, ...bulk];
}

/**
 * The value whose message the bytes are. It does not lie on them.
 *
 * @param fds as `decode` has them: those that are still there afterwards are the caller's to close.
 * @throws UnpicklingError
 */
export function loadFlat(flat: Buffer, fds?: readonly number[]): unknown {
  if (flat[0] !== FLAT) return decode(flat, 0, flat.length, undefined, fds);
  if (flat.length < FLAT_HEAD) throw new UnpicklingError('the bytes are cut off');
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
    // ArrayBuffer.slice would fill the memory with zeros first.
    const own = Buffer.allocUnsafeSlow(length);
    flat.copy(own, 0, at, at + length);
    at += length;
    return own.buffer as ArrayBuffer;
  });
  return decode(flat, start, start + headLength, bulk, fds);
}

/**
 * The value as bytes, for `loads` in any process of the same version of this package; a Connection's `recv`
 * takes them, too. Mirrors `ForkingPickler.dumps`.
 *
 * Descriptors in it (of a Connection, a socket) are fetched from this process by the first `loads`: bytes that nobody
 * loads keep them open.
 *
 * @throws PicklingError something in it cannot be carried; it takes more bytes than a Buffer has in this version of Node
 *   (4 GiB in Node 20).
 */
export function dumps(value: unknown): Buffer {
  const outer = beginLending();
  let done = false;
  try {
    const parts = flatParts(encode(value, WITHOUT_FDS));
    const total = parts.reduce((sum, { byteLength }) => sum + byteLength, 0);
    if (total > constants.MAX_LENGTH) {
      throw new PicklingError(
        `cannot pickle value: it takes ${total} bytes, and a Buffer has at most ${constants.MAX_LENGTH}`,
      );
    }
    const bytes = Buffer.concat(parts, total);
    done = true;
    return bytes;
  } finally {
    const lent = endLending(outer);
    if (!done) takeBack(lent);
  }
}

/**
 * The value that `dumps` took apart, or a Connection's `send`. Mirrors `ForkingPickler.loads`, and pickle's warning:
 * bytes can name any function that can be found and have it called, so never load what a stranger has sent.
 *
 * @param bytes are copied: the value does not lie on them.
 * @throws UnpicklingError no such bytes, or a reference to what is not here. TypeError not bytes at all.
 */
export function loads(bytes: Uint8Array): unknown {
  if (!(bytes instanceof Uint8Array)) throw wrongType('bytes', 'a Uint8Array', bytes);
  return loadFlat(Buffer.from(bytes.buffer as ArrayBuffer, bytes.byteOffset, bytes.length));
}

// -------------------------------------------------------------------------------------------------
// What every process knows

/** The error classes of the package; what is an error to JavaScript is one by itself. */
for (const [name, Class] of Object.entries(ERROR_CLASSES)) {
  registerName(`multiprocessing.${name}`, Class);
}

function handles(): typeof Handles {
  return lazyPart<typeof Handles>('handles');
}

/** `mp.reduction`. */
export const reduction = {
  register,
  registerModule,
  dumps,
  loads,
  /** See handles.ts. */
  sendHandle: ((conn, handle, destinationPid) =>
    handles().sendHandle(conn, handle, destinationPid)) as typeof Handles.sendHandle,
  /** See handles.ts. */
  recvHandle: ((conn) => handles().recvHandle(conn)) as typeof Handles.recvHandle,
  /** See handles.ts. */
  get DupFd(): typeof Handles.DupFd {
    return handles().DupFd;
  },
  reduce: reduce as typeof reduce,
  setState: setState as typeof setState,
  PicklingError,
  UnpicklingError,
} as const;
