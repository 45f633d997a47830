/**
 * The child's side of a fork: what has to be made right in a copied node before its program goes on.
 *
 * `beginChild` runs first thing in the child of a Process, still on the parent's stack; when it is done,
 * nothing of the parent acts any more: no timer, tick, immediate, socket, listener, signal handler or
 * pending output. `continueInChild` does the smaller part that os.fork needs.
 *
 * A child pays for every page it touches first, so as much as possible happens in the parent:
 * - `installSwitches`, at its first fork, puts accessors and wrappers on `process` that behave as node's
 *   own until a variable says that this is a child;
 * - `planFork`, before each fork, finds out which steps the child needs at all;
 * - `compiledBeforeFork` has functions compiled that only a child runs.
 *
 * Loaded by the first fork, by fork.ts alone: a program that never forks does not compile it. What other modules have
 * to say about forks they tell at_fork.ts.
 */

import type Crypto from 'node:crypto';
import type Dns from 'node:dns';
import { createReadStream } from 'node:fs';
import type { Worker } from 'node:worker_threads';
import {
  compiledBeforeFork,
  describe,
  dieOf,
  forgetIdentity,
  forgetParent,
  isRehearsal,
  livingWorkers,
  rehearse,
  showUncaught,
  takeLastSteps,
  writeStderr,
} from './at_fork.js';
import { lazyBuiltin, osConstants } from './lazy_builtin.js';
import { native } from './native.js';
import {
  abortToggle,
  fatalException,
  moduleLoaderGetter,
  nodeInternals,
  randomCaches,
  type Fatal,
  type ModuleLoader,
  type NodeInternals,
} from './node_internals.js';

// -------------------------------------------------------------------------------------------------
// What a child consists of, decided in the parent

/** In the parent, once, before its first fork. @throws Error this build of node hides what is needed. */
export function prepareForks(): void {
  if (switched) return;
  internals = nodeInternals();
  installSwitches();
  switched = true;
  const options = [...process.execArgv, process.env['NODE_OPTIONS'] ?? ''];
  if (options.some((option) => /abort[-_]on[-_]uncaught/.test(option))) abort = abortToggle();
  // What a child may want of node is loaded here, once.
  for (const id of ['node:stream', 'node:v8', 'node:vm'] as const) lazyBuiltin(id);
  osConstants();
  // Dropping a listener of the real process runs code of node's that is compiled at its first use.
  const probe = Symbol('probe') as never;
  process.on(probe, () => {});
  process.on(probe, () => {});
  process.removeAllListeners(probe);
  rehearse();
}

/** There if the program aborts on an uncaught exception, which V8 takes the unwinding for. */
let abort: Uint32Array | undefined;
let internals: NodeInternals;
let switched = false;

/** The steps that the next child needs, as the parent is at this moment. */
interface Plan {
  timers: boolean;
  ticks: boolean;
  asyncIds: boolean;
  events: (string | symbol)[];
  /** The parent's listeners for 'exit'. */
  exitListeners: unknown[];
  captureCallback: boolean;
  exitCode: boolean;
  sockets: SocketLike[];
  workers: Worker[];
  connected: boolean;
  dispatchers: symbol[];
}

let plan: Plan;

/** In the parent, after the fork: what the plan names may be collected. */
export function dropPlan(): void {
  plan.sockets = [];
  plan.workers = [];
}

/** Whether an AsyncLocalStorage has a value here, or async hooks watch. */
export function hasAsyncContext(): boolean {
  const { initHooksExist, AsyncContextFrame } = internals;
  return initHooksExist() || AsyncContextFrame?.current?.() !== undefined;
}

/** In the parent, before each fork. Answers whether there are Workers. */
export function planFork(): boolean {
  const { timerListQueue, immediateQueue, immediateInfo, timersBinding, tickQueue, tickInfo } =
    internals;
  noteModules();
  plan = {
    timers:
      timerListQueue.peek() !== undefined ||
      immediateQueue.head !== null ||
      immediateInfo[0] !== 0 ||
      immediateInfo[1] !== 0 ||
      immediateInfo[2] !== 0 ||
      timersBinding.timeoutInfo[0] !== 0,
    ticks:
      !tickQueue.isEmpty() ||
      tickInfo[0] !== 0 ||
      tickInfo[1] !== 0 ||
      internals.pendingUnhandledRejections.size > 0,
    asyncIds: internals.hasAsyncIdStack(),
    events: process.eventNames().filter(isParentEvent),
    exitListeners: process.listeners('exit'),
    captureCallback: process.hasUncaughtExceptionCaptureCallback(),
    exitCode: process.exitCode !== undefined,
    sockets: activeSockets(),
    workers: livingWorkers(),
    connected: process.connected,
    dispatchers: Object.getOwnPropertySymbols(globalThis).filter(isDispatcher),
  };
  return plan.workers.length > 0;
}

