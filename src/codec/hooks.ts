/**
 * Who takes instances apart that are more than their properties: the program's reduce hooks, the ones for
 * classes of node, and those of the library's own classes.
 *
 * Only files of this folder, and reduction.ts, may import this one.
 */

import { nameOf } from './names.js';
import type { InternalCodec, Reduced } from './format.js';

let changes = 0;

/** Grows with every registration: what was concluded before may be wrong since. */
export function hooksVersion(): number {
  return changes;
}

export type Reducer = (value: never) => Reduced;

export const reducers = new Map<object, Reducer>();

/** Instances of exactly this class are taken apart by `reducer`. Mirrors `copyreg.pickle`. */
export function registerReducer(Class: object, reducer: Reducer): void {
  reducers.set(Class, reducer);
  changes++;
}

/** Classes of node whose objects are what they were made from. Not touched before one comes: node makes them late. */
const REDUCERS_OF_NODE: Record<string, Reducer> = {
  URL: (url: URL) => [URL, [url.href]],
  DOMException: (error: DOMException) => [
    DOMException,
    [error.message, { name: error.name, ...('cause' in error ? { cause: error.cause } : {}) }],
  ],
};

export function reducerOfNode(Class: object): Reducer | undefined {
  const name = nameOf(Class);
  if (!Object.hasOwn(REDUCERS_OF_NODE, name)) return undefined;
  return (globalThis as unknown as Record<string, unknown>)[name] === Class
    ? REDUCERS_OF_NODE[name]
    : undefined;
}

export interface Internal {
  tag: string;
  Class: { prototype: object };
  codec: InternalCodec<object>;
}

export const internals = new Map<string, Internal>();
export const internalPrototypes = new Map<object, Internal>();

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
  changes++;
  internalPrototypes.set(internal.Class.prototype, internal);
}
