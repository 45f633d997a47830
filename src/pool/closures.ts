/**
 * Which functions are as good as one that the workers have seen.
 *
 * An arrow in a loop is a new function each time round, and the workers have seen none but the first. When both are
 * the same piece of source, and everything that the source can name outside of itself is the same, too, then running
 * the first in place of the other makes no difference, and nobody need be forked. "The same" is meant strictly,
 * because workers see memory as it was at the fork: equal primitive values, functions for which all this holds in
 * turn, and what belongs to JavaScript or to node. An object, an array, a Map, a class: may have changed since, and
 * so the function counts as another one.
 *
 * What a function closes over is read with the inspector, some 0.2 ms: a tenth of what a fork costs.
 */

import { builtinModules, createRequire } from 'node:module';
import { readingClosures, UNREADABLE, type Closure, type ReadClosure } from '../node_internals.js';

/** Beyond so many functions that call each other a fork is cheaper than looking. */
const MOST_FUNCTIONS = 64;
/** What the source has of these depends on how the function came to be; or changes, as the environment does. */
const OPAQUE = new Set(['this', 'super', 'arguments', 'eval', 'import', 'env']);
const NAMES = /[\p{ID_Start}$_][\p{ID_Continue}$]*/gu;

/** Numbers for what never changes. */
const constants = new WeakMap<object, number>();
let lastConstant = 0;

function constant(value: object): string {
  let number = constants.get(value);
  if (number === undefined) constants.set(value, (number = ++lastConstant));
  return `#${number}`;
}

let builtins: Set<unknown> | undefined;

/** Whether it is what a module of node exports. */
function isOfNode(value: object): boolean {
  if (builtins === undefined) {
    const load = createRequire(import.meta.url);
    const { moduleLoadList } = process as unknown as { moduleLoadList: string[] };
    builtins = new Set([globalThis, process, console]);
    for (const name of builtinModules) {
      if (name.startsWith('_') || !moduleLoadList.includes(`NativeModule ${name}`)) continue;
      if (name !== 'sys' && name !== 'punycode') builtins.add(load(`node:${name}`));
    }
  }
  return builtins.has(value);
}

const globals = new Set(Object.getOwnPropertyNames(globalThis));

class Portrait {
  readonly #closure: ReadClosure;
  readonly #met = new Map<object, number>();

  constructor(closure: ReadClosure) {
    this.#closure = closure;
  }

  /** Undefined: it has something that may change. */
  of(fn: Function): string | undefined {
    const known = this.#met.get(fn);
    if (known !== undefined) return `@${known}`;
    if (this.#met.size === MOST_FUNCTIONS) return undefined;
    this.#met.set(fn, this.#met.size);
    const source = Function.prototype.toString.call(fn);
    if (source.endsWith('{ [native code] }')) {
      return fn.name.startsWith('bound ') ? undefined : constant(fn);
    }
    if (source.startsWith('class') || Object.keys(fn).length > 0) return undefined;
    // A name may be written with it.
    if (source.includes('\\u')) return undefined;
    const names = new Set(source.match(NAMES));
    for (const name of OPAQUE) if (names.has(name)) return undefined;
    const closure = this.#closure(fn, names);
    if (closure === undefined) return undefined;
    const parts = [closure.location];
    for (const name of names) {
      const part = this.#variable(name, closure);
      if (part === undefined) return undefined;
      if (part !== '') parts.push(`${name}=${part}`);
    }
    return parts.join('|');
  }

  /** Empty: it means nothing outside of the function. */
  #variable(name: string, { variables }: Closure): string | undefined {
    if (!variables.has(name)) {
      // What the program has made global itself may change.
      return name in globalThis && !globals.has(name) ? undefined : '';
    }
    const value = variables.get(name);
    if (value === UNREADABLE) return undefined;
    if (typeof value === 'function') return this.of(value);
    if (typeof value === 'object' && value !== null) {
      return isOfNode(value) ? constant(value) : undefined;
    }
    if (typeof value === 'symbol') return undefined;
    return `${typeof value}:${Object.is(value, -0) ? '-0' : JSON.stringify(String(value))}`;
  }
}

/**
 * A text that two functions have in common when one can stand for the other; undefined: it has something that may
 * change, or this build of node does not show it.
 */
export function portrait(fn: Function): string | undefined {
  try {
    return readingClosures((closure) => new Portrait(closure).of(fn));
  } catch {
    return undefined;
  }
}
