/**
 * What messages call things. Nothing here runs code of the program: a getter would be a strange thing to call
 * while an error is being made.
 *
 * Only files of this folder may import this one.
 */

import { types } from 'node:util';

export function quoted(text: string): string {
  return JSON.stringify(text.length > 40 ? `${text.slice(0, 40)}…` : text);
}

export function nameOf(fn: unknown): string {
  if (typeof fn !== 'function') return '';
  const name = Object.getOwnPropertyDescriptor(fn, 'name')?.value as unknown;
  return typeof name === 'string' ? name : '';
}

export function constructorOf(prototype: object | null): unknown {
  return prototype === null
    ? undefined
    : Object.getOwnPropertyDescriptor(prototype, 'constructor')?.value;
}

/** 'a Foo', without running code of the program. */
export function describe(value: object): string {
  if (types.isProxy(value)) return 'a Proxy';
  const name = nameOf(constructorOf(Object.getPrototypeOf(value) as object | null));
  const noun = name === '' ? 'object of a class without a name' : name;
  return /^[aeiou]/i.test(noun) ? `an ${noun}` : `a ${noun}`;
}

export function shown(key: unknown): string {
  if (typeof key === 'string') return quoted(key);
  if (typeof key === 'bigint') return `${key}n`;
  return typeof key === 'object' && key !== null ? describe(key) : String(key);
}
