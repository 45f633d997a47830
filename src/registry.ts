/**
 * What functions and classes were registered as, for references.ts. A module by itself, because everything registers
 * and only the codec, which is loaded late, looks for the rest.
 *
 * Only references.ts and reduction.ts may import this file.
 */

import { ValueError } from './errors.js';

/** Where a reference leads. The numbers are part of the format. */
export const REGISTERED = 0;
export const GLOBAL = 1;
export const FILE = 2;
export const URL_OF_MODULE = 3;
export const BUILTIN = 4;
/** No name: a number of kinship.ts, which the codec reads and writes itself. */
export const KIN = 5;

export interface Reference {
  kind: number;
  /** The registered name, the file, the URL or the builtin; '' for a global. */
  where: string;
  /** What to take there, one name after another; of a registered one none. */
  names: readonly string[];
}

export const registered = new Map<string, unknown>();
/** What is known already, also of what was found. */
export const references = new WeakMap<object, Reference>();
/** ES modules by URL. */
export const namespaces = new Map<string, Record<string, unknown>>();
/** Of errors about references to ES modules that are not loaded here: the URLs. */
export const missing = new WeakMap<object, string>();
let changes = 0;

/** Grows with every registration: what was concluded before may be wrong since. */
export function registryVersion(): number {
  return changes;
}

/** @throws ValueError the name belongs to something else. */
export function registerName(name: string, value: object): void {
  const other = registered.get(name);
  if (other !== undefined && other !== value) {
    throw new ValueError(
      `'${name}' is registered for something else: give another name, register('other name', …)`,
    );
  }
  registered.set(name, value);
  references.set(value, { kind: REGISTERED, where: name, names: [] });
  changes++;
}

export function registerNamespace(url: string, namespace: Record<string, unknown>): void {
  namespaces.set(url, namespace);
  changes++;
}
