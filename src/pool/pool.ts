/**
 * `Pool`: the counterpart of CPython's `multiprocessing/pool.py`.
 *
 * Under fork any function works, closures included: workers are forked at the first call, and again, fresh ones in
 * place of the others, when a function comes that they have not seen (engine.ts has the rules, closures.ts what
 * counts as seen). Where processes are not forked, workers start with the pool, and functions travel by their names.
 * Nothing needs a turn of the event loop, and nothing waits for ever: a worker that dies fails
 * its task and is replaced.
 */

import { inspect } from 'node:util';
import {
  checkCallable,
  checkInitializer,
  checkIterable,
  checkNames,
  wrongType,
} from '../arguments.js';
import { cpuCount } from '../cpu.js';
import { ValueError } from '../errors.js';
import type { AsyncOptions, BaseProcess, ProcessOptions } from '../process.js';
import { Engine, type Job, type WorkerStats } from './engine.js';
import { progressBar, type Progress, type ProgressOptions } from './progress.js';
import { Mode } from './protocol.js';
import {
  ApplyResult,
  IMapIterator,
  MapResult,
  type AsyncResult,
  type JobOptions,
} from './results.js';

export { AsyncResult, IMapIterator, type JobOptions } from './results.js';
export type { ProgressOptions } from './progress.js';
export type { WorkerStats } from './engine.js';

/** What a task may be: sync or async. */
export type TaskFunction<A extends readonly unknown[], R> = (...args: A) => R;

export interface PoolOptions {
  /** How many workers; by default as many as there are CPUs for this process. */
  processes?: number | null | undefined;
  /** Called in each worker before its first task. May be async. */
  initializer?: ((...args: never[]) => unknown) | null | undefined;
  initargs?: Iterable<unknown> | undefined;
  /** A worker ends after so many tasks (a chunk is one), and another one takes its place. */
  maxtasksperchild?: number | null | undefined;
}

export interface MapOptions<T> extends JobOptions<T> {
  /** Draws a bar on stderr, if that is a terminal. */
  progress?: boolean | ProgressOptions | undefined;
}

export interface PoolStats {
  workers: WorkerStats[];
  /** Tasks that no worker has begun, and those that one is at. */
  queued: number;
  running: number;
}

/** The class as a context has it. */
export interface PoolConstructor {
  new (
    processes?: number | null,
    initializer?: PoolOptions['initializer'],
    initargs?: Iterable<unknown>,
    maxtasksperchild?: number | null,
  ): Pool;
  new (options: PoolOptions): Pool;
  readonly prototype: Pool;
}

/** What a pool needs of its context. */
export interface PoolContext {
  Process: new (options: ProcessOptions) => BaseProcess;
  /** Whether its processes have, when they start, what this one has. */
  areCopies: boolean;
}

const OPTIONS = ['processes', 'initializer', 'initargs', 'maxtasksperchild'];

function readOptions(given: readonly unknown[]): PoolOptions {
  const [first, initializer, initargs, maxtasksperchild] = given;
  if (typeof first !== 'object' || first === null) {
    return { processes: first, initializer, initargs, maxtasksperchild } as PoolOptions;
  }
  checkNames(first, OPTIONS, 'Pool() ');
  return first;
}

function checkPositive(value: unknown, name: string, error: () => Error): number {
  if (typeof value !== 'number') throw wrongType(name, 'an integer', value);
  if (!Number.isInteger(value) || value < 1) throw error();
  return value;
}

function checkJobOptions(options: unknown, known: readonly string[]): void {
  if (typeof options !== 'object' || options === null) {
    throw wrongType('options', 'an object', options);
  }
  checkNames(options, known);
  for (const key of ['callback', 'errorCallback']) {
    const callback = (options as Record<string, unknown>)[key];
    if (callback !== undefined && callback !== null) checkCallable(callback, key);
  }
}

const JOB_OPTIONS = ['callback', 'errorCallback', 'timeout', 'signal'];
const MAP_OPTIONS = [...JOB_OPTIONS, 'progress'];

function listOf(iterable: unknown): unknown[] {
  if (Array.isArray(iterable)) return iterable;
  checkIterable(iterable, 'iterable');
  return [...iterable];
}

/** Ends the workers of a pool that the program has dropped, when they are done. */
const forgotten = new FinalizationRegistry<Engine>((engine) => engine.close());

/**
 * Worker processes that tasks are given to. Mirrors `multiprocessing.Pool`.
 *
 *   const pool = new Pool(4);
 *   pool.map((x) => x ** 2, [1, 2, 3]); // [1, 4, 9]
 */
export class Pool {
  readonly #engine: Engine;
  #state: 'RUN' | 'CLOSE' | 'TERMINATE' = 'RUN';

