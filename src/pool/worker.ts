/**
 * What a worker does: the counterpart of `worker()` in CPython's `pool.py`.
 *
 * As long as there is work it runs without a turn of the event loop between two tasks; the loop gets one every few
 * milliseconds, and before the worker goes to sleep. What tasks have left in the loop (timers, sockets) lives on: then
 * the worker sleeps in the loop. A task that is async is awaited before the next one is taken.
 */

import { kinCount, kinNumber } from '../kinship.js';
import { native } from '../native.js';
import { missingModule, reduction, registerModule, type EncodeContext } from '../reduction.js';
import { NOT_YET, NOTHING, REFUSED, type Channel } from '../queues.js';
import {
  EACH,
  Hold,
  Mode,
  MODE_BITS,
  now,
  Status,
  TIMED,
  type Board,
  type EachOutcome,
  type Task,
} from './protocol.js';
import {
  describeError,
  maybeEncodingError,
  whyUnsendable,
  type RemoteError,
} from './remote_errors.js';

export type Callable = (...args: never[]) => unknown;

export interface WorkerSetup {
  tasks: Channel<Task | null>;
  results: Channel<unknown>;
  board: Board;
  /** The number of its claim, and its place on the board. */
  index: number;
  generation: number;
  initializer: Callable | null | undefined;
  initargs: readonly unknown[];
  /** It ends after so many tasks. */
  maxTasks: number;
  /** Functions that it was forked for: kept alive. Without a fork there are none. */
  kin: readonly object[];
}

/** The event loop gets a turn after so long. */
const LONGEST_TURN_MS = 2;
/** Fresh workers do not begin, and print, before their parent has said what it has to say; but not for longer than this. */
const LONGEST_HOLD_MS = 5;
const HOLD_SLICE_MS = 0.1;
/** The same, while others are to take what there is. */
const NOT_YET_SLICE_MS = 25;
/** A sleeping worker looks so often whether it is still needed. */
const SLICE_MS = 250;

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof (value as PromiseLike<unknown> | null | undefined)?.then === 'function';
}

type Fn = (...args: unknown[]) => unknown;

class Worker {
  readonly #setup: WorkerSetup;
  readonly #context: EncodeContext;
  #lastTurn = now();

