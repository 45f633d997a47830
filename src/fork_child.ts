/**
 * The child's side of a fork: what has to be made right in a copied node before its program goes on.
 *
 * `beginChild` runs first thing in the child of a Process, still on the parent's stack; when it is done,
 * nothing of the parent acts any more: no timer, tick, immediate, socket, listener, signal handler or
 * pending output. `continueInChild` does the smaller part that os.fork needs. Everything either of them
 * uses was captured in the parent before the fork (`captureHost`), and run there once on stand-ins
 * (`rehearse`), because code that is compiled or looked up in the child is compiled again in every child.
 *
 * Only fork.ts may import this file.
 */

import { EventEmitter } from 'node:events';
import fs from 'node:fs';
import process from 'node:process';
import { Writable } from 'node:stream';
import vm from 'node:vm';
import v8 from 'node:v8';
import { native } from './native.js';
import {
  fatalException,
  moduleLoaderGetter,
  nodeInternals,
  randomCaches,
  type NodeInternals,
} from './node_internals.js';

type Variables = Record<PropertyKey, unknown>;

/** Modules of node that hold state which a child must renew, once the program has loaded them. */
interface LoadedModules {
  http: boolean;
  https: boolean;
  dns: boolean;
  cluster: boolean;
  hooks: boolean;
  random: boolean;
}

/** The process as the steps see it: the real one in a child, a stand-in at the rehearsal. */
export interface ChildHost {
  internals: NodeInternals;
  process: typeof process;
  global: Variables;
  math: { random: () => number };
  queueMicrotask: (callback: () => void) => void;
  native: typeof native;
  loaded: LoadedModules;
  randomCaches: Uint8Array[];
  /** NODE_V8_COVERAGE is set: a child leaves its counts behind. */
  coverage: boolean;
  moduleLoader: (() => { setCustomizations?(none: undefined): void }) | undefined;
  /** Brings what depends on the moment up to date; in the parent, before each fork. */
  refresh(): void;
}

/** One exit path per process: a nested child inherits it. */
let exitPathTaken = false;
/** Between the fork and the child's main function: errors are V8's unwinding, seen by native code. */
let unwinding = false;

/** The child's main function begins, on an empty stack. */
export function endUnwinding(): void {
  unwinding = false;
}

/** The exit code so far, and whether the event loop ran empty, to the code to end with. */
type Finish = (code: number, natural: boolean) => number;
let atExit: Finish | undefined;

/** Registers what a child does last. */
export function onChildExit(finish: Finish): void {
  atExit = finish;
}

const MODULES: Record<keyof LoadedModules, string> = {
  http: 'NativeModule _http_agent',
  https: 'NativeModule https',
  dns: 'NativeModule dns',
  cluster: 'NativeModule internal/cluster/child',
  hooks: 'NativeModule internal/modules/esm/hooks',
  random: 'NativeModule internal/crypto/random',
};

/** In the parent, at its first fork. */
export function captureHost(): ChildHost {
  const loaded = {} as LoadedModules;
  for (const name of Object.keys(MODULES)) loaded[name as keyof LoadedModules] = false;
  let seen = 0;
  const host: ChildHost = {
    internals: nodeInternals(),
    process,
    global: globalThis as unknown as Variables,
    math: Math,
    queueMicrotask,
    native,
    loaded,
    randomCaches: [],
    coverage: Boolean(process.env['NODE_V8_COVERAGE']),
    moduleLoader: undefined,
    refresh() {
      const list = (process as unknown as { moduleLoadList: string[] }).moduleLoadList;
      // The list only grows: look when it has.
      if (list.length !== seen) {
        seen = list.length;
        for (const [name, entry] of Object.entries(MODULES)) {
          loaded[name as keyof LoadedModules] ||= list.includes(entry);
        }
      }
      if (loaded.random && host.randomCaches.length === 0) {
        const crypto = builtin<typeof import('node:crypto')>('crypto');
        crypto.randomUUID(); // Makes node create the buffer.
        host.randomCaches = randomCaches(crypto);
      }
      if (loaded.hooks) host.moduleLoader ??= moduleLoaderGetter();
    },
  };
  return host;
}

