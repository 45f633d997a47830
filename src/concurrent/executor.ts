/**
 * `ProcessPoolExecutor`: the counterpart of CPython's `concurrent/futures/process.py`, on the engine of pools (pool/).
 *
 *   submit ──▶ backlog ──▶ engine ──▶ workers
 *              PENDING     RUNNING
 *
 * Workers that are not forked are started one by one, as calls come that none of them is free for.
 *
 * The engine is given one task more than there are workers beyond those that are being worked on. What waits in the backlog
 * can be cancelled. Tasks move on whenever somebody waits, asks, or the event loop turns.
 *
 * **When a process dies here.** A worker that ends, whatever it was about, breaks the executor: what is running or pending
 * fails with a BrokenProcessPool. The workers are no daemons and may have children. At the end of the parent
 * they do what is pending, and end; when it is killed, the kernel kills them.
 */

import { inspect } from 'node:util';
import {
  checkCallable,
  checkInitializer,
  checkIterable,
  checkOptions,
  wrongType,
} from '../arguments.js';
import { onNewIdentity } from '../at_fork.js';
import { timeoutMs } from '../clock.js';
import { getContext, startsCopies } from '../context.js';
import { cpuCount } from '../cpu.js';
import { BrokenProcessPool, RuntimeError, ValueError, WorkerLostError } from '../errors.js';
import { Fifo } from '../fifo.js';
import { lazyPart } from '../lazy_builtin.js';
import { native } from '../native.js';
import type * as PoolPart from '../pool.js';
import type { Engine, Job, TaskFunction } from '../pool.js';
import type { AsyncOptions, BaseProcess, ProcessOptions } from '../process.js';
import { beforeChildrenEnd } from '../util.js';
import { Future, runCallbacks } from './future.js';
import { MapIterator, Zip } from './results.js';
import type { BothWays } from './waiting.js';

/** So many tasks more than workers wait for a worker: what is given to them cannot be cancelled. As in CPython. */
const EXTRA_QUEUED_CALLS = 1;

/** What an executor needs of a context. */
export interface ExecutorContext {
  Process: (new (options: ProcessOptions) => BaseProcess) & {
    readonly startMethod?: string | null;
  };
  getStartMethod?: () => string | null;
}

export interface ExecutorOptions {
  /** How many workers; by default as many as there are CPUs for this process. */
  maxWorkers?: number | null | undefined;
  /** Makes the workers: a context, as `getContext` answers it. */
  mpContext?: ExecutorContext | null | undefined;
  /** Called in each worker before its first task. May be async. If it fails, the executor is broken. */
  initializer?: ((...args: never[]) => unknown) | null | undefined;
  initargs?: Iterable<unknown> | undefined;
  /** A worker ends after so many tasks (a chunk is one), and another one takes its place. */
  maxTasksPerChild?: number | null | undefined;
}

export interface ExecutorMapOptions {
  /** Seconds from the call on, for all results; undefined and null: no limit. */
  timeout?: number | null | undefined;
  /** So many items are one task; 1 by default. */
  chunksize?: number | undefined;
  /** So many tasks are submitted ahead of the results that are taken; null: all at once. */
  buffersize?: number | null | undefined;
}

export interface ShutdownOptions {
  /** Whether to wait until all is done and the workers have ended: true by default. */
  wait?: boolean | undefined;
  /** Cancels what is pending. */
  cancelFutures?: boolean | undefined;
}

// -------------------------------------------------------------------------------------------------
// Calls on their way

const TERMINATED =
  'A process in the process pool was terminated abruptly while the future was running or pending.';
const NOT_STARTED = 'A process of the process pool could not be started.';

/** One call of `submit`, or one chunk of `map`. */
class Call implements Job {
  readonly fn: Job['fn'];
  readonly flags: number;
  readonly #future: Future;
  #items: unknown[] | undefined;

  constructor(fn: Job['fn'], flags: number, items: unknown[], future: Future) {
    this.fn = fn;
    this.flags = flags;
    this.#items = items;
    this.#future = future;
  }