  constructor(setup: WorkerSetup) {
    this.#setup = setup;
    // What its own pools may number is not for its parent.
    const inherited = kinCount();
    this.#context = {
      fds: false,
      kin(value) {
        const number = kinNumber(value);
        return number !== undefined && number < inherited ? number : undefined;
      },
    };
  }

  async run(): Promise<void> {
    const { board, index, initializer, maxTasks } = this.#setup;
    if (initializer !== null && initializer !== undefined) await this.#initialize();
    board.setReady(index);
    this.#hold();
    for (let left = maxTasks; left > 0; left--) {
      const taken = this.#take();
      const task = taken === NOTHING || taken === NOT_YET ? await this.#wait() : taken;
      if (task === undefined) return;
      const pending = this.#perform(task);
      if (pending !== undefined) await pending;
      if (now() - this.#lastTurn > LONGEST_TURN_MS) await this.#turn();
    }
    this.#put(this.#setup.results, undefined, index, Status.left);
  }

  #hold(): void {
    const { board } = this.#setup;
    let left = 1000;
    for (let hold; left > 0 && (hold = board.hold) !== Hold.no; left -= HOLD_SLICE_MS) {
      if (hold === Hold.brief) left = Math.min(left, LONGEST_HOLD_MS);
      native.sleepMs(HOLD_SLICE_MS);
    }
  }

  /** Does one task that is there, in the parent: what is compiled here need not be compiled by each worker. */
  rehearse(): void {
    this.#hold();
    const taken = this.#take();
    if (typeof taken === 'object') void this.#perform(taken);
  }

  async #initialize(): Promise<void> {
    const { initializer, initargs, index, results } = this.#setup;
    try {
      await (initializer as Fn)(...initargs);
    } catch (error) {
      const described = describeError(error, this.#context);
      this.#put(results, described, index, Status.broken);
      throw error;
    }
  }

  async #turn(): Promise<void> {
    await new Promise((resolve) => setImmediate(resolve));
    this.#lastTurn = now();
  }

  /** Undefined: this worker is not needed any more. */
  #take(): Taken | typeof NOTHING | typeof NOT_YET | undefined {
    const { tasks, board, index, generation } = this.#setup;
    const isRetired = board.generation !== generation;
    let task: Task | null | typeof NOTHING | typeof REFUSED | typeof NOT_YET;
    try {
      task = tasks.take(index, generation, board.orphaned);
    } catch (error) {
      return { flags: tasks.label[0], which: tasks.label[1], task: null, error };
    }
    if (task === REFUSED || (isRetired && task === NOTHING)) {
      // It may have been woken in place of one that is needed.
      tasks.native.wakeAll();
      return undefined;
    }
    if (task === NOTHING || task === NOT_YET) return task;
    const [flags, which] = tasks.label;
    if ((flags & MODE_BITS) === Mode.stop) return undefined;
    return { flags, which, task, error: undefined };
  }

  async #wait(): Promise<Taken | undefined> {
    const { tasks } = this.#setup;
    await this.#turn();
    for (;;) {
      const recalls = tasks.native.recalls();
      const before = tasks.taken;
      const taken = this.#take();
      if (taken === NOT_YET) {
        const slice = native.loopHolds() ? LONGEST_TURN_MS : NOT_YET_SLICE_MS;
        tasks.native.waitForTake(before, slice, recalls);
        await this.#turn();
        continue;
      }
      if (taken !== NOTHING) return taken;
      // Timers and sockets of the tasks' go on while it sleeps.
      if (native.loopHolds()) await new Promise<void>((resolve) => tasks.watchMessages(resolve));
      else tasks.waitForMessage(SLICE_MS, recalls);
    }
  }

  #perform(taken: Taken): Promise<void> | undefined {
    const { board, index, tasks } = this.#setup;
    const begin = now();
    board.begin(index, begin);
    // Before any other task can be taken in this process.
    const number = tasks.claim(index) >>> 1;
    const outcome = this.#outcome(taken);
    if (!isThenable(outcome)) {
      this.#answer(number, outcome, begin);
      return undefined;
    }
    return outcome.then((settled) => this.#answer(number, settled, begin));
  }

  #answer(number: number, { status, value }: Outcome, begin: number): void {
    const { board, index, results, tasks } = this.#setup;
    this.#put(results, value, number, status);
    tasks.clearClaim(index);
    board.end(index, now() - begin);
  }

  #outcome(taken: Taken): Outcome | Promise<Outcome> {
    const { flags, which, task, error } = taken;
    if (task === null) {
      const url = missingModule(error);
      return url === undefined ? this.#failure(error) : this.#outcomeWith(url, taken);
    }
    if (which > 0 && this.#setup.board.isOff(which - 1)) return SKIPPED;
    const [fn, items] = task;
    const mode = flags & MODE_BITS;
    if (mode !== Mode.apply) return this.#map(fn, items, flags, which);
    try {
      const value = fn(...items);
      if (!isThenable(value)) return { status: Status.value, value };
      return Promise.resolve(value).then(
        (settled) => ({ status: Status.value, value: settled }),
        (reason: unknown) => this.#failure(reason),
      );
    } catch (reason) {
      return this.#failure(reason);
    }
  }

  /** It refers to an ES module that was imported by its parent after this worker was started. */
  async #outcomeWith(first: string, taken: Taken): Promise<Outcome> {
    for (let url: string | undefined = first; url !== undefined;) {
      try {
        registerModule(url, (await import(url)) as Record<string, unknown>);
      } catch (error) {
        return this.#failure(error);
      }
      try {
        taken.task = this.#setup.tasks.takeAgain();
        break;
      } catch (error) {
        // One after another.
        const other = missingModule(error);
        if (other === undefined || other === url) return this.#failure(error);
        url = other;
      }
    }
    return this.#outcome(taken);
  }

  #failure(error: unknown): Outcome {
    return { status: Status.error, value: describeError(error, this.#context) };
  }

  #map(fn: Fn, items: unknown[], flags: number, which: number): Outcome | Promise<Outcome> {
    const star = (flags & MODE_BITS) === Mode.starmap;
    const plain = (flags & (EACH | TIMED)) === 0 && which === 0;
    if (!plain) return this.#mapCarefully(fn, items, flags, which, star);
    const values = new Array<unknown>(items.length);
    let at = 0;
    try {
      for (; at < items.length; at++) {
        const value = star ? fn(...(items[at] as unknown[])) : fn(items[at]);
        if (isThenable(value)) return this.#goOn(fn, items, star, values, at, value);
        values[at] = value;
      }
    } catch (reason) {
      return this.#failure(reason);
    }
    return { status: Status.value, value: values };
  }

  /** The function is async. */
  async #goOn(
    fn: Fn,
    items: unknown[],
    star: boolean,
    values: unknown[],
    at: number,
    first: PromiseLike<unknown>,
  ): Promise<Outcome> {
    try {
      values[at] = await first;
      for (at++; at < items.length; at++) {
        values[at] = await (star ? fn(...(items[at] as unknown[])) : fn(items[at]));
      }
    } catch (reason) {
      return this.#failure(reason);
    }
    return { status: Status.value, value: values };
  }

  /** With the time of each item, an outcome of each, or a switch that may be turned off. */
  #mapCarefully(
    fn: Fn,
    items: unknown[],
    flags: number,
    which: number,
    star: boolean,
  ): Outcome | Promise<Outcome> {
    const { board, index } = this.#setup;
    const values: unknown[] = [];
    const errors: [number, RemoteError][] = [];
    const isEach = (flags & EACH) !== 0;
    const fail = (reason: unknown): Outcome | undefined => {
      if (!isEach) return this.#failure(reason);
      errors.push([values.length, describeError(reason, this.#context)]);
      values.push(undefined);
      return undefined;
    };
    const step = (): Outcome | Promise<Outcome> => {
      while (values.length < items.length) {
        if (which > 0 && board.isOff(which - 1)) return SKIPPED;
        if ((flags & TIMED) !== 0) board.begin(index, now());
        const item = items[values.length];
        try {
          const value = star ? fn(...(item as unknown[])) : fn(item);
          if (isThenable(value)) {
            return Promise.resolve(value).then(
              (settled) => {
                values.push(settled);
                return step();
              },
              (reason: unknown) => fail(reason) ?? step(),
            );
          }
          values.push(value);
        } catch (reason) {
          const failure = fail(reason);
          if (failure !== undefined) return failure;
        }
      }
      if (!isEach) return { status: Status.value, value: values };
      return { status: Status.each, value: [values, errors] };
    };
    return step();
  }

  #put(results: Channel<unknown>, value: unknown, number: number, status: number): void {
    try {
      results.putLabelled(value, [number, status], this.#context, 0);
    } catch (reason) {
      const instead =
        status === Status.each
          ? this.#sendable(value as EachOutcome)
          : ([maybeEncodingError(reason, value)] satisfies RemoteError);
      const kind = status === Status.value ? Status.error : status;
      results.putLabelled(instead, [number, kind], this.#context, 0);
    }
  }

  /** Those that can be sent, and errors for the others. */
  #sendable([values, errors]: EachOutcome): EachOutcome {
    const kept = values.map((value, at) => {
      const problem = whyUnsendable(value, this.#context);
      if (problem === undefined) return value;
      errors.push([at, [maybeEncodingError(problem, value)]]);
      return undefined;
    });
    return [kept, errors];
  }
}

const SKIPPED: Outcome = { status: Status.skipped, value: undefined };

interface Taken {
  flags: number;
  which: number;
  /** Null: it cannot be read, and `error` says why. */
  task: Task | null;
  error: unknown;
}

interface Outcome {
  status: number;
  value: unknown;
}

export function rehearseWork(setup: WorkerSetup): void {
  new Worker(setup).rehearse();
}

/** What tasks have left in the event loop may go on for so long when the worker is to end. */
const GRACE_MS = 1000;

/** The whole life of a worker. It ends when this is settled, and what tasks have left in its event loop is done. */
export async function work(setup: WorkerSetup): Promise<void> {
  await new Worker(setup).run();
  setTimeout(() => process.exit(), GRACE_MS).unref();
}

// What a worker finds that was not forked.
reduction.register('multiprocessing.pool.work', work);