/** A public module of node that the program has loaded already; loading it here costs nothing. */
function builtin<T>(id: string): T {
  return nodeInternals().require(id) as T;
}

let rehearsing = false;
const parts: (() => void)[] = [];

/**
 * Has a function of the child's life compiled before the first fork: it is called in the parent while
 * `isRehearsal()` holds, and must do nothing then. What is compiled in a child is compiled in every child.
 */
export function compiledBeforeFork(part: () => void): void {
  parts.push(part);
}

export function isRehearsal(): boolean {
  return rehearsing;
}

/** Runs `play`, the child's beginning and end on the stand-ins of `rehearsalHost`, and the registered parts. */
export function duringRehearsal(play: () => void): void {
  const before = { exitPathTaken, unwinding, atExit };
  exitPathTaken = false;
  atExit = undefined;
  rehearsing = true;
  try {
    for (const part of parts) part();
    play();
  } finally {
    rehearsing = false;
    ({ exitPathTaken, unwinding, atExit } = before);
  }
}

/** The host with stand-ins for everything that must not be touched in the parent. */
export function rehearsalHost(host: ChildHost): ChildHost {
  const standIn = Object.assign(new EventEmitter(), {
    exit() {},
    reallyExit() {},
    _fatalException: () => true,
    hasUncaughtExceptionCaptureCallback: () =>
      host.process.hasUncaughtExceptionCaptureCallback() && false,
    setUncaughtExceptionCaptureCallback() {},
    nextTick: (callback: () => void) => callback(),
    _getActiveHandles: () => [undefined],
    connected: false,
    pid: 0,
    stdout: undefined,
    stderr: undefined,
    stdin: undefined,
  });
  const nothing = () => {};
  standIn.on('exit', nothing);
  standIn.on('SIGHUP', nothing);
  // Removing a listener from the real process takes another path: it has listeners for that.
  const probe = Symbol('probe');
  host.process.on(probe as never, nothing);
  host.process.on(probe as never, () => {});
  host.process.removeAllListeners(probe);
  const internals: NodeInternals = {
    require: host.internals.require,
    timerListMap: { 1: undefined },
    timerListQueue: { peek: () => void host.internals.timerListQueue.peek(), shift: nothing },
    immediateQueue: { head: null, tail: null },
    immediateInfo: new Uint32Array(3),
    timersBinding: {
      timeoutInfo: new Int32Array(1),
      toggleImmediateRef: nothing,
      toggleTimerRef: nothing,
    },
    tickQueue: { isEmpty: () => host.internals.tickQueue.isEmpty() || true, shift: nothing },
    tickInfo: new Uint8Array(2),
    pendingUnhandledRejections: new Map(),
    clearAsyncIdStack: nothing,
  };
  const silent = {
    getpid: () => 0,
    retireHandles: () => 0,
    forgetPoolRequests: nothing,
    defaultSignal: nothing,
    nullStdin: nothing,
    writeAllSync: nothing,
    close: nothing,
    write: nothing,
    loopAlive: () => false,
    exitNow: nothing,
  } as unknown as typeof native;
  return {
    ...host,
    internals,
    process: standIn as unknown as typeof process,
    global: {},
    math: { random: Math.random },
    queueMicrotask: (callback) => callback(),
    native: silent,
    loaded: { http: false, https: false, dns: false, cluster: false, hooks: false, random: false },
    randomCaches: [],
  };
}

// -------------------------------------------------------------------------------------------------
// The two beginnings

/** In the child of a Process, on the old stack, with asynchronous signals blocked. */
export function beginChild(
  host: ChildHost,
  errnum: number,
  syscall: string,
  statusWrite: number,
): void {
  if (errnum !== 0) {
    native.write(statusWrite, Buffer.from(`${errnum} ${syscall}`));
    native.exitNow(1);
  }
  try {
    identify(host);
    quiet(host);
    takeExitPath(host);
    unwinding = true;
  } catch (error) {
    if (rehearsing) throw error;
    // A step that fails leaves a process nobody can vouch for.
    process.stderr.write(`node-multiprocessing: a forked child cannot start: ${String(error)}\n`);
    native.exitNow(1);
  }
}

