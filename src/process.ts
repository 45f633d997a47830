/**
 * `Process`, and who is who: the current process, its parent, its children.
 *
 * The counterpart of CPython's `multiprocessing/process.py`, with its rules, messages and representation.
 * How a child comes to be is not decided here: a context gives each class its launcher, an implementation of
 * `Popen` below src/popen.
 *
 * When a process dies: its parent learns the exit code at the next `join`, `exitcode` or `isAlive`, which
 * ask the system and need no turn of the event loop. A child that somebody else has reaped counts as ended
 * with 255.
 */

import { inspect } from 'node:util';
import { checkAbortSignal } from './arguments.js';
import { abortable, endAfter, timeoutMs, waitInSlices } from './clock.js';
import { AssertionError, RuntimeError, ValueError } from './errors.js';
import {
  compiledBeforeFork,
  dieOf,
  isRehearsal,
  onChildExit,
  onUncaught,
  onContinue,
} from './at_fork.js';
import { osConstants } from './lazy_builtin.js';
import { native } from './native.js';

/** A started child, as the launchers of src/popen make it. */
export interface Popen {
  readonly pid: number;
  /** A descriptor that is readable once the child has ended. */
  readonly sentinel: number;
  /** The exit code, -N for signal N, null while it runs. Reaps. */
  poll(): number | null;
  /** Waits for at most `milliseconds`, -1 for ever. */
  wait(milliseconds: number): number | null;
  /** Calls back on the event loop once the child has ended; answers how to give up. */
  onEnd(callback: () => void): () => void;
  signal(signal: number): void;
  close(): void;
}

/** What a target may be: a function, a class, or, for Python's `__call__`, an object with `call()`. */
export type Target =
  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  | ((...args: any[]) => unknown)
  | (new (...args: any[]) => unknown)
  | { call(...args: any[]): unknown };

export interface ProcessOptions {
  /** Reserved by Python: must be undefined or null. */
  group?: null | undefined;
  /** What the child runs. May be asynchronous. */
  target?: Target | null | undefined;
  /** By default the class's name and the process's place among its siblings: `Process-1`, `Process-1:2`. */
  name?: string | null | undefined;
  /** The target's arguments. */
  args?: Iterable<unknown> | undefined;
  /** Passed to the target as one more, last argument when it has a key. */
  kwargs?: Record<string, unknown> | undefined;
  /** A daemon is terminated when its parent ends. By default as the current process is. */
  daemon?: boolean | null | undefined;
}

export interface AsyncOptions {
  /** Gives the wait up: the promise rejects with the signal's reason. */
  signal?: AbortSignal | null | undefined;
}

interface Config {
  authkey: Buffer;
  daemon?: boolean;
}

const OPTIONS: readonly string[] = ['group', 'target', 'name', 'args', 'kwargs', 'daemon'];

function assert(condition: boolean, message: string): asserts condition {
  if (!condition) throw new AssertionError(message);
}

const ESCAPES: Record<string, string> = { '\\': '\\\\', '\n': '\\n', '\r': '\\r', '\t': '\\t' };

/** Python's repr of a string. */
function quoted(text: string): string {
  const quote = text.includes("'") && !text.includes('"') ? '"' : "'";
  // Control characters, and what is no character, are shown by number. No literal: one with properties costs a third of
  // a millisecond when the module is loaded.
  const shownByNumber = new RegExp('[\\\\\\p{Cc}\\p{Cs}]', 'gu');
  const escaped = text.replace(shownByNumber, (character) => {
    const code = character.codePointAt(0)!;
    const hex = code.toString(16);
    return (
      ESCAPES[character] ??
      (code < 256 ? `\\x${hex.padStart(2, '0')}` : `\\u${hex.padStart(4, '0')}`)
    );
  });
  return quote + (quote === "'" ? escaped.replaceAll("'", "\\'") : escaped) + quote;
}

/** Where a number has two names: the one that Python says. */
function signalName(number: number): string | undefined {
  const { signals } = osConstants();
  if (number === signals.SIGPOLL) return 'SIGPOLL';
  return Object.entries(signals).find(([, signal]) => signal === number)?.[0];
}