/** Modules of node that hold state which a child must renew, once the program has loaded them. */
const MODULES = {
  http: 'NativeModule _http_agent',
  https: 'NativeModule https',
  dns: 'NativeModule dns',
  cluster: 'NativeModule internal/cluster/child',
  hooks: 'NativeModule internal/modules/esm/hooks',
  random: 'NativeModule internal/crypto/random',
};
const loaded = {
  http: false,
  https: false,
  dns: false,
  cluster: false,
  hooks: false,
  random: false,
};
let modulesSeen = 0;
let moduleLoader: (() => ModuleLoader) | undefined;
let caches: Uint8Array[] = [];

function noteModules(): void {
  const list = (process as unknown as { moduleLoadList: string[] }).moduleLoadList;
  // The list only grows: look when it has.
  if (list.length !== modulesSeen) {
    modulesSeen = list.length;
    for (const [name, entry] of Object.entries(MODULES)) {
      loaded[name as keyof typeof loaded] ||= list.includes(entry);
    }
  }
  if (loaded.random && caches.length === 0) {
    const crypto = builtin<typeof Crypto>('crypto');
    crypto.randomUUID(); // Makes node create the buffer.
    caches = randomCaches(crypto);
  }
  if (loaded.hooks) moduleLoader ??= moduleLoaderGetter();
}

/** A public module of node that the program has loaded already; loading it here costs nothing. */
function builtin<T>(id: string): T {
  return internals.require(id) as T;
}

// -------------------------------------------------------------------------------------------------
// The two beginnings

/**
 * In the child of a Process, on the old stack, with asynchronous signals blocked.
 *
 * @param stdio bit 1, 2: the parent's stream on that descriptor had a handle.
 */
export function beginChild(stdio: number): void {
  if (isRehearsal()) {
    identify();
    return;
  }
  try {
    identify();
    quiet(stdio);
  } catch (error) {
    // A step that fails leaves a process nobody can vouch for.
    writeStderr(`node-multiprocessing: a forked child cannot start: ${describe(error)}\n`);
    native.exitNow(1);
  }
  inherited = plan.exitListeners;
  isForked = true;
  processChild = true;
  unwinding = true;
  if (abort !== undefined) abort[0] = 0;
  // For now, and last, since finalisers come at any time, and behind the last immediate of a batch node has yet to tell
  // libuv that there is none: whatever is active loses its hold on the loop, for good. See endUnwinding.
  internals.timersBinding.toggleImmediateRef(false);
}

/** In the child of `fork()`: everything goes on, as a process of its own. */
export function continueInChild(): void {
  identify();
  forgetParent();
  native.forgetPoolRequests();
  isForked = true;
}

compiledBeforeFork(() => beginChild(0));

// -------------------------------------------------------------------------------------------------
// Who am I

function identify(): void {
  if (isRehearsal()) return;
  ownPid = native.getpid();
  forgetIdentity();
  randomSource = firstRandom;
  // node hands out randomUUID() and randomInt() from buffers filled ahead: siblings would share them.
  for (const cache of caches) native.fillRandom(cache);
}

/** Where Math.random's numbers come from. */
let randomSource: () => number;

/**
 * V8 seeds Math.random once per context, and the child has a copy of the state and of the numbers drawn
 * ahead. A new context, made under a fresh seed, has a generator of its own. Making one takes a
 * millisecond, so it waits for the first call.
 */
function firstRandom(): number {
  const seed = new Int32Array(1);
  native.fillRandom(new Uint8Array(seed.buffer));
  const v8 = lazyBuiltin('node:v8');
  v8.setFlagsFromString(`--random-seed=${seed[0]! | 1}`);
  randomSource = lazyBuiltin('node:vm').runInNewContext('Math.random') as () => number;
  randomSource(); // V8 draws its seed here.
  v8.setFlagsFromString('--random-seed=0');
  return randomSource();
}