  get finished(): boolean {
    return this.#future._isDone;
  }

  get fed(): boolean {
    return this.#items === undefined;
  }

  nextTask(): unknown[] | undefined {
    const items = this.#items;
    this.#items = undefined;
    return items;
  }

  onPut(): void {
    this.#future._begin();
  }

  cancel(): void {
    this.#future.cancel();
  }

  succeed(_: number, value: unknown): void {
    this.#future._settle(value, false);
  }

  fail(_: number, error: unknown): void {
    this.#future._settle(error, true);
  }

  /** An error of its own for each: whoever throws one may change it. */
  abandon(cause: Error): void {
    const text = cause instanceof WorkerLostError ? TERMINATED : NOT_STARTED;
    this.fail(0, new BrokenProcessPool(text, { cause }));
  }
}

/** Of calls that nobody has been given yet, the next one that was not cancelled. */
function nextCall(backlog: Fifo<Call>): Call | undefined {
  let call = backlog.shift();
  while (call?.finished === true) call = backlog.shift();
  return call;
}

// -------------------------------------------------------------------------------------------------
// The end

/** Engines that may have workers. */
const engines = new Set<Engine>();
let isOver = false;

onNewIdentity(() => {
  engines.clear();
  isOver = false;
});

/** What CPython's `_python_exit` does: everything that is pending is done, and the workers end. */
function endAll(): void {
  isOver = true;
  for (const engine of engines) engine.close();
  for (const engine of engines) {
    try {
      engine.join(-1);
    } catch (error) {
      // Nothing may keep the program from ending.
      engine.terminate();
      process.stderr.write(`executor: ${inspect(error)}\n`);
    }
  }
  engines.clear();
}

beforeChildrenEnd(endAll);

/** On the event loop. */
async function endLater(engine: Engine): Promise<void> {
  engine.close();
  try {
    await engine.joinAsync(undefined);
    engines.delete(engine);
  } catch {
    // At the end of the program it is tried once more.
  }
}

/** Ends the workers of an executor that the program has dropped, when they are done. */
const forgotten = new FinalizationRegistry<Engine>((engine) => void endLater(engine));

// -------------------------------------------------------------------------------------------------
// Arguments

const OPTIONS = ['maxWorkers', 'mpContext', 'initializer', 'initargs', 'maxTasksPerChild'];
const USAGE = 'new ProcessPoolExecutor({ maxWorkers, … })';

function readOptions(given: readonly unknown[]): ExecutorOptions {
  const [first, mpContext, initializer, initargs] = given;
  if (first === undefined || first === null || typeof first === 'number') {
    return { maxWorkers: first, mpContext, initializer, initargs } as ExecutorOptions;
  }
  checkOptions(first, 'ProcessPoolExecutor', USAGE, OPTIONS);
  return first;
}

function checkInteger(value: unknown, name: string): asserts value is number {
  if (typeof value !== 'number' || !Number.isInteger(value)) {
    throw new TypeError(`${name} must be an integer`);
  }
}

function checkWorkers(maxWorkers: number): void {
  checkInteger(maxWorkers, 'max_workers');
  if (maxWorkers <= 0) throw new ValueError('max_workers must be greater than 0');
}

function checkTasks(maxTasks: number | null | undefined): void {
  if (maxTasks === undefined || maxTasks === null) return;
  checkInteger(maxTasks, 'max_tasks_per_child');
  if (maxTasks <= 0) throw new ValueError('max_tasks_per_child must be >= 1');
}

// -------------------------------------------------------------------------------------------------

/**
 * Calls functions in worker processes. Mirrors `concurrent.futures.ProcessPoolExecutor`.
 *
 *   using executor = new ProcessPoolExecutor({ maxWorkers: 4 });
 *   const future = executor.submit((x, y) => x ** y, 2, 8);
 *   future.result(); // 256
 */
export class ProcessPoolExecutor {
  readonly #owner = native.getpid();
  readonly #engine: Engine;
  readonly #backlog: Fifo<Call>;
  readonly #chunkMode: number;
  readonly #callMode: number;
  #isShutdown = false;