/** In the child of `fork()`: everything goes on, as a process of its own. */
export function continueInChild(host: ChildHost, errnum: number): void {
  if (errnum !== 0) {
    process.stderr.write(`node-multiprocessing: fork: the child has no event loop (errno ${errnum})\n`);
    native.exitNow(1);
  }
  identify(host);
  native.forgetPoolRequests();
  takeExitPath(host);
}

// -------------------------------------------------------------------------------------------------
// Who am I

function identify({ process, native, math, randomCaches }: ChildHost): void {
  // node caches the pid on the process object.
  Object.defineProperty(process, 'pid', {
    value: native.getpid(),
    configurable: true,
    enumerable: true,
    writable: true,
  });
  renewRandom(math, native);
  // node hands out randomUUID() and randomInt() from buffers filled ahead: siblings would share them.
  for (const cache of randomCaches) native.fillRandom(cache);
}

/**
 * V8 seeds Math.random once per context, and the child has a copy of the state and of the numbers drawn
 * ahead. A new context, made under a fresh seed, has a generator of its own. Making one takes a
 * millisecond, so it waits for the first call.
 */
function renewRandom(math: ChildHost['math'], native: ChildHost['native']): void {
  math.random = function random(): number {
    const seed = new Int32Array(1);
    native.fillRandom(new Uint8Array(seed.buffer));
    v8.setFlagsFromString(`--random-seed=${seed[0]! | 1}`);
    const fresh = vm.runInNewContext('Math.random') as () => number;
    fresh(); // V8 draws its seed here.
    v8.setFlagsFromString('--random-seed=0');
    math.random = fresh;
    return fresh();
  };
}

// -------------------------------------------------------------------------------------------------
// Nothing of the parent acts

function quiet(host: ChildHost): void {
  const { internals, native, process } = host;
  const sockets = activeSockets(process);
  const stdio = native.retireHandles();
  emptyTimers(internals);
  emptyTicks(internals);
  internals.clearAsyncIdStack();
  dropListeners(process);
  native.defaultSignal(SIGUSR1); // no inspector in children
  for (const socket of sockets) idleSocket(socket);
  ownStdio(host, stdio);
  leaveIpc(host);
  if (host.loaded.http) renewAgent(builtin<AgentHolder>('http').globalAgent);
  if (host.loaded.https) renewAgent(builtin<AgentHolder>('https').globalAgent);
  if (host.loaded.dns) renewResolver();
  if (host.loaded.hooks) host.moduleLoader?.().setCustomizations?.(undefined);
  renewDispatchers(host.global);
}

const SIGUSR1 = process.platform === 'darwin' ? 30 : 10;

function emptyTimers({
  timerListMap,
  timerListQueue,
  immediateQueue,
  immediateInfo,
  timersBinding,
}: NodeInternals): void {
  for (const duration of Object.keys(timerListMap)) delete timerListMap[duration];
  while (timerListQueue.peek() !== undefined) timerListQueue.shift();
  immediateQueue.head = null;
  immediateQueue.tail = null;
  immediateInfo.fill(0);
  timersBinding.toggleImmediateRef(false);
  timersBinding.timeoutInfo.fill(0);
  timersBinding.toggleTimerRef(false);
}

function emptyTicks({ tickQueue, tickInfo, pendingUnhandledRejections }: NodeInternals): void {
  while (!tickQueue.isEmpty()) tickQueue.shift();
  tickInfo.fill(0);
  pendingUnhandledRejections.clear();
}

/** Events of `process` whose listeners speak for the parent. Warnings are still printed. */
const PARENT_EVENTS = new Set<string | symbol>([
  'exit',
  'beforeExit',
  'uncaughtException',
  'uncaughtExceptionMonitor',
  'unhandledRejection',
  'rejectionHandled',
  'message',
  'internalMessage',
  'disconnect',
]);

