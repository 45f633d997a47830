/**
 * The fork of the running process: what happens around the native call, on both sides.
 *
 * Two forks are built on one:
 *
 * - `fork()` is Python's `os.fork`: both sides go on after the call. Timers and handles are copied.
 * - `forkProcess()` is what a Process is made of: the parent goes on, the child unwinds to an empty stack and
 *   starts with an event loop in which nothing of the parent acts. fork_child.ts is its side.
 *
 * What cannot be forked (a Worker, a build of node without the needed exports) is refused with a
 * RuntimeError that names the cause and the remedy. docs/fork.md has the argument for safety.
 *
 * When a process dies here: a child that dies before its first line of JavaScript, or does not reach it, is
 * noticed by `forkProcess`, which reaps it and throws.
 */

import { AsyncLocalStorage } from 'node:async_hooks';
import { RuntimeError } from './errors.js';
import { compiledBeforeFork, isRehearsal } from './at_fork.js';
import type * as ForkChild from './fork_child.js';
import { lazyBuiltin, lazyPart } from './lazy_builtin.js';
import { native } from './native.js';

/** How long V8's background work may take to come to rest before a fork is given up. */
const REST_TIMEOUT_MS = 20_000;
/** How long JavaScript stands still meanwhile, at a time. */
const REST_SLICE_MS = 20;
/** How long a child may take to its first line of JavaScript before it is killed. */
const START_TIMEOUT_MS = 60_000;

export interface AtForkHooks {
  /** In the parent, before the fork; the hooks registered last run first. */
  before?: (() => void) | undefined;
  /** In the parent, after the fork, also after a failed one; in the order of registration. */
  afterInParent?: (() => void) | undefined;
  /** In the child, before anything else of yours runs there; in the order of registration. */
  afterInChild?: (() => void) | undefined;
}

const hooks: AtForkHooks[] = [];

/**
 * Registers functions to run around every fork of this process (`fork()` and each Process that forks).
 * Mirrors `os.register_at_fork`. For state that must not be shared: a database connection to drop in the
 * child, a lock to hold over the fork. The hooks are synchronous; what one throws is written to stderr and
 * ignored, as Python does.
 *
 * @throws TypeError nothing was given to register, or something that is not a function.
 */
export function registerAtFork({ before, afterInParent, afterInChild }: AtForkHooks = {}): void {
  const given = Object.entries({ before, afterInParent, afterInChild }).filter(
    ([, hook]) => hook !== undefined,
  );
  if (given.length === 0) throw new TypeError('At least one argument is required.');
  for (const [name, hook] of given) {
    if (typeof hook !== 'function') throw new TypeError(`'${name}' must be a function`);
  }
  hooks.push({ before, afterInParent, afterInChild });
}

function runHooks(which: keyof AtForkHooks, registered: readonly AtForkHooks[] = hooks): void {
  if (registered.length === 0) return;
  const order = which === 'before' ? registered.toReversed() : registered;
  for (const { [which]: hook } of order) {
    try {
      hook?.();
    } catch (error) {
      const text = error instanceof Error ? error.stack : String(error);
      process.stderr.write(`Exception ignored in registerAtFork ${which} hook: ${text}\n`);
    }
  }
}

let refusal: string | null | undefined;

/** Why no process of this node can be forked, with the remedy; null when they can. */
export function nodeProblem(): string | null {
  if (refusal === undefined) {
    const problem = native.forkProblem();
    refusal =
      problem === null
        ? null
        : process.platform === 'win32'
          ? `${problem}: use the start method 'spawn'`
          : `this process cannot be forked: ${problem}. Use the start method 'spawn', or an official build ` +
            'of Node, or run node with --single-threaded --v8-pool-size=1';
  }
  return refusal;
}

/** Why this process cannot be forked, with the remedy; null when it can. */
export function forkProblem(): string | null {
  const problem = nodeProblem();
  if (problem !== null) return problem;
  if (!lazyBuiltin('node:worker_threads').isMainThread) {
    return (
      'a Worker (worker_threads) cannot be forked: its thread would be the only one in the child, without ' +
      "node's main thread. Fork from the main thread, or post a message there"
    );
  }
  return null;
}

let prepared = false;
/** Loaded in the parent, by the first fork. */
let child: typeof ForkChild;

function doNothing(): void {}

