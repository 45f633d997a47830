/**
 * What costs a millisecond or more to load and what many programs never need: modules of node, and parts of this
 * package. Loaded at first use, so that importing the package stays cheap.
 */

import type * as Dgram from 'node:dgram';
import type * as Inspector from 'node:inspector';
import { createRequire } from 'node:module';
import type * as Net from 'node:net';
import type * as Os from 'node:os';
import type * as Stream from 'node:stream';
import type * as V8 from 'node:v8';
import type * as Vm from 'node:vm';
import type * as WorkerThreads from 'node:worker_threads';

interface Builtins {
  'node:dgram': typeof Dgram;
  'node:inspector': typeof Inspector;
  'node:net': typeof Net;
  'node:os': typeof Os;
  'node:stream': typeof Stream;
  'node:v8': typeof V8;
  'node:vm': typeof Vm;
  'node:worker_threads': typeof WorkerThreads;
}

let load: NodeJS.Require | undefined;

/** The module `id` of node. Whoever needs it in a child loads it in the parent, before the fork. */
export function lazyBuiltin<Id extends keyof Builtins>(id: Id): Builtins[Id] {
  load ??= createRequire(import.meta.filename);
  return load(id) as Builtins[Id];
}

let os: typeof Os | undefined;

/** `os.constants`: the numbers of signals and errors. */
export function osConstants(): typeof Os.constants {
  return (os ??= lazyBuiltin('node:os')).constants;
}

/** Entries of lib/ beside the one that is being imported. */
type Part =
  | 'codec'
  | 'compiled'
  | 'connection'
  | 'forkChild'
  | 'forkserver'
  | 'handles'
  | 'index'
  | 'pool'
  | 'sharedMemory'
  | 'spawn';

/** A part of the package. As of node's modules: who needs it in children loads it before the fork. */
export function lazyPart<T>(name: Part): T {
  load ??= createRequire(import.meta.filename);
  return load(`./${name}.cjs`) as T;
}