/** The base of every Process class. A subclass overrides `run()`, and calls `super()` first. */
export class BaseProcess {
  /** The start method a class is bound to; null: the default context's at `start()`. */
  static readonly startMethod: string | null = null;

  /** @internal */ _identity: readonly number[];
  /** @internal */ declare _config: Config;
  /** @internal */ _parentPid: number | null;
  /** @internal */ _parentName: string | null;
  /** @internal */ _popen: Popen | null = null;
  /** @internal */ _closed = false;
  /** @internal It is nobody's daemon and may have children, but does not outlive its parent. */
  _endsWithParent = false;
  /** @internal */ _target: Target | null | undefined;
  /** @internal */ _isClass: boolean;
  /** @internal */ _args: unknown[];
  /** @internal */ _kwargs: Record<string, unknown>;
  /** @internal */ _name: string;

  /**
   * @throws AssertionError `group` is given. TypeError an option that does not exist, `args` that are not
   *   iterable, `kwargs` that are no object.
   */
  constructor(options: ProcessOptions = {}) {
    if (new.target === _MainProcess) {
      // Nobody is its parent, and nobody can be asked for a configuration.
      this._identity = [];
      this.#configure({ authkey: randomKey() });
      this._parentPid = null;
      this._parentName = null;
      this._isClass = false;
      this._args = [];
      this._kwargs = {};
      this._name = 'MainProcess';
      return;
    }
    if (typeof options !== 'object' || options === null) {
      throw new TypeError('Process takes one options object: new Process({ target, args, … })');
    }
    for (const key of Object.keys(options)) {
      if (!OPTIONS.includes(key)) {
        throw new TypeError(`Process() got an unexpected option '${key}'`);
      }
    }
    const { group, target, name, args = [], kwargs = {}, daemon } = options;
    assert(group === undefined || group === null, 'group argument must be None for now');
    if (typeof (args as Partial<Iterable<unknown>> | null)?.[Symbol.iterator] !== 'function') {
      throw new TypeError("'args' must be iterable");
    }
    if (typeof kwargs !== 'object' || kwargs === null)
      throw new TypeError("'kwargs' must be an object");

    const parent = current();
    this._identity = [...parent._identity, ++state.counter];
    this.#configure({ ...parent._config });
    this._parentPid = native.getpid();
    this._parentName = parent._name;
    this._target = target;
    this._isClass = typeof target === 'function' && isClass(target);
    this._args = [...args];
    this._kwargs = { ...kwargs };
    this._name = name || `${this.constructor.name}-${this._identity.join(':')}`;
    if (daemon !== undefined && daemon !== null) this.daemon = daemon;
  }

  /** @internal The launcher; a context's classes override it. */
  _Popen(): Popen {
    throw new Error('a Process class comes from a context');
  }

  /**
   * What the child does: by default it calls the target. Override it in a subclass; it may be async. The
   * child lives until what it returns has settled and its event loop is empty.
   */
  run(): unknown {
    const target = this._target;
    if (target === undefined || target === null) return undefined;
    const args = Object.keys(this._kwargs).length > 0 ? [...this._args, this._kwargs] : this._args;
    if (typeof target !== 'function') return target.call(...args);
    if (this._isClass) return new (target as new (...args: unknown[]) => unknown)(...args);
    return (target as (...args: unknown[]) => unknown)(...args);
  }

  /**
   * Starts the child.
   *
   * @throws AssertionError started before, created by another process, or a daemon's child. ValueError
   *   closed. Error EAGAIN, ENOMEM, EMFILE: no room for a process. RuntimeError the process cannot be forked.
   */
  start(): void {
    this.#checkClosed();
    assert(this._popen === null, 'cannot start a process twice');
    assert(
      this._parentPid === native.getpid(),
      'can only start a process object created by current process',
    );
    assert(!current()._config.daemon, 'daemonic processes are not allowed to have children');
    reapEnded();
    this._popen = this._Popen();
    // As Python: the child has them, and the target may refer to this very object.
    this._target = undefined;
    this._args = [];
    this._kwargs = {};
    state.children.add(this);
  }

  /** Sends SIGTERM. Mirrors `Process.terminate`. */
  terminate(): void {
    this.#signal(osConstants().signals.SIGTERM, 'terminate');
  }