  /**
   * Positional arguments are Python's.
   *
   * @throws ValueError `maxWorkers` or `maxTasksPerChild` below 1. TypeError.
   */
  constructor(options?: ExecutorOptions);
  constructor(
    maxWorkers?: number | null,
    mpContext?: ExecutorOptions['mpContext'],
    initializer?: ExecutorOptions['initializer'],
    initargs?: ExecutorOptions['initargs'],
  );
  constructor(...given: unknown[]) {
    const { initializer, initargs = [], maxTasksPerChild, ...rest } = readOptions(given);
    const processes = rest.maxWorkers ?? cpuCount();
    checkWorkers(processes);
    const context = rest.mpContext ?? getContext();
    if (typeof context.Process !== 'function') {
      throw wrongType('mp_context', 'a context, as getContext() answers it', context);
    }
    checkInitializer(initializer);
    checkIterable(initargs, 'initargs');
    checkTasks(maxTasksPerChild);

    const { Engine: EngineClass, Mode } = lazyPart<typeof PoolPart>('pool');
    this.#callMode = Mode.apply;
    this.#chunkMode = Mode.starmap;
    // Nothing here may keep the executor itself alive.
    const backlog = new Fifo<Call>();
    this.#backlog = backlog;
    this.#engine = new EngineClass({
      processes,
      initializer,
      initargs: [...initargs],
      maxTasksPerChild,
      areCopies: startsCopies(context),
      // One for each worker to work on, and those that wait.
      mostAhead: processes + processes + EXTRA_QUEUED_CALLS,
      makeProcess(processOptions) {
        const worker = new context.Process(processOptions);
        worker._endsWithParent = true;
        return worker;
      },
      nextJob: () => nextCall(backlog),
      onLost: () => true,
      onServed: runCallbacks,
    });
    forgotten.register(this, this.#engine, this);
  }

  #checkOpen(): void {
    if (native.getpid() !== this.#owner) {
      throw new RuntimeError('an executor belongs to the process that made it');
    }
    this.#engine.service();
    if (this.#engine.broken !== undefined) {
      throw new BrokenProcessPool(
        'A child process terminated abruptly, the process pool is not usable anymore',
        { cause: this.#engine.broken },
      );
    }
    if (this.#isShutdown) throw new RuntimeError('cannot schedule new futures after shutdown');
    if (isOver) {
      throw new RuntimeError('cannot schedule new futures after interpreter shutdown');
    }
  }

  #submit<T>(fn: Job['fn'], flags: number, items: unknown[]): Future<T> {
    this.#engine.checkFunction(fn, 'fn');
    const future = new Future<T>(this.#engine);
    this.#backlog.push(new Call(fn, flags, items, future));
    engines.add(this.#engine);
    this.#engine.feed();
    return future;
  }

  /**
   * Has `fn(...args)` called in a worker. Mirrors `Executor.submit`.
   *
   * @throws BrokenProcessPool. RuntimeError after `shutdown`, and in another process than the one that made it.
   */
  submit<A extends readonly unknown[], R>(fn: TaskFunction<A, R>, ...args: A): Future<Awaited<R>> {
    this.#checkOpen();
    checkCallable(fn, 'fn');
    return this.#submit(fn as never, this.#callMode, args as unknown as unknown[]);
  }

  /**
   * Calls `fn` with the first items of all iterables, then with the second ones, and so on, in the workers. Answers an
   * iterator over the results, in this order: iterate it with `for`, which blocks, or with `for await`. Leaving the loop
   * cancels what has not begun. Mirrors `Executor.map`.
   *
   * @throws while iterating: what the function threw, which ends the iteration. TimeoutError. BrokenProcessPool.
   */
  map<R>(
    fn: (...args: never[]) => R,
    iterables: readonly Iterable<unknown>[],
    options: ExecutorMapOptions = {},
  ): BothWays<Awaited<R>> {
    checkOptions(options, 'map', 'map(fn, [iterable, …], { timeout, chunksize, buffersize })', [
      'timeout',
      'chunksize',
      'buffersize',
    ]);
    const { timeout, chunksize = 1, buffersize } = options;
    checkCallable(fn, 'fn');
    checkIterable(iterables, 'iterables');
    const sources = [...iterables];
    for (const source of sources) checkIterable(source, 'each of the iterables');
    checkInteger(chunksize, 'chunksize');
    if (chunksize < 1) throw new ValueError('chunksize must be >= 1.');
    if (buffersize !== undefined && buffersize !== null) {
      checkInteger(buffersize, 'buffersize');
      if (buffersize < 1) throw new ValueError('buffersize must be None or >= 1.');
    }
    const milliseconds = timeoutMs(timeout);

    const zip = new Zip(sources);
    const more = (): Future<Awaited<R>[]> | undefined => {
      const chunk = zip.chunk(chunksize);
      if (chunk === undefined) return undefined;
      this.#checkOpen();
      return this.#submit(fn as never, this.#chunkMode, chunk);
    };
    const futures: Future<Awaited<R>[]>[] = [];
    const most = buffersize ?? Infinity;
    for (let future; futures.length < most && (future = more()) !== undefined;) {
      futures.push(future);
    }
    const lazy = most === Infinity ? undefined : more;
    return new MapIterator(futures, milliseconds, zip, lazy);
  }

  // --- the end

  /** @returns whether the workers are to be waited for. */
  #close({ wait = true, cancelFutures = false }: ShutdownOptions): boolean {
    this.#isShutdown = true;
    // In a forked child: they are the parent's.
    if (native.getpid() !== this.#owner) return false;
    forgotten.unregister(this);
    if (cancelFutures) this.#cancelPending();
    this.#engine.close();
    if (!wait) void endLater(this.#engine);
    return wait;
  }

  #cancelPending(): void {
    for (const call of this.#backlog.clear()) call.cancel();
  }

  /**
   * No more calls are taken; the workers end when all is done. Mirrors `Executor.shutdown`. With `wait`, which is the
   * default, it returns when they have ended.
   */
  shutdown(options: ShutdownOptions = {}): void {
    checkOptions(options, 'shutdown', 'shutdown({ wait, cancelFutures })', SHUTDOWN_OPTIONS);
    if (!this.#close(options)) return;
    this.#engine.join(-1);
    engines.delete(this.#engine);
  }

  /** As `shutdown`, without blocking the event loop. @throws the signal's reason: it goes on all the same. */
  async shutdownAsync(options: ShutdownOptions & AsyncOptions = {}): Promise<void> {
    const { signal, ...rest } = options;
    checkOptions(rest, 'shutdownAsync', 'shutdownAsync({ cancelFutures })', SHUTDOWN_OPTIONS);
    signal?.throwIfAborted();
    if (!this.#close(rest)) return;
    await this.#engine.joinAsync(signal);
    engines.delete(this.#engine);
  }

  /**
   * Sends SIGTERM to all workers. What is pending is cancelled, what is running fails with a BrokenProcessPool. Mirrors
   * `ProcessPoolExecutor.terminate_workers` of Python 3.14.
   */
  terminateWorkers(): void {
    this.#forceShutdown((worker) => worker.terminate());
  }

  /** As `terminateWorkers`, by SIGKILL. Mirrors `ProcessPoolExecutor.kill_workers` of Python 3.14. */
  killWorkers(): void {
    this.#forceShutdown((worker) => worker.kill());
  }

  #forceShutdown(end: (worker: BaseProcess) => void): void {
    if (native.getpid() !== this.#owner) return;
    const { workers } = this.#engine;
    this.shutdown({ wait: false, cancelFutures: true });
    for (const worker of workers) {
      if (!worker._closed && worker.exitcode === null) end(worker);
    }
  }

  /** Shuts it down and waits, as Python's `with` does. */
  [Symbol.dispose](): void {
    this.shutdown();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.shutdownAsync();
  }

  /** @internal The workers' processes. */
  get _processes(): readonly BaseProcess[] {
    return this.#engine.workers;
  }
}

const SHUTDOWN_OPTIONS = ['wait', 'cancelFutures'];