/** What the first fork needs once: it costs milliseconds, and a program that never forks pays nothing. */
function prepare(): void {
  const problem = forkProblem();
  if (problem !== null) throw new RuntimeError(problem);
  if (!prepared) {
    // EMFILE when there is no descriptor left to read it by.
    child = lazyPart<typeof ForkChild>('forkChild');
    try {
      child.prepareForks();
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause);
      throw new RuntimeError(
        `this process cannot be forked: node hides what a fork needs (${reason}). Run it without ` +
          "--permission and with an inspector-enabled build of node, or use the start method 'spawn'",
        { cause },
      );
    }
    const known = native.prepareFork(onChild, runMain, child.endIdleChild, () => {
      queueMicrotask(doNothing);
    });
    if (!known)
      throw new RuntimeError('this process cannot be forked: its V8 is not recognised. Use spawn');
    prepared = true;
  }
}

/** @throws RuntimeError the process is in a state that cannot be forked. Error EAGAIN, ENOMEM, EMFILE. */
function nativeFork(unwind: boolean, hasWorkers: boolean, reportFd = -1): number | undefined {
  const deadline = performance.now() + REST_TIMEOUT_MS;
  for (;;) {
    try {
      return native.fork(unwind, REST_SLICE_MS, reportFd, hasWorkers);
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      // A compiler in the background that has found the heap full waits for the main thread to collect garbage,
      // which V8 does between two turns of a loop of JavaScript, as this one.
      if (code === 'NOT_AT_REST' && performance.now() < deadline) continue;
      if (code !== 'NOT_AT_REST' && code !== 'NOT_FORKABLE') throw error;
      throw new RuntimeError(`this process cannot be forked now: ${message}`);
    }
  }
}

/**
 * Forks this process as `os.fork` does: answers the child's pid in the parent and 0 in the child, and both
 * go on after the call, on the same stack, with copies of everything, timers and handles included. Requests
 * that were under way in the thread pool (fs, dns, crypto) complete in the parent only; in the child their
 * callbacks never come.
 *
 * For most purposes a Process is the better tool: it gives the child an event loop of its own.
 *
 * @throws RuntimeError this process cannot be forked. Error EAGAIN, ENOMEM: no room for a process.
 */
export function fork(): number {
  prepare();
  runHooks('before');
  const hasWorkers = child.planFork();
  let pid: number | undefined;
  try {
    pid = nativeFork(false, hasWorkers);
  } finally {
    if (pid !== 0) runHooks('afterInParent');
  }
  if (pid === 0) {
    child.continueInChild();
    runHooks('afterInChild');
  }
  return pid as number;
}

/** A child in the making. */
interface Job<T> {
  readonly main: (argument: T) => void;
  readonly argument: T;
  /** Runs it in the asynchronous context of the fork: AsyncLocalStorage goes along. */
  readonly inContext: (main: (argument: T) => void, argument: T) => void;
  readonly statusRead: number;
  readonly statusWrite: number;
  inChild: boolean;
}

/** Set during a fork, and in a child for good. */
let job: Job<unknown> | undefined;

function call<T>(main: (argument: T) => void, argument: T): void {
  main(argument);
}

/** In the child, on the parent's stack. */
function onChild(errnum: number, stdio: number): void {
  if (isRehearsal() || job === undefined) return;
  job.inChild = true;
  native.close(job.statusRead);
  for (const { statusRead } of starting) native.close(statusRead);
  starting.clear();
  together = undefined;
  if (errnum !== 0) {
    native.write(job.statusWrite, Buffer.from(`${errnum} uv_loop_fork`));
    native.exitNow(1);
  }
  child.beginChild(stdio);
}

/** In the child, on an empty stack. */
function runMain(): void {
  if (isRehearsal() || job === undefined) return;
  const { main, argument, inContext, statusWrite } = job;
  child.endUnwinding();
  try {
    native.write(statusWrite, STARTED);
  } catch {
    // The parent was killed meanwhile: the child is as one whose parent is killed later.
  }
  native.close(statusWrite);
  runHooks('afterInChild');
  inContext(main, argument);
}

compiledBeforeFork(() => onChild(0, 0));
compiledBeforeFork(runMain);
compiledBeforeFork(() => {
  const inContext = AsyncLocalStorage.snapshot() as (callback: () => void) => void;
  inContext(() => call(runHooks.bind(null, 'afterInChild'), []));
});

