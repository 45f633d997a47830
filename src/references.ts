/**
 * Functions and classes by reference: a name that stands for the same thing in another process.
 *
 * The counterpart of `save_global` in CPython's `pickle.py`. JavaScript's functions do not know the module that
 * made them, so a reference is one of four things, looked for in this order:
 *
 * - a registered name (`register`): found in every process that registered it too, so in each one forked later,
 *   and in each one that runs the module which registers at its top level;
 * - a name of JavaScript itself: `Map`, `Math.max`;
 * - an export of a module that is loaded: by the file for CommonJS, by the URL for an ES module. The latter are
 *   those that `registerModule` named and, where the inspector can show node's loader, all others;
 * - an export of one of node's own modules.
 *
 * What is found is remembered by the function; what is not is looked for again, because modules go on being
 * loaded. Where a function stands in V8's eyes (script and line) is not asked: it takes the inspector, and names
 * a file but no export.
 *
 * References are resolved by name, which may load a CommonJS module: as with pickle, bytes from a stranger must
 * not be read.
 *
 * Only codec/ may import this file: it is loaded with it, late. registry.ts keeps what was registered.
 */

import { createRequire, isBuiltin } from 'node:module';
import { isAbsolute, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { UnpicklingError } from './errors.js';
import { lazyPart } from './lazy_builtin.js';
import { moduleLoaderGetter, type ModuleLoader } from './node_internals.js';
import {
  BUILTIN,
  FILE,
  GLOBAL,
  KIN,
  missing,
  namespaces,
  REGISTERED,
  type Reference,
  references,
  registered,
  registryVersion,
  URL_OF_MODULE,
} from './registry.js';

export type Class = abstract new (...args: never[]) => object;

export { BUILTIN, FILE, GLOBAL, KIN, REGISTERED, registryVersion, URL_OF_MODULE };
export type { Reference };

// -------------------------------------------------------------------------------------------------
// Finding

type Exports = Record<string, unknown>;

/** The reference of a function or class, undefined: it has none (now). */
export function referenceOf(value: object): Reference | undefined {
  const known = references.get(value);
  if (known !== undefined) return known;
  const found = search(value);
  if (found !== undefined) references.set(value, found);
  return found;
}

/** Own name and value, without running what the program wrote. */
function ownText(value: object, key: string): string {
  const own = Object.getOwnPropertyDescriptor(value, key)?.value as unknown;
  return typeof own === 'string' ? own : '';
}

function search(value: object): Reference | undefined {
  const name = ownText(value, 'name');
  return (
    searchGlobals(value, name) ??
    searchNamespaces(value, name) ??
    searchFiles(value, name) ??
    searchBuiltins(value, name) ??
    searchLoaded(value, name)
  );
}

/** JavaScript's own objects that have functions. */
const GLOBAL_OBJECTS =
  'Object Array ArrayBuffer Atomics BigInt Buffer Date Error JSON Map Math Number Promise Proxy Reflect String Symbol URL'.split(
    ' ',
  );

function searchGlobals(value: object, name: string): Reference | undefined {
  if (name === '') return undefined;
  const globals = globalThis as unknown as Exports;
  const answer = (...names: string[]): Reference => ({ kind: GLOBAL, where: '', names });
  // A function that the program made global itself is not so everywhere.
  if (dataOf(globals, name) === value && isNative(value)) return answer(name);
  for (const object of GLOBAL_OBJECTS) {
    if (dataOf(globals[object] as object, name) === value) return answer(object, name);
  }
  // Classes that node defines when they are first asked for are accessors.
  return isClass(value) && name in globals && globals[name] === value ? answer(name) : undefined;
}

/** True of JavaScript's built-in functions and of node's: what the program made itself is not global. */
function isNative(value: object): boolean {
  const source = Function.prototype.toString.call(value);
  return source.endsWith('{ [native code] }') || isClass(value);
}

function isClass(value: object): boolean {
  return Function.prototype.toString.call(value).startsWith('class');
}

function dataOf(object: object, key: string): unknown {
  return Object.getOwnPropertyDescriptor(object, key)?.value;
}

function searchNamespaces(value: object, name: string): Reference | undefined {
  for (const [where, namespace] of namespaces) {
    const names = pathTo(value, name, namespace, true);
    if (names !== undefined) return { kind: URL_OF_MODULE, where, names };
  }
  return undefined;
}

/** node's own loader of ES modules, once it was looked for; it is found through the inspector. */
let loaderOf: (() => ModuleLoader) | null | undefined;

interface ModuleJob {
  module?: { getNamespace(): Exports };
}

/** The ES modules that node has loaded, the main module among them, also while they are running. */
function* loadedNamespaces(): Generator<[url: string, namespace: Exports]> {
  let jobs: [string, Record<string, ModuleJob>][];
  try {
    if (loaderOf === undefined) loaderOf = moduleLoaderGetter() ?? null;
    jobs = loaderOf === null ? [] : [...(loaderOf().loadCache as Map<string, never>)];
  } catch {
    loaderOf = null; // This build of node hides it: what registerModule() named is all there is.
    return;
  }
  for (const [url, variants] of jobs) {
    if (!url.startsWith('file:')) continue;
    for (const job of Object.values(variants)) {
      let namespace: Exports | undefined;
      try {
        namespace = job.module?.getNamespace();
      } catch {
        // Not linked yet.
      }
      if (namespace !== undefined) yield [url, namespace];
    }
  }
}

function searchLoaded(value: object, name: string): Reference | undefined {
  for (const [where, namespace] of loadedNamespaces()) {
    const names = pathTo(value, name, namespace, true);
    if (names !== undefined) return { kind: URL_OF_MODULE, where, names };
  }
  return undefined;
}

function searchFiles(value: object, name: string): Reference | undefined {
  // Nearly always the export is called as the function is.
  for (const thorough of [false, true]) {
    for (const [where, module] of Object.entries(requireFrom().cache)) {
      const names = pathTo(value, name, module?.exports, thorough);
      if (names !== undefined && isAbsolute(where)) return { kind: FILE, where, names };
    }
  }
  return undefined;
}

function searchBuiltins(value: object, name: string): Reference | undefined {
  const { moduleLoadList } = process as unknown as { moduleLoadList: string[] };
  for (const entry of moduleLoadList) {
    const where = /^NativeModule ([a-z_0-9]+(?:\/[a-z]+)?)$/.exec(entry)?.[1];
    if (where === undefined || !isBuiltin(where) || where.startsWith('_')) continue;
    if (where === 'sys' || where === 'punycode') continue; // Deprecated: loading them warns.
    const names = pathTo(value, name, requireFrom()(`node:${where}`), false);
    if (names !== undefined) return { kind: BUILTIN, where, names };
  }
  return undefined;
}

let require: NodeJS.Require | undefined;
function requireFrom(): NodeJS.Require {
  return (require ??= createRequire(import.meta.filename));
}

/** The names that lead from a module's exports to `value`. */
function pathTo(
  value: object,
  name: string,
  exports: unknown,
  thorough: boolean,
): string[] | undefined {
  if (exports === value) return [];
  if (!canHaveProperties(exports)) return undefined;
  if (name !== '' && exportOf(exports, name) === value) return [name];
  if (exportOf(exports, 'default') === value) return ['default'];
  if (!thorough) return undefined;
  for (const key of exportedNames(exports)) {
    const found = exportOf(exports, key, key === name);
    if (found === value) return [key];
    // A static method, or one level of grouping: what Python's __qualname__ gives.
    if (canHaveProperties(found) && name !== '' && key !== 'prototype') {
      if (dataOf(found, name) === value) return [key, name];
    }
  }
  return undefined;
}

function canHaveProperties(value: unknown): value is Exports {
  return (typeof value === 'object' && value !== null) || typeof value === 'function';
}

function exportedNames(exports: Exports): string[] {
  try {
    return Object.keys(exports);
  } catch {
    return []; // A Proxy, or an ES module on its way.
  }
}

/**
 * A getter is how compilers write `export { name } from`, and how packages load their parts late: it is only
 * called for the very name that is wanted.
 */
function exportOf(exports: Exports, key: string, wanted = true): unknown {
  try {
    const descriptor = Object.getOwnPropertyDescriptor(exports, key);
    if (descriptor === undefined) return undefined;
    if (descriptor.get === undefined) return descriptor.value;
    return wanted && key !== 'default' ? exports[key] : undefined;
  } catch {
    return undefined; // A binding of an ES module that is not initialised yet.
  }
}

// -------------------------------------------------------------------------------------------------
// Resolving

/** @throws UnpicklingError there is nothing of this name here; the message has the remedy. */
export function resolve({ kind, where, names }: Reference): object {
  const root = rootOf(kind, where, names);
  let found = root;
  for (const name of names) {
    if (!canHaveProperties(found) || !(Object.hasOwn(found, name) && name !== '__proto__')) {
      throw new UnpicklingError(
        `${placeOf(kind, where)} has no '${names.join('.')}' in this process`,
      );
    }
    found = (found as Exports)[name];
  }
  if (typeof found !== 'function') {
    throw new UnpicklingError(`'${names.join('.')}' of ${placeOf(kind, where)} is not a function`);
  }
  if (!references.has(found)) references.set(found, { kind, where, names });
  return found;
}

function placeOf(kind: number, where: string): string {
  if (kind === GLOBAL) return 'JavaScript';
  return kind === BUILTIN ? `node:${where}` : `the module ${where}`;
}

/** What a worker of a pool runs: the program may never have made a pool there. */
const POOL_WORKER = 'multiprocessing.pool.work';

function rootOf(kind: number, where: string, names: readonly string[]): unknown {
  switch (kind) {
    case REGISTERED: {
      if (where === POOL_WORKER && !registered.has(where)) lazyPart('pool');
      const found = registered.get(where);
      if (found !== undefined && names.length === 0) return found;
      throw new UnpicklingError(
        `nothing is registered as '${where}' in this process: call reduction.register() before the fork, or ` +
          'at the top level of a module that both processes load',
      );
    }
    case GLOBAL:
      return globalThis;
    case FILE:
      return loaded(where);
    case URL_OF_MODULE: {
      const found = namespaces.get(where);
      if (found !== undefined) return found;
      for (const [url, namespace] of loadedNamespaces()) if (url === where) return namespace;
      return requireUrl(where);
    }
    case BUILTIN:
      if (isBuiltin(where)) return requireFrom()(`node:${where}`);
      throw new UnpicklingError(`this version of Node has no module '${where}'`);
    default:
      throw new UnpicklingError(`unknown kind of reference: ${kind}`);
  }
}

/** Later versions of node can load an ES module synchronously, unless it awaits something at its top level. */
function requireUrl(url: string): unknown {
  let cause: unknown;
  if (
    (process.features as { require_module?: boolean }).require_module &&
    /^file:[^?#]*$/.test(url)
  ) {
    try {
      return requireFrom()(fileURLToPath(url));
    } catch (error) {
      cause = error;
    }
  }
  const error = new UnpicklingError(
    `the ES module ${url} is not known in this process, and cannot be loaded synchronously: import it ` +
      'here before, and name it there with reduction.registerModule(import.meta.url, namespace)',
    cause === undefined ? {} : { cause },
  );
  missing.set(error, url);
  throw error;
}

function loaded(file: string): unknown {
  const { cache } = requireFrom();
  const module = Object.hasOwn(cache, file) ? cache[file] : undefined;
  if (module !== undefined) return module.exports;
  if (!isAbsolute(file)) throw new UnpicklingError(`not an absolute path: '${file}'`);
  try {
    return requireFrom()(file);
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new UnpicklingError(`the module ${file} cannot be loaded: ${why}`, { cause });
  }
}

// -------------------------------------------------------------------------------------------------
// About classes

const privacy = new WeakMap<object, boolean>();

/**
 * Whether the class, or one that it extends, declares private instance members (`#name`), which nobody but the
 * class's own code can read: an object made without its constructor lacks them. Judged by the source; what a
 * compiler has turned into WeakMaps is not seen.
 */
export function hasPrivateMembers(Class: object): boolean {
  for (let at: object | null = Class; typeof at === 'function'; at = Object.getPrototypeOf(at)) {
    if (declaresPrivateMembers(at)) return true;
  }
  return false;
}

/** Whether the class itself does. */
export function declaresPrivateMembers(Class: object): boolean {
  let own = privacy.get(Class);
  if (own === undefined) {
    own = declaresPrivate(Function.prototype.toString.call(Class));
    privacy.set(Class, own);
  }
  return own;
}

/** Comments and strings, which may contain anything. */
const OPAQUE =
  /\/\*[^]*?\*\/|\/\/.*|'(?:\\[^]|[^'\\\n])*'|"(?:\\[^]|[^"\\\n])*"|`(?:\\[^]|[^`\\])*`/g;
/** A member's declaration: at the beginning of a statement, followed by a value, parameters or an end. */
let privateMember: RegExp | undefined;

function declaresPrivate(source: string): boolean {
  if (!source.startsWith('class') || !source.includes('#')) return false;
  // No literal: one with properties costs half a millisecond when the module is loaded.
  privateMember ??= new RegExp(
    '(?:^|[{};\\n])\\s*(?:(?:async|get|set|accessor)\\s+)*\\*?\\s*' +
      '#[\\p{ID_Start}$_][\\p{ID_Continue}$]*\\s*(?:[=;(}\\n]|$)',
    'u',
  );
  return privateMember.test(source.replace(OPAQUE, "''"));
}

/** The package's own classes can be found, being exports; their objects are more than their properties. */
export function isOfLibrary({ where }: Reference): boolean {
  return where.startsWith(LIBRARY);
}

const LIBRARY = import.meta.dirname + sep;
