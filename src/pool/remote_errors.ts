/**
 * Errors on their way from a worker to its parent: the same class, message and properties, with the worker's stack
 * as the cause. The counterpart of `ExceptionWithTraceback` in CPython's `pool.py`.
 *
 * An error travels as errors do (codec/): one of a class that no name leads to arrives as the nearest class above that
 * has one. Workers are forked, so the class itself nearly always exists in the parent, too: the parent looks for it
 * among all error classes in its heap, by name and source, once for each.
 */

import { inspect } from 'node:util';
import { MaybeEncodingError } from '../errors.js';
import { beginLending, endLending, takeBack } from '../loans.js';
import { allErrorClasses } from '../node_internals.js';
import { encode, hasPrivateMembers, type EncodeContext } from '../reduction.js';

/** The stack of an error in the process where it was thrown. */
export class RemoteTraceback extends Error {
  static {
    Object.defineProperty(this.prototype, 'name', {
      value: 'RemoteTraceback',
      writable: true,
      configurable: true,
    });
  }

  constructor(stack: string, options?: ErrorOptions) {
    super(`\n"""\n${stack}\n"""`, options);
    // Where it was made here says nothing.
    this.stack = `${this.name}: ${this.message}`;
  }
}

/** What is thrown, and for an error how its class is known: its name, its source, whether `name` is its own. */
export type RemoteError = [error: unknown, name?: string, source?: string, ownName?: boolean];

/** A short stand-in for a source. */
const digests = new WeakMap<object, string>();

function digest(Class: Function): string {
  let known = digests.get(Class);
  if (known === undefined) {
    const source = Function.prototype.toString.call(Class);
    let [a, b] = [0x811c9dc5, source.length];
    for (let i = 0; i < source.length; i++) {
      const code = source.charCodeAt(i);
      a = Math.imul(a ^ code, 0x01000193);
      b = Math.imul(b + code, 0x85ebca6b) ^ (b >>> 13);
    }
    digests.set(Class, (known = `${(a >>> 0).toString(36)}${(b >>> 0).toString(36)}`));
  }
  return known;
}

function classOf(error: Error): Function | undefined {
  const prototype = Object.getPrototypeOf(error) as object;
  const Class = (prototype as { constructor?: unknown }).constructor;
  return typeof Class === 'function' && Class.prototype === prototype ? Class : undefined;
}

/** In the worker. */
export function describeError(thrown: unknown, context: EncodeContext): RemoteError {
  if (!(thrown instanceof Error)) return [thrown];
  const Class = classOf(thrown);
  const sendable = withoutUnsendable(thrown, context);
  if (Class === undefined) return [sendable];
  return [sendable, Class.name, digest(Class), Object.hasOwn(thrown, 'name')];
}

/** Undefined: it can be sent. */
export function whyUnsendable(value: unknown, context: EncodeContext): unknown {
  const outer = beginLending();
  try {
    encode(value, context);
    return undefined;
  } catch (error) {
    return error;
  } finally {
    takeBack(endLending(outer));
  }
}

/** Errors carry requests, sockets and callbacks: those properties stay behind. */
function withoutUnsendable(error: Error, context: EncodeContext): Error {
  if (whyUnsendable(error, context) === undefined) return error;
  const copy = new Error(error.message);
  Object.setPrototypeOf(copy, Object.getPrototypeOf(error) as object);
  for (const key of Object.getOwnPropertyNames(error)) {
    const descriptor = Object.getOwnPropertyDescriptor(error, key)!;
    let value: unknown;
    try {
      value = (error as unknown as Record<string, unknown>)[key];
    } catch {
      continue;
    }
    if (whyUnsendable(value, context) !== undefined) continue;
    Object.defineProperty(copy, key, {
      value,
      enumerable: descriptor.enumerable ?? false,
      writable: true,
      configurable: true,
    });
  }
  return copy;
}

function show(value: unknown): string {
  try {
    return inspect(value, { depth: 2, breakLength: Infinity });
  } catch (error) {
    // Its own code has a say in it.
    return `<${typeof value} that cannot be shown: ${String(error)}>`;
  }
}

/** In the worker: for a result that cannot be sent. Its `exc` and `value` are texts, as in Python. */
export function maybeEncodingError(reason: unknown, value: unknown): Error {
  const exc = reason instanceof Error ? `${reason.name}(${inspect(reason.message)})` : show(reason);
  const shown = show(value);
  const error = new MaybeEncodingError(`Error sending result: '${shown}'. Reason: '${exc}'`);
  return Object.assign(error, { exc, value: shown });
}

/** In the parent. */
export function restoreError([error, name, source, ownName]: RemoteError): unknown {
  if (!(error instanceof Error) || error instanceof MaybeEncodingError) return error;
  if (name !== undefined && source !== undefined) restoreClass(error, name, source, ownName!);
  const stack = typeof error.stack === 'string' ? error.stack : String(error);
  const options = Object.hasOwn(error, 'cause') ? { cause: error.cause } : undefined;
  Object.defineProperty(error, 'cause', {
    value: new RemoteTraceback(stack, options),
    enumerable: false,
    writable: true,
    configurable: true,
  });
  return error;
}

/** Error classes by name and source; null: there is none, or more than one. */
const classes = new Map<string, WeakRef<Function> | null>();

function restoreClass(error: Error, name: string, source: string, ownName: boolean): void {
  const arrived = classOf(error);
  if (arrived !== undefined && arrived.name === name && digest(arrived) === source) return;
  const Class = findClass(name, source);
  if (Class === undefined || hasPrivateMembers(Class)) return;
  Object.setPrototypeOf(error, Class.prototype as object);
  // What the nearest class has given it to be told apart.
  if (!ownName) delete (error as Partial<Error>).name;
}

function findClass(name: string, source: string): Function | undefined {
  const key = `${name} ${source}`;
  const known = classes.get(key);
  if (known === null) return undefined;
  const living = known?.deref();
  if (living !== undefined) return living;
  let found: Function[] = [];
  try {
    found = allErrorClasses().filter((Class) => Class.name === name && digest(Class) === source);
  } catch {
    // This build of node has no inspector: the nearest class has to do.
  }
  const only = found.length === 1 ? found[0] : undefined;
  classes.set(key, only === undefined ? null : new WeakRef(only));
  return only;
}