  /**
   * @internal `context` is bound by the contexts' own classes.
   * @throws ValueError `processes` or `maxtasksperchild` below 1. TypeError. Of workers that are not forked, which start
   *   here: PicklingError the initializer or its arguments cannot be sent, RuntimeError, Error EAGAIN, ENOMEM, EMFILE.
   */
  constructor(context: PoolContext, given: readonly unknown[]) {
    const options = readOptions(given);
    const { initializer, maxtasksperchild } = options;
    const processes = checkPositive(
      options.processes ?? cpuCount(),
      'processes',
      () => new ValueError('Number of processes must be at least 1'),
    );
    checkInitializer(initializer);
    if (maxtasksperchild !== undefined && maxtasksperchild !== null) {
      const error = (): Error => new ValueError('maxtasksperchild must be a positive int or None');
      if (typeof maxtasksperchild !== 'number') throw error();
      checkPositive(maxtasksperchild, 'maxtasksperchild', error);
    }
    const initargs = options.initargs ?? [];
    checkIterable(initargs, 'initargs');
    this.#engine = new Engine({
      processes,
      initializer,
      initargs: [...initargs],
      maxTasksPerChild: maxtasksperchild,
      areCopies: context.areCopies,
      makeProcess(processOptions) {
        const worker = new context.Process({ ...processOptions, daemon: true });
        worker.name = worker.name.replace('Process', 'PoolWorker');
        return worker;
      },
    });
    this.#engine.start();
    forgotten.register(this, this.#engine, this);
  }

  #checkRunning(): void {
    if (this.#state !== 'RUN') throw new ValueError('Pool not running');
  }

  #submit<J extends Job>(job: J, { signal }: JobOptions<never>): J {
    if (signal?.aborted === true) job.abandon(signal.reason as Error);
    else this.#engine.submit(job);
    return job;
  }

  // --- one task

  /**
   * Calls `fn(...args)` in a worker and waits for the result.
   *
   * @param kwds passed as one more, last argument when it has a key.
   * @throws what the function threw; its `cause` has the stack in the worker. WorkerLostError. TimeoutError.
   *   MaybeEncodingError the result cannot be sent. ValueError the pool is closed.
   */
  apply<A extends readonly unknown[], R>(
    fn: TaskFunction<A, R>,
    args?: A | Iterable<unknown>,
    kwds?: Record<string, unknown> | null,
    options?: JobOptions<Awaited<R>>,
  ): Awaited<R> {
    return this.#apply(fn, args, kwds, options, true).get();
  }

  /** As `apply`; answers at once. Mirrors `Pool.apply_async`. */
  applyAsync<A extends readonly unknown[], R>(
    fn: TaskFunction<A, R>,
    args?: A | Iterable<unknown>,
    kwds?: Record<string, unknown> | null,
    options?: JobOptions<Awaited<R>>,
  ): AsyncResult<Awaited<R>> {
    return this.#apply(fn, args, kwds, options, false);
  }

  #apply<R>(
    fn: unknown,
    args: Iterable<unknown> = [],
    kwds: Record<string, unknown> | null = {},
    options: JobOptions<Awaited<R>> = {},
    urgent: boolean,
  ): AsyncResult<Awaited<R>> {
    this.#checkRunning();
    checkCallable(fn, 'func');
    checkIterable(args, 'args');
    checkJobOptions(options, JOB_OPTIONS);
    const all: unknown[] = [...args];
    if (kwds !== null && Object.keys(kwds).length > 0) all.push(kwds);
    const setup = { ...options, fn: fn as never, mode: Mode.apply, urgent };
    return this.#submit(new ApplyResult<Awaited<R>>(this.#engine, setup, all), options);
  }

  // --- many tasks

  /**
   * Calls `fn(item)` for each item, in the workers, and waits for all results, which are in the order of the items.
   *
   * @param chunksize so many items are one task; by default the items make four tasks for each worker.
   * @throws what the function threw for one of them, when all are done; and as `apply`.
   */
  map<T, R>(
    fn: (item: T) => R,
    iterable: Iterable<T>,
    chunksize?: number | null,
    options?: MapOptions<Awaited<R>[]>,
  ): Awaited<R>[] {
    return this.#map(fn as never, Mode.map, iterable, chunksize, options, true).get();
  }

  /** As `map`; answers at once. Mirrors `Pool.map_async`. */
  mapAsync<T, R>(
    fn: (item: T) => R,
    iterable: Iterable<T>,
    chunksize?: number | null,
    options?: MapOptions<Awaited<R>[]>,
  ): AsyncResult<Awaited<R>[]> {
    return this.#map(fn as never, Mode.map, iterable, chunksize, options, false);
  }

  /** As `map`, of items that are the arguments: `fn(...item)`. */
  starmap<R>(
    fn: (...args: never[]) => R,
    iterable: Iterable<Iterable<unknown>>,
    chunksize?: number | null,
    options?: MapOptions<Awaited<R>[]>,
  ): Awaited<R>[] {
    return this.#map(fn as never, Mode.starmap, iterable, chunksize, options, true).get();
  }

  /** As `starmap`; answers at once. Mirrors `Pool.starmap_async`. */
  starmapAsync<R>(
    fn: (...args: never[]) => R,
    iterable: Iterable<Iterable<unknown>>,
    chunksize?: number | null,
    options?: MapOptions<Awaited<R>[]>,
  ): AsyncResult<Awaited<R>[]> {
    return this.#map(fn as never, Mode.starmap, iterable, chunksize, options, false);
  }

  #map<R>(
    fn: never,
    mode: number,
    iterable: unknown,
    chunksize: number | null | undefined,
    options: MapOptions<R[]> = {},
    urgent: boolean,
  ): AsyncResult<R[]> {
    this.#checkRunning();
    checkCallable(fn, 'func');
    checkJobOptions(options, MAP_OPTIONS);
    const items = listOf(iterable);
    const { progress, ...rest } = options;
    const size =
      chunksize === undefined || chunksize === null
        ? Math.ceil(items.length / (4 * this.#engine.processes))
        : checkPositive(chunksize, 'chunksize', () => badChunksize(chunksize));
    const bar = this.#progress(progress, items.length);
    const setup = { ...rest, fn, mode, urgent, progress: bar };
    const result = new MapResult<R>(this.#engine, setup, items, size);
    return items.length === 0 ? result : this.#submit(result, options);
  }

  #progress(
    progress: boolean | ProgressOptions | undefined,
    total: number | undefined,
  ): Progress | undefined {
    if (progress === undefined || progress === false) return undefined;
    return progressBar(progress === true ? {} : progress, total);
  }

  /**
   * As `map`, but answers an iterator that gives each result as soon as it and those before it are there. Iterate it
   * with `for` or `for await`. The iterable is read as results are taken: it may be endless.
   */
  imap<T, R>(
    fn: (item: T) => R,
    iterable: Iterable<T>,
    chunksize = 1,
    options: MapOptions<Awaited<R>> = {},
  ): IMapIterator<Awaited<R>> {
    return this.#imap(fn as never, iterable, chunksize, options, true);
  }

  /** As `imap`, in the order in which the results come. */
  imapUnordered<T, R>(
    fn: (item: T) => R,
    iterable: Iterable<T>,
    chunksize = 1,
    options: MapOptions<Awaited<R>> = {},
  ): IMapIterator<Awaited<R>> {
    return this.#imap(fn as never, iterable, chunksize, options, false);
  }

  #imap<R>(
    fn: never,
    iterable: unknown,
    chunksize: number,
    options: MapOptions<R>,
    ordered: boolean,
  ): IMapIterator<R> {
    this.#checkRunning();
    checkCallable(fn, 'func');
    checkIterable(iterable, 'iterable');
    checkJobOptions(options, MAP_OPTIONS);
    const size = checkPositive(chunksize, 'chunksize', () => badChunksize(chunksize));
    const { progress, ...rest } = options;
    const { length } = iterable as { length?: unknown };
    const total = typeof length === 'number' ? length : undefined;
    const setup = { ...rest, fn, mode: Mode.map, progress: this.#progress(progress, total) };
    return this.#submit(new IMapIterator<R>(this.#engine, setup, iterable, size, ordered), options);
  }

  // --- the end

  /** No more tasks are taken; the workers end when all are done. */
  close(): void {
    if (this.#state !== 'RUN') return;
    this.#state = 'CLOSE';
    this.#engine.close();
  }

  /** Ends the workers at once. What is unfinished fails with a CancelledError. */
  terminate(): void {
    this.#state = 'TERMINATE';
    forgotten.unregister(this);
    this.#engine.terminate();
  }

  /** Waits for the workers to end, after `close` or `terminate`. @throws ValueError neither was called. */
  join(): void {
    if (this.#state === 'RUN') throw new ValueError('Pool is still running');
    this.#engine.join(-1);
  }

  /** As `join`, without blocking the event loop. @throws the signal's reason. */
  async joinAsync({ signal }: AsyncOptions = {}): Promise<void> {
    if (this.#state === 'RUN') throw new ValueError('Pool is still running');
    await this.#engine.joinAsync(signal);
  }

  /** Terminates it, as Python's `with` does. */
  [Symbol.dispose](): void {
    this.terminate();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.terminate();
  }

  // --- insight

  /** What the workers do, and have done. */
  stats(): PoolStats {
    return this.#engine.stats();
  }

  /** @internal The workers' processes. */
  get _pool(): readonly BaseProcess[] {
    return this.#engine.workers;
  }

  toString(): string {
    return `<Pool state=${this.#state} pool_size=${this.#engine.processes}>`;
  }

  [inspect.custom](): string {
    return this.toString();
  }
}

function badChunksize(chunksize: unknown): Error {
  return new ValueError(`Chunksize must be 1+, not ${String(chunksize)}`);
}
