/**
 * Argument checks shared by the raw calls: what passes here can be handed to the addon as it is.
 *
 * A wrong type is a TypeError, a number that does not fit is a RangeError (Python's OverflowError),
 * and an impossible value of the right type a ValueError. What the system judges better than we do,
 * such as a descriptor that is not open or a signal number it does not have, passes, and comes back
 * as its error.
 *
 * Anyone may import this file; it imports only the error classes and what finds modules of node.
 */

import { inspect } from 'node:util';
import { ValueError } from './errors.js';
import { osConstants } from './lazy_builtin.js';

const INT_MIN = -0x8000_0000;
const INT_MAX = 0x7fff_ffff;

/** A TypeError naming the argument and what was given in its place. */
export function wrongType(name: string, wanted: string, given: unknown): TypeError {
  return new TypeError(`${name} must be ${wanted}, not ${inspect(given, { depth: 0 })}`);
}

/** A C int: file descriptors, pids, flags. */
export function checkInt(value: unknown, name: string): number {
  if (typeof value !== 'number' || !Number.isInteger(value)) {
    throw wrongType(name, 'an integer', value);
  }
  if (value < INT_MIN || value > INT_MAX) {
    throw new RangeError(`${name} must fit into 32 bits, not ${value}`);
  }
  return value;
}

/** A count that may be large: any safe integer from 0. */
export function checkSize(value: unknown, name: string): number {
  if (typeof value !== 'number' || !Number.isInteger(value)) {
    throw wrongType(name, 'an integer', value);
  }
  if (!Number.isSafeInteger(value) || value < 0) {
    throw new RangeError(`${name} must be between 0 and 2 ** 53 - 1, not ${value}`);
  }
  return value;
}

export function checkBoolean(value: unknown, name: string): boolean {
  if (typeof value !== 'boolean') throw wrongType(name, 'a boolean', value);
  return value;
}

/**
 * Text for a C string: without NUL, which would cut it short unseen, and without lone surrogates, which are all
 * the same in UTF-8.
 */
export function checkText(value: unknown, name: string): string {
  if (typeof value !== 'string') throw wrongType(name, 'a string', value);
  if (value.includes('\0')) throw new ValueError(`${name} has an embedded null byte`);
  if (!isWellFormed(value))
    throw new ValueError(`${name} has a lone surrogate, which has no UTF-8`);
  return value;
}

/** Whether text has a form in UTF-8. */
export function isWellFormed(text: string): boolean {
  return (text as string & { isWellFormed(): boolean }).isWellFormed();
}

/** @throws TypeError something else than an object, or one with a name that is not in `names`. */
export function checkOptions(
  options: unknown,
  what: string,
  usage: string,
  names: readonly string[],
): asserts options is object {
  if (typeof options !== 'object' || options === null) {
    throw new TypeError(`${what} takes one options object: ${usage}`);
  }
  checkNames(options, names, `${what}() `);
}

/** @throws TypeError an option that is not in `names`: it would be lost in silence. */
export function checkNames(options: object, names: readonly string[], who = ''): void {
  for (const key of Object.keys(options)) {
    if (!names.includes(key)) throw new TypeError(`${who}got an unexpected option '${key}'`);
  }
}

export function checkCallable(fn: unknown, name: string): asserts fn is Function {
  if (typeof fn !== 'function') throw wrongType(name, 'a function', fn);
}

export function checkIterable(
  value: unknown,
  name: string,
  wanted = 'iterable',
): asserts value is Iterable<unknown> {
  if (
    typeof (value as Partial<Iterable<unknown>> | null | undefined)?.[Symbol.iterator] !==
    'function'
  ) {
    throw wrongType(name, wanted, value);
  }
}

/** Of workers: none, or a function. */
export function checkInitializer(initializer: unknown): void {
  if (initializer !== undefined && initializer !== null && typeof initializer !== 'function') {
    throw new TypeError('initializer must be a callable');
  }
}

type Intrinsic<T> = (this: unknown) => T;

function getterOf<T>(prototype: object, name: string): Intrinsic<T> {
  return Object.getOwnPropertyDescriptor(prototype, name)!.get as Intrinsic<T>;
}

const typedArray = Object.getPrototypeOf(Uint8Array.prototype) as object;
const bufferOf = getterOf<ArrayBuffer>(typedArray, 'buffer');
const byteOffsetOf = getterOf<number>(typedArray, 'byteOffset');
const byteLengthOf = getterOf<number>(typedArray, 'byteLength');

/** How many bytes there are, whatever `length` says. @throws TypeError it only looks like a Uint8Array. */
export function lengthOf(bytes: Uint8Array): number {
  return byteLengthOf.call(bytes);
}

/**
 * A plain view of the same bytes: an object that looks like a Uint8Array may have a `length` of its own.
 *
 * @throws TypeError it only looks like one.
 */
export function plainBytes(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(bufferOf.call(bytes), byteOffsetOf.call(bytes), byteLengthOf.call(bytes));
}

/**
 * The bytes behind a typed array, a DataView or a Buffer, not copied; a string as UTF-8. How many there are says
 * `lengthOf`: what is a Uint8Array already is passed on as it is.
 */
export function checkBytes(value: unknown, name: string): Uint8Array {
  if (value instanceof Uint8Array) return value;
  if (typeof value === 'string') return Buffer.from(value);
  return checkView(value, name, 'a string or a Uint8Array');
}

/** The bytes behind something that can be written into. */
export function checkView(value: unknown, name: string, wanted = 'a Uint8Array'): Uint8Array {
  if (value instanceof Uint8Array) return value;
  if (!ArrayBuffer.isView(value)) throw wrongType(name, wanted, value);
  return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
}

/** Each item of an iterable, checked by `check` under the name `name[index]`. */
export function checkEach<T>(
  items: unknown,
  name: string,
  check: (item: unknown, name: string) => T,
): T[] {
  checkIterable(items, name, 'an iterable');
  return Array.from(items, (item, index) => check(item, `${name}[${index}]`));
}

/** A signal by its name ('SIGTERM') or its number. The system judges numbers. */
export function checkSignal(value: unknown, name: string): number {
  if (typeof value !== 'string') return checkInt(value, name);
  if (!Object.hasOwn(osConstants().signals, value)) {
    throw new ValueError(`${name}: this platform has no signal ${inspect(value)}`);
  }
  return osConstants().signals[value as NodeJS.Signals];
}

/** The `signal` option of an asynchronous wait; null is none. */
export function checkAbortSignal(value: unknown): AbortSignal | undefined {
  if (value === undefined || value === null) return undefined;
  if (!(value instanceof AbortSignal)) throw wrongType("'signal'", 'an AbortSignal', value);
  return value;
}