function installRandom(): void {
  randomSource = Math.random;
  const { random } = {
    random(): number {
      return randomSource();
    },
  };
  Math.random = random;
}

// -------------------------------------------------------------------------------------------------
// Nothing of the parent acts

function quiet(stdio: number): void {
  if (isRehearsal()) return;
  if (plan.timers) emptyTimers();
  if (plan.ticks) emptyTicks();
  if (plan.asyncIds) internals.clearAsyncIdStack();
  for (const event of plan.events) process.removeAllListeners(event);
  if (plan.captureCallback) process.setUncaughtExceptionCaptureCallback(null);
  if (plan.exitCode) process.exitCode = undefined;
  for (const socket of plan.sockets) idleSocket(socket);
  for (const worker of plan.workers) endWorker(worker);
  stdoutMustConvert = stderrMustConvert = true;
  ownStdin = undefined;
  if ((stdio & 2) !== 0) stdoutOfChild();
  if ((stdio & 4) !== 0) stderrOfChild();
  if (plan.connected) leaveIpc();
  if (loaded.cluster) leaveCluster();
  if (loaded.http) renewAgent(builtin<AgentHolder>('http').globalAgent);
  if (loaded.https) renewAgent(builtin<AgentHolder>('https').globalAgent);
  if (loaded.dns) renewResolver();
  if (loaded.hooks && moduleLoader !== undefined) leaveLoaderHooks(moduleLoader());
  for (const symbol of plan.dispatchers) renewDispatcher(symbol);
}

compiledBeforeFork(() => quiet(0));

interface TimerCallbacks {
  getTimerCallbacks(runNextTicks: () => void): {
    processImmediate: unknown;
    processTimers: unknown;
  };
}

/** Marks what it drops as gone, so that a child may clear a timer of its parent's without being miscounted. */
function emptyTimers(): void {
  const { timerListMap, timerListQueue, immediateQueue, immediateInfo, timersBinding } = internals;
  for (const [duration, list] of Object.entries(timerListMap)) {
    for (let timer = list._idleNext; timer !== list && timer !== null; timer = timer._idleNext) {
      timer._destroyed = true;
    }
    delete timerListMap[duration];
  }
  while (timerListQueue.peek() !== undefined) timerListQueue.shift();
  // Those that keep the loop alive: JavaScript's, all but the ones without a reference, and native ones of node, such
  // as finalisers, which are not in this queue. They run in the child, and are subtracted then.
  let own = immediateInfo[0]!;
  for (let immediate = immediateQueue.head; immediate !== null; immediate = immediate._idleNext) {
    if (!immediate.hasRef()) own--;
    immediate._destroyed = true;
  }
  immediateQueue.head = null;
  immediateQueue.tail = null;
  // In the middle of a batch of immediates, or of timers, the rest of it is in variables of the two functions
  // that run them. New ones begin with none, and C++ is told of them.
  const { getTimerCallbacks } = internals.require('internal/timers') as unknown as TimerCallbacks;
  const { processImmediate, processTimers } = getTimerCallbacks(internals.runNextTicks);
  timersBinding.setupTimers(processImmediate, processTimers);
  // Nothing is allocated from here to the last of these lines: a garbage collection adds a native one for its
  // finalisers, and one that was not counted and is subtracted would have the loop turn for ever.
  const references = immediateInfo[1]! - own;
  immediateInfo[0] = 0;
  immediateInfo[1] = references > 0 ? references : 0;
  immediateInfo[2] = 0;
  timersBinding.timeoutInfo.fill(0);
  timersBinding.toggleTimerRef(false);
}

function emptyTicks(): void {
  const { tickQueue, tickInfo, pendingUnhandledRejections } = internals;
  while (!tickQueue.isEmpty()) tickQueue.shift();
  tickInfo.fill(0);
  pendingUnhandledRejections.clear();
}

/**
 * Events of `process` whose listeners speak for the parent. Warnings are still printed; those of 'exit' are
 * told apart at the child's exit.
 */
const PARENT_EVENTS = new Set<string | symbol>([
  'beforeExit',
  'uncaughtException',
  'uncaughtExceptionMonitor',
  'unhandledRejection',
  'rejectionHandled',
  'message',
  'internalMessage',
  'disconnect',
]);

function isParentEvent(event: string | symbol): boolean {
  return PARENT_EVENTS.has(event) || (typeof event === 'string' && event.startsWith('SIG'));
}

// ---- Sockets: silent, but usable --------------------------------------------------------------