  /** Sends SIGKILL. Mirrors `Process.kill`. */
  kill(): void {
    this.#signal(osConstants().signals.SIGKILL, 'kill');
  }

  /** Sends SIGINT. Mirrors `Process.interrupt` of Python 3.14. */
  interrupt(): void {
    this.#signal(osConstants().signals.SIGINT, 'interrupt');
  }

  #signal(signal: number, verb: string): void {
    this.#checkClosed();
    assert(this._popen !== null, `can only ${verb} a started process`);
    this._popen.signal(signal);
  }

  /**
   * Blocks until the child has ended, or until the time is up; `exitcode` tells which.
   *
   * @param timeout in seconds; undefined and null wait for ever, 0 or less does not wait.
   * @throws AssertionError not started, or not a child of this process. ValueError closed.
   */
  join(timeout?: number | null): void {
    const popen = this.#joinable();
    if (waitInSlices(timeoutMs(timeout), (slice) => popen.wait(slice) !== null)) {
      state.children.delete(this);
    }
  }

  /** The key is a secret: JSON.stringify and Object.keys do not show it. */
  #configure(config: Config): void {
    Object.defineProperty(this, '_config', { value: config, enumerable: false, writable: true });
  }

  /** As `join`, without blocking the event loop. */
  async joinAsync(timeout?: number | null, { signal }: AsyncOptions = {}): Promise<void> {
    const popen = this.#joinable();
    const milliseconds = timeoutMs(timeout);
    checkAbortSignal(signal);
    if (popen.poll() === null && milliseconds !== 0) {
      await abortable(milliseconds, signal, (done) => popen.onEnd(done));
    } else {
      signal?.throwIfAborted();
    }
    if (popen.poll() !== null) state.children.delete(this);
  }

  #joinable(): Popen {
    this.#checkClosed();
    assert(this._parentPid === native.getpid(), 'can only join a child process');
    assert(this._popen !== null, 'can only join a started process');
    return this._popen;
  }

  /** Whether the child runs. @throws AssertionError not a child of this process. ValueError closed. */
  isAlive(): boolean {
    this.#checkClosed();
    if (this === current()) return true;
    assert(this._parentPid === native.getpid(), 'can only test a child process');
    if (this._popen === null) return false;
    if (this._popen.poll() === null) return true;
    state.children.delete(this);
    return false;
  }

  /**
   * Releases what the object holds. Afterwards every use is a ValueError.
   *
   * @throws ValueError the child still runs.
   */
  close(): void {
    if (this._popen !== null) {
      if (this._popen.poll() === null) {
        throw new ValueError(
          'Cannot close a process while it is still running. You should first call join() or terminate().',
        );
      }
      this._popen.close();
      this._popen = null;
      state.children.delete(this);
    }
    this._closed = true;
  }

  /** Joins the child, if it was started, and closes the object. */
  [Symbol.dispose](): void {
    if (this._closed) return;
    if (this._popen !== null) this.join();
    this.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this._closed) return;
    if (this._popen !== null) await this.joinAsync();
    this.close();
  }

  get name(): string {
    return this._name;
  }

  set name(name: string) {
    assert(typeof name === 'string', 'name must be a string');
    this._name = name;
  }

  /** Whether the child ends with its parent. Settable before `start()`. */
  get daemon(): boolean {
    return this._config.daemon ?? false;
  }

  set daemon(daemonic: boolean) {
    assert(this._popen === null, 'process has already started');
    this._config.daemon = Boolean(daemonic);
  }

  /** The key that connections of this process authenticate with: 32 random bytes, inherited. */
  get authkey(): Buffer {
    return this._config.authkey;
  }

  set authkey(key: Uint8Array) {
    if (!(key instanceof Uint8Array)) throw new TypeError("'authkey' must be a Uint8Array");
    this._config.authkey = Buffer.from(key);
  }

  /** The exit code, -N when signal N killed it, null before the start and while it runs. */
  get exitcode(): number | null {
    this.#checkClosed();
    return this._popen?.poll() ?? null;
  }

  /** The process id; null before the start. */
  get pid(): number | null {
    this.#checkClosed();
    return this === current() ? native.getpid() : (this._popen?.pid ?? null);
  }

  /** The same as `pid`. */
  get ident(): number | null {
    return this.pid;
  }

  /** A descriptor that becomes readable when the child ends. @throws ValueError not started. */
  get sentinel(): number {
    this.#checkClosed();
    if (this._popen === null) throw new ValueError('process not started');
    return this._popen.sentinel;
  }

  #checkClosed(): void {
    if (this._closed) throw new ValueError('process object is closed');
  }

  /** Python's representation: `<Process name='Process-1' pid=7 parent=6 started>`. */
  toString(): string {
    let exitcode: number | null = null;
    let status: string;
    if (this === current()) status = 'started';
    else if (this._closed) status = 'closed';
    else if (this._parentPid !== native.getpid()) status = 'unknown';
    else if (this._popen === null) status = 'initial';
    else {
      exitcode = this._popen.poll();
      status = exitcode === null ? 'started' : 'stopped';
    }
    const info = [this.constructor.name, `name=${quoted(this._name)}`];
    if (this._popen !== null) info.push(`pid=${this._popen.pid}`);
    info.push(`parent=${this._parentPid ?? 'None'}`, status);
    if (exitcode !== null) {
      const signal = exitcode < 0 ? signalName(-exitcode) : undefined;
      info.push(`exitcode=${signal === undefined ? exitcode : `-${signal}`}`);
    }
    if (this.daemon) info.push('daemon');
    return `<${info.join(' ')}>`;
  }

  [inspect.custom](): string {
    return this.toString();
  }
}

