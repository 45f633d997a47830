/**
 * What a fork needs from inside node and cannot have from its public API: the lists that hold the
 * parent's timers, immediates and ticks, and the module loader.
 *
 * They are variables of node's own modules. An inspector session connected to this very isolate shows the
 * scope of a public function of such a module, and with it the variables. Nothing is paused, no flag is
 * needed, no port is opened, and the session is closed again at once. The names are the same on Node 20 to
 * 26; one that is missing makes `fork` refuse, by name, before anything happens.
 *
 * Only fork.ts, fork_child.ts and, for the modules that are loaded, references.ts may import this file. It is
 * used at the first fork, or when an ES module is searched for a function, not when the package is loaded: it
 * costs some milliseconds.
 */

import type Inspector from 'node:inspector';
import { register } from 'node:module';
import { replacedHandler } from './at_fork.js';
import { lazyBuiltin } from './lazy_builtin.js';

/** A timer or immediate in one of node's linked lists; of timers, the list itself is in the ring. */
interface LinkedTimer {
  _idleNext: LinkedTimer | null;
  _destroyed?: boolean;
}

interface LinkedImmediate extends LinkedTimer {
  _idleNext: LinkedImmediate | null;
  hasRef(): boolean;
}

/** node's variables, as far as a fork needs them. */
export interface NodeInternals {
  /** node's own `require`, for its internal modules. */
  require: (id: string) => Record<string, unknown>;
  timerListMap: Record<string, LinkedTimer>;
  timerListQueue: { peek(): unknown; shift(): unknown };
  immediateQueue: { head: LinkedImmediate | null; tail: LinkedImmediate | null };
  /** count, reference count, has-outstanding */
  immediateInfo: Uint32Array;
  /** `timeoutInfo` counts the timers that keep the loop. */
  timersBinding: {
    timeoutInfo: Int32Array;
    toggleImmediateRef(ref: boolean): void;
    toggleTimerRef(ref: boolean): void;
    setupTimers(processImmediate: unknown, processTimers: unknown): void;
  };
  tickQueue: { isEmpty(): boolean; shift(): unknown };
  /** has-tick-scheduled, has-rejection-to-warn */
  tickInfo: Uint8Array | Int32Array;
  /**
   * Rejections that node has seen and not yet judged: a fork between `Promise.reject()` and its `catch` must
   * not end the child.
   */
  pendingUnhandledRejections: Map<unknown, unknown>;
  runNextTicks: () => void;
  initHooksExist: () => boolean;
  /** From Node 22 on. */
  AsyncContextFrame?: { current?(): unknown };
  hasAsyncIdStack: () => boolean;
  clearAsyncIdStack: () => void;
}

type Variables = Record<string, unknown>;

/** For each function, the values of the named variables of the module that made it. */
type Wanted = { of: unknown; names: Record<string, string> };

/** What a function is made of. */
export interface Closure {
  /** Script, line and column. */
  location: string;
  /** Those that were optimised away, or are not initialised yet, are UNREADABLE. */
  variables: Map<string, unknown>;
}

export const UNREADABLE = Symbol('unreadable');

class ScopeReader {
  readonly #session = new (lazyBuiltin('node:inspector').Session)();
  readonly #key = `node-multiprocessing:${process.pid}:${performance.now()}`;
  readonly #exchange: { input: unknown; output: unknown } = { input: undefined, output: undefined };
  readonly #global = globalThis as unknown as Variables;
  #root = '';

  open(): void {
    this.#session.connect();
    this.#global[this.#key] = this.#exchange;
    const expression = `globalThis[${JSON.stringify(this.#key)}]`;
    this.#root = this.#objectId(this.#post('Runtime.evaluate', { expression }).result);
  }

  close(): void {
    delete this.#global[this.#key];
    this.#session.disconnect();
  }