interface SocketLike {
  _handle?: { reading?: boolean; fd?: number } | null;
  _readableState?: { reading: boolean; flowing: boolean | null };
  _writableState?: { length: number; writing?: boolean };
}

function activeSockets(): SocketLike[] {
  const handles = (process as unknown as { _getActiveHandles(): unknown[] })._getActiveHandles();
  return handles.filter((handle): handle is SocketLike => {
    const state = (handle as SocketLike | null)?._readableState;
    return state !== undefined && Boolean((handle as SocketLike)._handle);
  });
}

/** Makes a stream whose handle was silenced start anew when the child uses it. */
function idleSocket(socket: SocketLike): void {
  socket._handle!.reading = false;
  socket._readableState!.reading = false;
  socket._readableState!.flowing = null;
  const writable = socket._writableState;
  if (writable !== undefined && (writable.length > 0 || writable.writing)) forgetWrites(socket);
}

interface WritableInternals {
  WritableState: new (options: object, stream: unknown, isDuplex: boolean) => object;
}

/** Drops what the parent had buffered: the parent writes it. */
function forgetWrites(stream: object): void {
  const { WritableState } = lazyBuiltin('node:stream').Writable as unknown as WritableInternals;
  const isDuplex = '_readableState' in stream;
  (stream as { _writableState: object })._writableState = new WritableState(
    { decodeStrings: false, allowHalfOpen: false },
    stream,
    isDuplex,
  );
}

// ---- Workers ------------------------------------------------------------------------------------

/** What node's Worker holds of its thread. Kept, because the thread's destructor expects the thread to have ended. */
const threads: unknown[] = [];

/** The thread does not exist here: the object is as one of a Worker that has ended. */
function endWorker(worker: Worker): void {
  worker.unref(); // node counts it among what keeps the loop.
  const fields = worker as unknown as Record<symbol, unknown>;
  for (const key of Object.getOwnPropertySymbols(worker)) {
    if (!WORKER_FIELDS.has(key.description)) continue;
    const held = fields[key] as object;
    Object.assign(held, { onexit() {} }); // It may be ending this very moment.
    threads.push(held);
    fields[key] = null;
  }
}

const WORKER_FIELDS = new Set<string | undefined>(['kHandle', 'kPort', 'kPublicPort']);

// ---- Standard streams -------------------------------------------------------------------------
//
// Output is written at once and completely, as Python's print with a flush: nothing is pending when the
// child ends, and two writes never change places. Input is empty, as in Python.

type Output = NodeJS.WriteStream & { _type?: string; _writev?: unknown };

/** Set in a child until its stream writes at once. */
let stdoutMustConvert = false;
let stderrMustConvert = false;
let ownStdin: unknown;
let nodeStdout: () => Output;
let nodeStderr: () => Output;
let nodeStdin: () => unknown;

function stdoutOfChild(): Output {
  stdoutMustConvert = false;
  return writeAtOnce(nodeStdout.call(process), 1);
}

function stderrOfChild(): Output {
  stderrMustConvert = false;
  return writeAtOnce(nodeStderr.call(process), 2);
}

function stdinOfChild(): unknown {
  ownStdin ??= createReadStream('', { fd: 0, autoClose: false });
  return ownStdin;
}

function writeAtOnce(stream: Output, fd: number): Output {
  // A file's stream writes at once by itself.
  if (stream._type !== 'tty' && stream._type !== 'pipe') return stream;
  const writable = (stream as SocketLike)._writableState;
  if (writable !== undefined && (writable.length > 0 || writable.writing)) forgetWrites(stream);
  stream._writev = undefined;
  stream._write = (chunk: string | Uint8Array, encoding, callback: (error?: Error) => void) => {
    try {
      native.writeAllSync(fd, typeof chunk === 'string' ? Buffer.from(chunk, encoding) : chunk);
    } catch (error) {
      callback(error as Error);
      return;
    }
    callback();
  };
  return stream;
}

// ---- Connections to other processes -----------------------------------------------------------

/** `process.send` speaks to the parent's parent: not the child's business. */
function leaveIpc(): void {
  const gone = { value: undefined, configurable: true, writable: true };
  Object.defineProperties(process, {
    connected: { value: false, configurable: true, writable: true },
    send: gone,
    channel: gone,
    _channel: gone,
    disconnect: gone,
  });
}