function dropListeners(process: ChildHost['process']): void {
  for (const event of process.eventNames()) {
    const isSignal = typeof event === 'string' && event.startsWith('SIG');
    if (isSignal || PARENT_EVENTS.has(event)) process.removeAllListeners(event);
  }
  if (process.hasUncaughtExceptionCaptureCallback()) {
    process.setUncaughtExceptionCaptureCallback(null);
  }
  process.exitCode = undefined;
}

// ---- Sockets: silent, but usable --------------------------------------------------------------

interface SocketLike {
  _handle?: { reading?: boolean; fd?: number } | null;
  _readableState?: { reading: boolean; flowing: boolean | null };
  _writableState?: { length: number; writing?: boolean };
}

function activeSockets(process: ChildHost['process']): SocketLike[] {
  const handles = (process as unknown as { _getActiveHandles(): unknown[] })._getActiveHandles();
  return handles.filter((handle): handle is SocketLike => {
    const state = (handle as SocketLike | null)?._readableState;
    return state !== undefined && (handle as SocketLike)._handle != null;
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
  const { WritableState } = Writable as unknown as WritableInternals;
  const isDuplex = '_readableState' in stream;
  (stream as { _writableState: object })._writableState = new WritableState(
    { decodeStrings: false, allowHalfOpen: false },
    stream,
    isDuplex,
  );
}

// ---- Standard streams -------------------------------------------------------------------------

/**
 * Output is written at once and completely, as Python's print with a flush: nothing is pending when the
 * child ends, and two writes never change places. Input is empty, as in Python.
 *
 * @param stdio bit 1, 2: the parent's stream on that descriptor exists and has a handle.
 */
function ownStdio({ process, native }: ChildHost, stdio: number): void {
  native.nullStdin();
  ownOutput(process, native, 'stdout', 1, (stdio & 2) !== 0);
  ownOutput(process, native, 'stderr', 2, (stdio & 4) !== 0);
  Object.defineProperty(process, 'stdin', {
    configurable: true,
    enumerable: true,
    get() {
      const stdin = fs.createReadStream('', { fd: 0, autoClose: false });
      Object.defineProperty(process, 'stdin', { configurable: true, enumerable: true, value: stdin });
      return stdin;
    },
  });
}

type Output = NodeJS.WriteStream & { _type?: string; _writev?: unknown };

function ownOutput(
  process: ChildHost['process'],
  native: ChildHost['native'],
  name: 'stdout' | 'stderr',
  fd: number,
  exists: boolean,
): void {
  if (exists) {
    writeAtOnce(process[name] as Output, native, fd);
    return;
  }
  const inherited = Object.getOwnPropertyDescriptor(process, name);
  if (inherited?.get === undefined) return;
  Object.defineProperty(process, name, {
    configurable: true,
    enumerable: true,
    get() {
      const stream = inherited.get!.call(process) as Output;
      // A file's stream writes at once by itself.
      if (stream._type === 'tty' || stream._type === 'pipe') writeAtOnce(stream, native, fd);
      Object.defineProperty(process, name, inherited);
      return stream;
    },
  });
}

function writeAtOnce(stream: Output, native: ChildHost['native'], fd: number): void {
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
}

// ---- Connections to other processes -----------------------------------------------------------

/** `process.send` and cluster speak to the parent's parent: not the child's business. */
function leaveIpc({ process, loaded }: ChildHost): void {
  if (process.connected) {
    const gone = { value: undefined, configurable: true, writable: true };
    Object.defineProperties(process, {
      connected: { value: false, configurable: true, writable: true },
      send: gone,
      channel: gone,
      _channel: gone,
      disconnect: gone,
    });
  }
  if (loaded.cluster) {
    Object.assign(builtin<object>('cluster'), {
      isWorker: false,
      isPrimary: true,
      isMaster: true,
      worker: undefined,
    });
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
  const dns = builtin<typeof import('node:dns')>('dns');
  dns.setServers(dns.getServers());
}

/** fetch's connection pool, kept under well-known symbols by every copy of undici. */
function renewDispatchers(global: Variables): void {
  for (const symbol of Object.getOwnPropertySymbols(global)) {
    if (!symbol.description?.startsWith('undici.globalDispatcher.')) continue;
    const dispatcher = global[symbol] as object | undefined;
    const Dispatcher = dispatcher?.constructor as (new () => object) | undefined;
    // A dispatcher that the program configured cannot be made again: registerAtFork is for that.
    if (Dispatcher?.name === 'Agent') global[symbol] = new Dispatcher();
  }
}

// -------------------------------------------------------------------------------------------------
// The way out

/**
 * A child ends by `_exit`: node's own teardown would join threads that do not exist, and look at modules
 * whose evaluation was unwound. All ways lead through `process.emit`: the natural end through 'beforeExit',
 * `process.exit()` and an uncaught error through 'exit'.
 */
function takeExitPath(host: ChildHost): void {
  const { process, native, coverage } = host;
  if (exitPathTaken) return;
  exitPathTaken = true;
  const emit = process.emit as (this: unknown, event: string, ...args: unknown[]) => boolean;
  const leave = (code: unknown, natural = false): never => {
    let last = Number(process.exitCode ?? code ?? 0);
    last = atExit?.(last, natural) ?? last;
    if (coverage) v8.takeCoverage();
    return native.exitNow(last);
  };
  const exit = (code: unknown, natural = false): never => {
    try {
      emit.call(process, 'exit', code);
    } catch (error) {
      reportUncaught(error);
      process.exitCode = 7; // as node has it for an error in an exit handler
    }
    return leave(code, natural);
  };
  const endIfIdle = (): void => {
    if (!native.loopAlive()) exit(process.exitCode ?? 0, true);
  };
  exitWhenIdle = () => exit(process.exitCode ?? 0, true);
  Object.assign(process, {
    emit(this: unknown, event: string, ...args: unknown[]) {
      if (event === 'exit') return exit(args[0]);
      const result = emit.call(this, event, ...args);
      // The loop is empty. What the listeners started in microtasks and ticks may have filled it again:
      // look when all of them have run.
      if (event === 'beforeExit') afterMicrotasks(host, endIfIdle);
      return result;
    },
    reallyExit: leave,
    _fatalException: handleUncaught(process, fatalOf(process)),
  });
}

/** Set with the exit path. */
let exitWhenIdle: () => void;

/**
 * The child's main function has returned, its microtasks and ticks have run, and nothing keeps the event
 * loop. Such a child ends here: the way round the loop would have V8's platform start its worker threads
 * first, only to find them idle.
 */
export function endIdleChild({ process }: ChildHost): void {
  // Whoever wants to be asked before the exit is asked by node, the long way.
  if (process.listenerCount('beforeExit') === 0) exitWhenIdle();
}

/** Calls back when all microtasks and ticks of now, and those they lead to, have run. */
function afterMicrotasks({ process, queueMicrotask }: ChildHost, callback: () => void): void {
  process.nextTick(() => {
    queueMicrotask(() => {
      process.nextTick(callback);
    });
  });
}

type Fatal = ReturnType<typeof fatalException>;

function fatalOf(process: ChildHost['process']): Fatal {
  return (process as unknown as { _fatalException: Fatal })._fatalException;
}

let reportUncaught: (error: unknown) => void = (error) => {
  process.stderr.write(`${error instanceof Error ? error.stack : String(error)}\n`);
};

/** How an uncaught error is shown; the Process layer adds the process's name. */
export function onUncaught(report: (error: unknown) => void): void {
  reportUncaught = report;
}

/** Ends the process after an uncaught error: shown, exit listeners run, code 1. */
export function dieOf(error: unknown): never {
  reportUncaught(error);
  process.exitCode = 1;
  return process.exit(1);
}

function handleUncaught(process: ChildHost['process'], original: Fatal): Fatal {
  return (error, fromPromise) => {
    if (unwinding) return true;
    const handled =
      process.listenerCount('uncaughtException') > 0 ||
      process.hasUncaughtExceptionCaptureCallback();
    if (handled) return original(error, fromPromise);
    const origin = fromPromise ? 'unhandledRejection' : 'uncaughtException';
    (process as EventEmitter).emit('uncaughtExceptionMonitor', error, origin);
    dieOf(error);
  };
}