  /** The variables that `fn` closes over: its innermost scope, with the ids of their values. */
  variables(fn: unknown): Map<string, string> {
    const { internalProperties } = this.#properties(this.#show(fn));
    const scopes = internalProperties?.find(({ name }) => name === '[[Scopes]]');
    const [innermost] = this.#properties(this.#objectId(scopes?.value)).result;
    const found = new Map<string, string>();
    for (const { name, value } of this.#properties(this.#objectId(innermost?.value)).result) {
      if (value?.objectId !== undefined) found.set(name, value.objectId);
    }
    return found;
  }

  /** Where the source of `fn` begins, and the variables of these names in its reach; global ones excepted. */
  closure(fn: unknown, names: ReadonlySet<string>): Closure | undefined {
    const { internalProperties } = this.#properties(this.#show(fn));
    const at = internalProperties?.find(({ name }) => name === '[[FunctionLocation]]')?.value
      ?.value as Inspector.Debugger.Location | undefined;
    const scopes = internalProperties?.find(({ name }) => name === '[[Scopes]]');
    if (at === undefined || scopes === undefined) return undefined;
    const variables = new Map<string, unknown>();
    for (const { value: scope } of this.#properties(this.#objectId(scopes.value)).result) {
      if (scope?.description === undefined || scope.description === 'Global') continue;
      for (const { name, value } of this.#properties(this.#objectId(scope)).result) {
        // The innermost of a name counts.
        if (names.has(name) && !variables.has(name)) variables.set(name, this.#local(value));
      }
    }
    return { location: `${at.scriptId}:${at.lineNumber}:${at.columnNumber ?? 0}`, variables };
  }

  #local(remote: Inspector.Runtime.RemoteObject | undefined): unknown {
    if (remote === undefined) return UNREADABLE;
    if (remote.objectId !== undefined) return this.value(remote.objectId);
    const text = remote.unserializableValue;
    if (text === undefined) return remote.value;
    // Numbers that JSON lacks, and bigints.
    return text.endsWith('n') ? BigInt(text.slice(0, -1)) : Number(text);
  }

  /** All objects that have `prototype` in their chain. A garbage collection comes first. */
  heirs(prototype: object): object[] {
    const { objects } = this.#post('Runtime.queryObjects', {
      prototypeObjectId: this.#show(prototype),
    }) as Inspector.Runtime.QueryObjectsReturnType;
    return this.value(this.#objectId(objects)) as object[];
  }

  /** An id for a value. */
  #show(value: unknown): string {
    this.#exchange.input = value;
    const handle = this.#post('Runtime.callFunctionOn', {
      objectId: this.#root,
      functionDeclaration: 'function () { return this.input; }',
    });
    return this.#objectId(handle.result);
  }

  /** The value itself, for an id. */
  value(objectId: string): unknown {
    this.#post('Runtime.callFunctionOn', {
      objectId: this.#root,
      functionDeclaration: 'function (value) { this.output = value; }',
      arguments: [{ objectId }],
    });
    return this.#exchange.output;
  }

  #properties(objectId: string): Inspector.Runtime.GetPropertiesReturnType {
    return this.#post('Runtime.getProperties', { objectId, ownProperties: true });
  }

  #objectId(remote: Inspector.Runtime.RemoteObject | undefined): string {
    if (remote?.objectId === undefined) throw new Error('the inspector did not show a scope');
    return remote.objectId;
  }

  /** A session on the own isolate answers before `post` returns. */
  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  #post(method: string, parameters: object): any {
    let failure: unknown;
    let answer: unknown;
    this.#session.post(method, parameters, (error, result) => {
      failure = error;
      answer = result;
    });
    if (failure) throw new Error(`${method}: ${JSON.stringify(failure)}`);
    return answer;
  }
}

/** @throws Error this build of node has no inspector, or it does not show what is asked for. */
function reading<T>(body: (reader: ScopeReader) => T): T {
  const reader = new ScopeReader();
  reader.open();
  try {
    return body(reader);
  } finally {
    reader.close();
  }
}

function read(wanted: readonly Wanted[], optional = false): Variables {
  const found: Variables = {};
  reading((reader) => {
    for (const { of, names } of wanted) {
      const variables = reader.variables(of);
      for (const [name, as] of Object.entries(names)) {
        const id = variables.get(name);
        if (id !== undefined) found[as] = reader.value(id);
        else if (!optional) throw new Error(`node's variable '${name}' was not found`);
      }
    }
  });
  return found;
}