function leaveCluster(): void {
  Object.assign(builtin<object>('cluster'), {
    isWorker: false,
    isPrimary: true,
    isMaster: true,
    worker: undefined,
  });
}

/**
 * Hooks installed by `module.register` run on a thread that does not exist in the child, and the main thread
 * would wait for it for ever. The child uses node's own loader, with the modules loaded so far: what only the
 * hooks could load is rejected.
 */
function leaveLoaderHooks(loader: ModuleLoader): void {
  if (loader.setCustomizations !== undefined) {
    loader.setCustomizations(undefined); // Node 20 and 22
    return;
  }
  const Loader = loader.constructor as new () => ModuleLoader;
  const plain = new Loader();
  plain.loadCache = loader.loadCache;
  for (const name of Object.getOwnPropertyNames(Loader.prototype)) {
    if (name === 'constructor') continue;
    const method = (plain as unknown as Record<string, unknown>)[name];
    if (typeof method !== 'function') continue;
    Object.defineProperty(loader, name, { value: method.bind(plain), configurable: true });
  }
}

interface Agent {
  sockets: object;
  freeSockets: object;
  requests: object;
  totalSocketCount: number;
}
interface AgentHolder {
  globalAgent: Agent;
}

/** The connections in the pool are the parent's: the same agent, empty. */
function renewAgent(agent: Agent): void {
  agent.sockets = Object.create(null) as object;
  agent.freeSockets = Object.create(null) as object;
  agent.requests = Object.create(null) as object;
  agent.totalSocketCount = 0;
}

/** c-ares holds sockets and queries of the parent: a new resolver with the same servers. */
function renewResolver(): void {
  const dns = builtin<typeof Dns>('dns');
  dns.setServers(dns.getServers());
}

/** fetch's connection pool is kept under well-known symbols by every copy of undici. */
function isDispatcher(symbol: symbol): boolean {
  return symbol.description?.startsWith('undici.globalDispatcher.') ?? false;
}

function renewDispatcher(symbol: symbol): void {
  const holder = globalThis as unknown as Record<symbol, object | undefined>;
  const Dispatcher = holder[symbol]?.constructor as (new () => object) | undefined;
  // A dispatcher that the program configured cannot be made again: registerAtFork is for that.
  if (Dispatcher?.name === 'Agent') holder[symbol] = new Dispatcher();
}

// -------------------------------------------------------------------------------------------------
// The way out
//
// A child ends by `_exit`: node's own teardown would join threads that do not exist, and look at modules
// whose evaluation was unwound. All ways lead through `process.emit`: the natural end through
// 'beforeExit', `process.exit()` and an uncaught error through 'exit'.

/** This process came to be by a fork. */
let isForked = false;
/** It is a Process's child, or descends from one. */
let processChild = false;
let ownPid = 0;

/** Between the fork and the child's main function: errors are V8's unwinding, seen by native code. */
let unwinding = false;

/** The child's main function begins, on an empty stack. */
export function endUnwinding(): void {
  unwinding = false;
  if (abort !== undefined && !isRehearsal()) abort[0] = 1;
  // node lets the first immediate of several hold the loop: the native ones of the parent were first.
  if (internals.immediateInfo[1] !== 0) internals.timersBinding.toggleImmediateRef(true);
}

type Emit = (this: unknown, event: string | symbol, ...args: unknown[]) => boolean;
let nodeEmit: Emit;
let nodeFatal: Fatal;
let coverage = false;

/** Puts our switches in front of what node has on `process`. In the parent they change nothing. */
function installSwitches(): void {
  ownPid = native.getpid();
  installRandom();
  coverage = Boolean(process.env['NODE_V8_COVERAGE']);
  nodeStdout = getterOf('stdout') as () => Output;
  nodeStderr = getterOf('stderr') as () => Output;
  nodeStdin = getterOf('stdin');
  define('pid', () => ownPid);
  define('stdout', () => (stdoutMustConvert ? stdoutOfChild() : nodeStdout.call(process)));
  define('stderr', () => (stderrMustConvert ? stderrOfChild() : nodeStderr.call(process)));
  define('stdin', () => (processChild ? stdinOfChild() : nodeStdin.call(process)));

  nodeEmit = process.emit as Emit;
  nodeFatal = fatalException();
  const reallyExit = (process as unknown as { reallyExit(code: number): never }).reallyExit;
  Object.assign(process, {
    emit(this: unknown, event: string | symbol, ...args: unknown[]) {
      if (isForked && (event === 'exit' || event === 'beforeExit')) {
        return emitInChild(event, args[0]);
      }
      return Reflect.apply(nodeEmit, this, [event, ...args]);
    },
    reallyExit: (code: number) => (isForked ? leave(code, false) : reallyExit.call(process, code)),
    _fatalException: (error: unknown, fromPromise: boolean) =>
      isForked ? handleUncaught(error, fromPromise) : nodeFatal(error, fromPromise),
  });
}