/**
 * Forks a child that runs `main(argument)` on an empty stack. Answers its pid once the child has reached
 * JavaScript.
 *
 * @throws RuntimeError this process cannot be forked, or the child did not start. Error EAGAIN, ENOMEM, EMFILE.
 */
export function forkProcess<T>(main: (argument: T) => void, argument: T): number {
  prepare();
  // The hooks may fork, too: whatever is kept for this fork comes after them.
  runHooks('before');
  const [statusRead, statusWrite] = native.pipe(true);
  const hasWorkers = child.planFork();
  const mine: Job<unknown> = {
    main: main as (argument: unknown) => void,
    argument,
    inContext: child.hasAsyncContext() ? AsyncLocalStorage.snapshot() : call,
    statusRead,
    statusWrite,
    inChild: false,
  };
  job = mine;
  let pid: number | undefined;
  try {
    try {
      pid = nativeFork(true, hasWorkers, statusWrite);
    } finally {
      if (!mine.inChild) runHooks('afterInParent');
    }
    // In the child the call has asked V8 to unwind the stack: a loop's next turn obeys.
    while (mine.inChild);
  } catch (error) {
    native.close(statusRead);
    native.close(statusWrite);
    throw error;
  } finally {
    job = undefined;
    child.dropPlan();
  }
  native.close(statusWrite);
  if (together === undefined) {
    awaitStart(pid as number, statusRead);
  } else {
    const one: Starting = { pid: pid as number, statusRead, since: performance.now() };
    starting.add(one);
    together.push(one);
  }
  return pid as number;
}

interface Starting {
  pid: number;
  statusRead: number;
  since: number;
}

/** Children that were forked and are not known to have reached JavaScript, of those that are started together. */
const starting = new Set<Starting>();
let together: Starting[] | undefined;

/**
 * Calls `body`, which starts several processes: nobody waits until they have reached their first line of JavaScript.
 *
 * @returns looks whether they have, and must be called until it answers that this is known of all. A child that has
 *   ended is left for its Process to find.
 */
export function startTogether(body: () => void): () => boolean {
  const mine: Starting[] = [];
  const outer = together;
  together = mine;
  try {
    body();
  } finally {
    together = outer;
  }
  return () => {
    for (const one of mine.splice(0)) if (!isSettled(one)) mine.push(one);
    return mine.length === 0;
  };
}

function isSettled(one: Starting): boolean {
  // Whoever asks late may ask of one that has started long ago, or has ended.
  const isKnown = native.poll(new Int32Array([one.statusRead, 1 /* POLLIN */, 0]), 0) > 0;
  if (!isKnown && performance.now() - one.since < START_TIMEOUT_MS) return false;
  starting.delete(one);
  native.close(one.statusRead);
  // It lives: nobody else has the other end.
  if (!isKnown) native.kill(one.pid, 9);
  return true;
}

/** What the child writes when it runs. Made before the fork, so that writing it needs nothing. */
const STARTED = Buffer.from([1]);
const STATUS_BYTES = 256;

function awaitStart(pid: number, statusRead: number): void {
  const answer = Buffer.alloc(STATUS_BYTES);
  const slot = new Int32Array([statusRead, 1 /* POLLIN */, 0]);
  let got = 0;
  let late = false;
  try {
    if (native.poll(slot, START_TIMEOUT_MS) === 0) {
      late = true;
      native.kill(pid, 9);
    } else {
      got = native.read(statusRead, answer, STATUS_BYTES);
    }
  } finally {
    native.close(statusRead);
  }
  if (got === 1 && answer[0] === STARTED[0]) return;
  const status = native.waitPidTimeout(pid, -1);
  if (late) {
    throw new RuntimeError(
      `the child did not reach its first line of JavaScript within ${START_TIMEOUT_MS / 1000} s and was ` +
        'killed. Fork before native libraries with threads of their own are in use, or use spawn',
    );
  }
  if (got > 1) throw childFailure(answer.toString('utf8', 0, got));
  throw new RuntimeError(
    `the child died before its first line of JavaScript (wait status ${status}). Fork before native ` +
      'libraries with threads of their own are in use, or use spawn',
  );
}

/** An error of the system in the child, as the error it would have been here: "24 uv_loop_fork". */
function childFailure(report: string): Error {
  const [errnum, syscall] = report.split(' ');
  return native.makeErrnoError(Number(errnum), syscall ?? 'fork');
}
