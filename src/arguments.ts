/**
 * Argument checks shared by the raw calls: what passes here can be handed to the addon as it is.
 *
 * A wrong type is a TypeError, a number that does not fit is a RangeError (Python's OverflowError),
 * and an impossible value of the right type a ValueError. What the system judges better than we do,
 * such as a descriptor that is not open or a signal number it does not have, passes, and comes back
 * as its error.
 *
 * Anyone may import this file; it imports only the error classes.
 */

import { constants } from 'node:os';
import { inspect } from 'node:util';
import { ValueError } from './errors.js';

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

/** Text for a C string: without NUL, which would cut it short unseen. */
export function checkText(value: unknown, name: string): string {
  if (typeof value !== 'string') throw wrongType(name, 'a string', value);
  if (value.includes('\0')) throw new ValueError(`${name} has an embedded null byte`);
  return value;
}

/** The bytes behind a typed array, a DataView or a Buffer, not copied; a string as UTF-8. */
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
  if (typeof (items as Iterable<unknown> | null | undefined)?.[Symbol.iterator] !== 'function') {
    throw wrongType(name, 'an iterable', items);
  }
  return Array.from(items as Iterable<unknown>, (item, index) => check(item, `${name}[${index}]`));
}

/** A signal by its name ('SIGTERM') or its number. The system judges numbers. */
export function checkSignal(value: unknown, name: string): number {
  if (typeof value !== 'string') return checkInt(value, name);
  if (!Object.hasOwn(constants.signals, value)) {
    throw new ValueError(`${name}: this platform has no signal ${inspect(value)}`);
  }
  return constants.signals[value as NodeJS.Signals];
}

/** The `signal` option of an asynchronous wait; null is none. */
export function checkAbortSignal(value: unknown): AbortSignal | undefined {
  if (value === undefined || value === null) return undefined;
  if (!(value instanceof AbortSignal)) throw wrongType("'signal'", 'an AbortSignal', value);
  return value;
}