function getterOf(name: string): () => unknown {
  const descriptor = Object.getOwnPropertyDescriptor(process, name);
  return descriptor?.get ?? (() => descriptor?.value as unknown);
}

function define(name: string, get: () => unknown): void {
  const { enumerable = true } = Object.getOwnPropertyDescriptor(process, name) ?? {};
  // A setter as a data property would have: programs replace streams in their tests.
  const set = (value: unknown): void => {
    Object.defineProperty(process, name, { value, enumerable, configurable: true, writable: true });
  };
  Object.defineProperty(process, name, { get, set, enumerable, configurable: true });
}

function emitInChild(event: 'exit' | 'beforeExit', code: unknown): boolean {
  if (event === 'exit') return exit(code, false);
  const emitted = nodeEmit.call(process, event, code);
  // The loop is empty. What the listeners started in microtasks and ticks may have filled it again: look
  // when all of them have run.
  process.nextTick(() => {
    queueMicrotask(() => {
      process.nextTick(() => {
        if (!native.loopAlive()) exit(process.exitCode ?? 0, true);
      });
    });
  });
  return emitted;
}

/**
 * The child's main function has returned, its microtasks and ticks have run, and nothing keeps the event
 * loop. Such a child ends here: the way round the loop would have V8's platform start its worker threads
 * first, only to find them idle.
 */
export function endIdleChild(): void {
  if (isRehearsal()) return;
  // Whoever wants to be asked before the exit is asked by node, the long way.
  if (process.listenerCount('beforeExit') === 0) exit(process.exitCode ?? 0, true);
}

function exit(code: unknown, natural: boolean): never {
  if (isRehearsal()) return undefined as never;
  try {
    emitExit(code);
  } catch (error) {
    showUncaught(error);
    process.exitCode = 1;
  }
  return leave(code, natural);
}

/** The parent's listeners for 'exit', in a child. */
let inherited: unknown[] = [];

/** Runs the listeners that the child has added itself. Most children have none. */
function emitExit(code: unknown): void {
  if (!processChild) {
    nodeEmit.call(process, 'exit', code);
    return;
  }
  const listeners = process.listeners('exit');
  if (listeners.length === inherited.length && listeners.every(isInherited)) return;
  for (const listener of inherited) process.removeListener('exit', listener as () => void);
  nodeEmit.call(process, 'exit', code);
}

function isInherited(listener: unknown, index: number): boolean {
  return listener === inherited[index];
}

function leave(code: unknown, natural: boolean): never {
  if (isRehearsal()) return undefined as never;
  let last = Number(process.exitCode ?? code ?? 0);
  last = takeLastSteps(last, natural);
  if (coverage) lazyBuiltin('node:v8').takeCoverage();
  return native.exitNow(last);
}

compiledBeforeFork(() => {
  endUnwinding();
  endIdleChild();
  exit(0, true);
  leave(0, true);
  planFork();
  const before = { processChild, inherited };
  // With nothing but inherited listeners it emits nothing.
  inherited = process.listeners('exit');
  processChild = true;
  emitExit(0);
  ({ processChild, inherited } = before);
});

/** node's own end of an uncaught error leads through its teardown, which a child must not enter. */
function handleUncaught(error: unknown, fromPromise: boolean): boolean {
  if (unwinding) return true;
  const listened =
    process.listenerCount('uncaughtException') > 0 || process.hasUncaughtExceptionCaptureCallback();
  if (listened) {
    try {
      if (nodeFatal(error, fromPromise)) return true;
    } catch (inListener) {
      return dieOf(inListener, HANDLER_FAILED);
    }
  } else {
    const origin = fromPromise ? 'unhandledRejection' : 'uncaughtException';
    nodeEmit.call(process, 'uncaughtExceptionMonitor', error, origin);
  }
  return dieOf(error);
}

/** node's exit code for an error in the handler of an uncaught error. */
const HANDLER_FAILED = 7;