function isClass(target: object): boolean {
  return /^class\b/.test(Function.prototype.toString.call(target));
}

/** The process that was started by hand: the root of the tree. */
class _MainProcess extends BaseProcess {
  override close(): void {
    // As in Python: the main process cannot be closed.
  }
}

/** What a child knows of its parent. */
class _ParentProcess extends BaseProcess {
  readonly #pid: number;
  #pidfd: number | null | undefined;
  readonly #connection: number | undefined;

  /** @param connection tells of its end where it is not the parent in the eyes of the system. */
  constructor(name: string, pid: number, connection: number | undefined) {
    super();
    // As in CPython it is not known whether it is a daemon.
    this._config = { authkey: this._config.authkey };
    this._identity = [];
    this._name = name;
    this._parentPid = null;
    this._parentName = null;
    this.#pid = pid;
    this.#pidfd = connection;
    this.#connection = connection;
  }

  override get pid(): number {
    return this.#pid;
  }

  override get ident(): number {
    return this.#pid;
  }

  /** The parent is our parent for as long as it lives; afterwards the system gives us another. */
  override isAlive(): boolean {
    if (this.#connection === undefined) return process.ppid === this.#pid;
    return native.poll(new Int32Array([this.#connection, 1 /* POLLIN */, 0]), 0) === 0;
  }

  override join(timeout?: number | null): void {
    const milliseconds = timeoutMs(timeout);
    const pidfd = this.#watch();
    if (pidfd !== null) {
      const slot = new Int32Array([pidfd, 1 /* POLLIN */, 0]);
      if (this.isAlive()) waitInSlices(milliseconds, (slice) => native.poll(slot, slice) > 0);
      return;
    }
    const deadline = endAfter(milliseconds);
    while (this.isAlive() && performance.now() < deadline) native.sleepMs(5);
  }

  override async joinAsync(timeout?: number | null, { signal }: AsyncOptions = {}): Promise<void> {
    const pidfd = this.#watch();
    await abortable(timeoutMs(timeout), signal, (done) => {
      if (pidfd !== null && this.isAlive()) {
        const watch = native.watchReadable(pidfd, done);
        return () => watch.stop();
      }
      const timer = setInterval(() => {
        if (!this.isAlive()) done();
      }, 5);
      return () => clearInterval(timer);
    });
  }

  override get sentinel(): number {
    const pidfd = this.#watch();
    if (pidfd !== null) return pidfd;
    if (this.isAlive()) throw new RuntimeError('a sentinel of the parent needs pidfd (Linux 5.3)');
    this.#pidfd = readyFd();
    return this.#pidfd;
  }

  /** Opened when first needed; our parent's pid cannot be another's while it is our parent. */
  #watch(): number | null {
    this.#pidfd ??= this.isAlive() ? native.openPidfd(this.#pid) : null;
    return this.#pidfd;
  }
}

/** @internal */
export function connectedToParent(connection: number | undefined): void {
  state.connection = connection;
  if (state.parent !== null) state.parent = undefined;
}

/** A descriptor that is always ready: the reading end of a pipe that nobody writes to. */
export function readyFd(): number {
  const [read, write] = native.pipe(true);
  native.close(write);
  return read;
}

/** What belongs to the process that runs, and starts anew in each child. */
interface State {
  current: BaseProcess | undefined;
  /** Made when it is asked for. */
  parent: BaseProcess | null | undefined;
  /** To the parent, where another process is it in the eyes of the system: it ends when the parent does. */
  connection: number | undefined;
  children: Set<BaseProcess>;
  counter: number;
  /** What the target returned, if it was a promise, has settled. */
  settled: boolean;
  /** What a target that never settles is called. */
  pending: string;
  atEnd: () => void;
}

const TARGET = 'its target';

const state: State = {
  current: undefined,
  parent: null,
  connection: undefined,
  children: new Set(),
  counter: 0,
  settled: true,
  pending: TARGET,
  atEnd() {},
};

function current(): BaseProcess {
  state.current ??= new _MainProcess();
  return state.current;
}

function randomKey(): Buffer {
  const key = Buffer.alloc(32);
  native.fillRandom(key);
  return key;
}

/** The object of the running process. Mirrors `multiprocessing.current_process`. */
export function currentProcess(): BaseProcess {
  return current();
}

/** The object of the parent; null in the main process. Mirrors `multiprocessing.parent_process`. */
export function parentProcess(): BaseProcess | null {
  if (state.parent === undefined) {
    const { _parentName: name, _parentPid: pid } = current();
    const { counter } = state;
    state.parent = new _ParentProcess(name ?? 'MainProcess', pid ?? 0, state.connection);
    state.counter = counter; // It is not one of our children.
  }
  return state.parent;
}

/** The children that run. Ended ones are reaped on the way. Mirrors `multiprocessing.active_children`. */
export function activeChildren(): BaseProcess[] {
  reapEnded();
  return [...state.children];
}

// A child of os.fork has none yet. (CPython keeps its parent's, and fails to join them at exit.)
onContinue(() => {
  state.children = new Set();
});

function reapEnded(): void {
  for (const child of state.children) {
    if (child._popen === null || child._popen.poll() !== null) state.children.delete(child);
  }
}

/**
 * The whole life of a child, called on an empty stack by the launchers of src/popen.
 *
 * @param atEnd run before the process ends, whichever way.
 * @internal
 */
export function bootstrap(self: BaseProcess, atEnd: () => void): void {
  if (isRehearsal()) return;
  // As CPython: numbered anew, nobody's children, and the creator is the parent.
  state.current = self;
  state.parent = undefined;
  state.children = new Set();
  state.counter = 0;
  state.settled = false;
  state.pending = TARGET;
  state.atEnd = atEnd;
  const { startMethod } = self.constructor as typeof BaseProcess;
  // As CPython: who was started by the class of a context goes on by its method.
  if (startMethod !== null) tellMethod?.(startMethod);
  onUncaught(reportUncaught);
  onChildExit(finish);
  let result: unknown;
  try {
    result = self.run();
  } catch (error) {
    dieOf(error);
  }
  if (typeof (result as PromiseLike<unknown> | undefined)?.then === 'function') {
    (result as PromiseLike<unknown>).then(settle, (error: unknown) => dieOf(error));
  } else {
    settle();
  }
}

/** @internal */
export function currentDirectory(): string {
  try {
    return process.cwd();
  } catch {
    return '/'; // It has been removed.
  }
}

/** @internal Where the program began, before it went elsewhere. Mirrors `process.ORIGINAL_DIR`. */
export const ORIGINAL_DIRECTORY = currentDirectory();

/** What a process that was not forked learns of itself and of its parent before it has its own object. */
export interface Origin {
  name: string;
  authkey: Uint8Array;
  parentName: string;
  parentPid: number;
  startMethod: string | null;
}

/** What the child's default is; told to the context, which may be loaded before and after. */
let inheritedMethod: string | null = null;
let tellMethod: ((method: string) => void) | undefined;

/** @internal Calls back with the start method of a process that was started afresh, once that is known. */
export function onStartMethod(tell: (method: string) => void): void {
  tellMethod = tell;
  if (inheritedMethod !== null) tell(inheritedMethod);
}

/**
 * Called first in a process that was started afresh, which has modules to load before `bootstrap`: it is a child from
 * here on, and errors are shown with its name.
 *
 * @internal
 */
export function beginBootstrap(origin: Origin): void {
  const { name, authkey, parentName, parentPid, startMethod } = origin;
  inheritedMethod = startMethod;
  if (startMethod !== null) tellMethod?.(startMethod);
  const self = new _MainProcess();
  self._name = name;
  self.authkey = authkey;
  self._parentName = parentName;
  self._parentPid = parentPid;
  state.current = self;
  state.parent = undefined;
  state.settled = false;
  state.pending = "the parent's main module";
  onUncaught(reportUncaught);
  onChildExit(finish);
}

/** The process that is being taken apart for its child; no other one may travel. */
let spawning: BaseProcess | undefined;

/** @internal */
export function whileSpawning<T>(child: BaseProcess, action: () => T): T {
  const outer = spawning;
  spawning = child;
  try {
    return action();
  } finally {
    spawning = outer;
  }
}

/** @internal Mirrors `get_spawning_popen`. */
export function isSpawning(child: BaseProcess): boolean {
  return child === spawning;
}

/** What a process's child is made of when it is not forked; what a subclass has added travels by itself. */
export interface ProcessState {
  identity: readonly number[];
  authkey: Buffer;
  daemon: boolean | undefined;
  parentPid: number | null;
  parentName: string | null;
  name: string;
  target: Target | null | undefined;
  args: unknown[];
  kwargs: Record<string, unknown>;
}

/** @internal */
export function processState(child: BaseProcess): ProcessState {
  const { authkey, daemon } = child._config;
  return {
    name: child._name,
    identity: child._identity,
    authkey,
    daemon,
    parentPid: child._parentPid,
    parentName: child._parentName,
    target: child._target,
    args: child._args,
    kwargs: child._kwargs,
  };
}

/** @internal */
export function restoreProcess(from: ProcessState): BaseProcess {
  const { counter } = state;
  const { name, target, args, kwargs, daemon } = from;
  const child = new BaseProcess({ name, target, args, kwargs });
  state.counter = counter;
  child._identity = from.identity;
  child.authkey = from.authkey;
  if (daemon !== undefined) child.daemon = daemon;
  child._parentPid = from.parentPid;
  child._parentName = from.parentName;
  return child;
}

function settle(): void {
  state.settled = true;
}

/** The last thing a child does: answers the code to end with. */
function finish(code: number, natural: boolean): number {
  if (isRehearsal()) return code;
  if (natural && !state.settled && process.exitCode === undefined) {
    writeError(
      `Process ${current()._name}: ${state.pending} is still pending, but nothing is left that could settle it\n`,
    );
    code = UNSETTLED;
  }
  state.atEnd();
  return code;
}

function reportUncaught(error: unknown): void {
  writeError(`Process ${current()._name}:\n${describe(error)}\n`);
}

compiledBeforeFork(() => {
  const { counter, settled } = state;
  bootstrap(new BaseProcess({ target: settle }), settle);
  onUncaught(reportUncaught);
  onChildExit(finish);
  finish(0, true);
  new BaseProcess({ target: settle }).run();
  activeChildren();
  Object.assign(state, { counter, settled });
});

/** node's exit code for a program whose top-level await cannot settle. */
const UNSETTLED = 13;

function writeError(text: string): void {
  try {
    native.writeAllSync(2, Buffer.from(text));
  } catch {
    // Nobody reads stderr; the exit code tells.
  }
}

function describe(error: unknown): string {
  return error instanceof Error ? inspect(error) : `Uncaught ${inspect(error)}`;
}