/** Calls `body` with a way to see what functions close over. @throws Error the inspector is not to be had. */
export function readingClosures<T>(body: (closure: ReadClosure) => T): T {
  return reading((reader) => body((fn, names) => reader.closure(fn, names)));
}

export type ReadClosure = (fn: unknown, names: ReadonlySet<string>) => Closure | undefined;

/** All error classes of the program, whether or not anybody can name them. Collects garbage first. */
export function allErrorClasses(): Function[] {
  return reading((reader) =>
    reader.heirs(Error.prototype).flatMap((object) => {
      const Class = Object.getOwnPropertyDescriptor(object, 'constructor')?.value as unknown;
      const isPrototype = typeof Class === 'function' && Class.prototype === object;
      return isPrototype ? [Class as Function] : [];
    }),
  );
}

let internals: NodeInternals | undefined;

/** @throws Error when this build of node hides them (no inspector, `--permission`, other names). */
export function nodeInternals(): NodeInternals {
  if (internals !== undefined) return internals;
  const found = read([
    {
      of: clearTimeout,
      names: {
        require: 'require',
        timerListMap: 'timerListMap',
        timerListQueue: 'timerListQueue',
        immediateQueue: 'immediateQueue',
        immediateInfo: 'immediateInfo',
        binding: 'timersBinding',
      },
    },
    {
      of: process.nextTick,
      names: {
        queue: 'tickQueue',
        tickInfo: 'tickInfo',
        initHooksExist: 'initHooksExist',
        runNextTicks: 'runNextTicks',
      },
    },
    {
      of: (replacedHandler() ?? fatalException()) as Fatal,
      names: { clearAsyncIdStack: 'clearAsyncIdStack', hasAsyncIdStack: 'hasAsyncIdStack' },
    },
  ]) as unknown as NodeInternals;
  const { processPromiseRejections } = found.require('internal/process/promises');
  const names = { pendingUnhandledRejections: 'pendingUnhandledRejections' };
  internals = {
    ...found,
    ...read([{ of: processPromiseRejections, names }]),
    ...read([{ of: process.nextTick, names: { AsyncContextFrame: 'AsyncContextFrame' } }], true),
  };
  return internals;
}

export type Fatal = (error: unknown, fromPromise: boolean) => boolean;

/** node's handler of uncaught errors, which C++ looks up on `process` each time. */
export function fatalException(): Fatal {
  return (process as unknown as { _fatalException: never })._fatalException;
}

/** The buffers that node fills with random bytes ahead of `randomUUID` and `randomInt`. */
export function randomCaches(crypto: { randomUUID: unknown; randomInt: unknown }): Uint8Array[] {
  const { uuid, uuidPlain, int } = read(
    [
      { of: crypto.randomUUID, names: { uuidData: 'uuid', uuidNotBuffered: 'uuidPlain' } },
      { of: crypto.randomInt, names: { randomCache: 'int' } },
    ],
    true,
  );
  return [uuid, uuidPlain, int].filter((cache) => cache instanceof Uint8Array);
}

/** node's word to V8 on whether an uncaught error aborts, with `--abort-on-uncaught-exception`. */
export function abortToggle(): Uint32Array | undefined {
  const of = process.setUncaughtExceptionCaptureCallback;
  const { toggle } = read([{ of, names: { shouldAbortOnUncaughtToggle: 'toggle' } }], true);
  return toggle as Uint32Array | undefined;
}

export interface ModuleLoader {
  loadCache: unknown;
  setCustomizations?(none: undefined): void;
}

/** node's getter of the loader behind `import()`. */
export function moduleLoaderGetter(): (() => ModuleLoader) | undefined {
  const names = { getOrInitializeCascadedLoader: 'getter' };
  const { getter } = read([{ of: register, names }], true);
  return getter as (() => ModuleLoader) | undefined;
}
