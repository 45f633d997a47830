/**
 * The parent's side of a pool: tasks out, results in, and workers that come and go. What Python's Pool does with
 * three threads happens here in `service()`, which
 * - blocking calls call again and again while they wait, all blocking calls of the package once a pool has work
 *   (clock.ts), and
 * - the event loop calls when a result has come or a worker has ended.
 *
 * It never blocks. A callback that blocks, which it calls, enters it again. protocol.ts says how parent and workers understand each other.
 *
 * **When a process dies here.** A worker that was killed is noticed by its exit code, at most 25 ms later; its task, if
 * it had one, fails with a WorkerLostError, and another worker is forked. When the parent dies, the kernel ends the
 * workers, which are daemons.
 *
 * **Generations.** Workers have the functions that were there at their fork. A task with a function that they lack makes
 * a new generation: fresh workers are forked at once, and the older ones end when they have done what they are
 * about. While a whole pool of older ones is still busy nothing more is forked: the task waits until one of them
 * has ended. So a loop of new closures has two pools' worth of processes at most, however fast it turns.
 *
 * **Workers that are no copies of this process** (spawn) know what they import, and a new one knows no more: there is one
 * generation, functions travel by reference, and what cannot is refused before it is a task. All is theirs by their
 * Process's arguments: the channels and the board go along as shared objects do.
 */

import { readFileSync } from 'node:fs';
import { constants } from 'node:os';
import { checkAbortSignal } from '../arguments.js';
import { onBlocking, serveOthers } from '../clock.js';
import { CancelledError, RuntimeError, TimeoutError, WorkerLostError } from '../errors.js';
import { Fifo } from '../fifo.js';
import { startTogether } from '../fork.js';
import { adopt, allKin, kinCount, kinNumber } from '../kinship.js';
import { native } from '../native.js';
import type { BaseProcess, ProcessOptions } from '../process.js';
import { Channel, NOTHING } from '../queues.js';
import { launchTogether } from '../popen/spawn.js';
import { encode, hasReference, registrations, type EncodeContext } from '../reduction.js';
import { portrait } from './closures.js';
import {
  Board,
  Hold,
  Mode,
  MODE_BITS,
  MOST_AHEAD,
  now,
  Status,
  SWITCHES,
  TIMED,
  type EachOutcome,
  type Task,
} from './protocol.js';
import { restoreError, type RemoteError } from './remote_errors.js';
import { rehearseWork, work, type Callable, type WorkerSetup } from './worker.js';

/** What was submitted in one call: a function, and the tasks that it makes. */
export interface Job {
  readonly fn: Callable;
  /** Mode and flags of protocol.ts. */
  readonly flags: number;
  /** Milliseconds for each task, or each item of one; undefined: no limit. */
  readonly limit?: number | undefined;
  /** Somebody is about to block until it is done: its workers need not leave the parent a moment. */
  readonly urgent?: boolean;
  /** Whether it can be called off: `Engine.callOff`. */
  readonly canBeOff?: boolean;
  /** Nobody waits for it any more. */
  readonly finished: boolean;
  /** The next task; undefined: there is none, for now or, if `fed`, ever again. */
  nextTask(): unknown[] | undefined;
  readonly fed: boolean;
  /** It makes no more tasks before somebody takes results. */
  readonly isHeldUp?: boolean;
  /** Its next task is on its way to a worker. */
  onPut?(): void;
  succeed(index: number, value: unknown): void;
  succeedEach?(index: number, values: unknown[], errors: ReadonlyMap<number, unknown>): void;
  fail(index: number, error: unknown): void;
  /** There will be no more results. */
  abandon(error: Error): void;
}

export interface EngineOptions {
  processes: number;
  initializer?: Callable | null | undefined;
  initargs?: readonly unknown[];
  maxTasksPerChild?: number | null | undefined;
  /** Makes a worker's process. */
  makeProcess: (options: ProcessOptions) => BaseProcess;
  /** Whether such a process has, when it starts, all functions that this one has. */
  areCopies: boolean;
  /** A worker was lost, with a task or without. True: it is not replaced, because the whole is over. */
  onLost?: (error: WorkerLostError) => boolean;
  /** So many tasks are put ahead of what is finished. */
  mostAhead?: number;
  /** Asked for a job, besides those that are submitted, when there is room for one. */
  nextJob?: () => Job | undefined;
  /** Called when a service is over, and the program's own code may run. */
  onServed?: () => void;
}

/** A task that was put and has no result yet. */
interface Pending {
  job: Job;
  index: number;
  bytes: number;
  generation: number;
  /** Functions that it has: workers that are forked meanwhile need them. */
  kin: readonly object[] | undefined;
}

/** Of a job, while it has tasks. */
interface Course {
  /** How many tasks it has made. */
  count: number;
  unfinished: number;
  /** Whether it may make more. */
  queued: boolean;
  /** It is making one, and what it calls for that may want another task of somebody else. */
  feeding: boolean;
  /** A task that it has made and that could not be put yet. */
  held: unknown[] | undefined;
  /** Its switch on the board, + 1; 0: none. */
  which: number;
}

interface Member {
  process: BaseProcess;
  /** Its claim, and its place on the board. */
  index: number;
  /** Which of the pool's workers it is. */
  place: number;
  generation: number;
  /** It was buried, or the pool is over. */
  isGone: boolean;
  /** Why we have killed it, and at which task. */
  verdict: { number: number; error: Error | undefined } | undefined;
}

/** So much is put ahead of what is finished. */
const MOST_BYTES_AHEAD = 64 << 20;
/** A blocking call looks after the workers so often. */
export const SLICE_MS = 25;
/** The same, while other pools have something to do. */
const SHORT_SLICE_MS = 2;
/** On the event loop, results are taken for so long in one turn. */
const TURN_MS = 2;
/** Tags of messages have eight bits: as many generations may be under way. */
const MOST_GENERATIONS = 100;
/** Workers that are there at once: those that the pool has, and older ones that are not yet done. */
const MOST_PLACES = 704;
const MOST_PROCESSES = MOST_PLACES / 2;
/** So many functions are kept for others that will look like them: all are looked at when a worker is forked. */
const MOST_PORTRAITS = 8;
/** A worker that is told to end by SIGTERM, and does not, is killed after so long. */
const GRACE_MS = 1000;
/** So long a pool that has work may be without a worker where the system has no room for one. */
const LONGEST_WITHOUT_MS = 3000;
const NUMBERS = 0x8000_0000;
const NO_CLAIM = 0xffff_ffff;
/** In place of a Status. */
const UNREADABLE = -1;

export interface WorkerStats {
  pid: number | null;
  /** Tasks done, chunks counting as one. */
  tasks: number;
  /** Seconds in tasks, and between them, since it was ready. */
  busySeconds: number;
  idleSeconds: number;
  /** How often the worker in this place was replaced. */
  restarts: number;
  /** Resident memory in bytes, what it shares with its parent included; null: the system does not tell. */
  rss: number | null;
}

let rehearsed = false;

export class Engine {
  readonly #options: EngineOptions;
  readonly #owner = native.getpid();
  readonly #tasks: Channel<Task | null>;
  readonly #results: Channel<unknown>;
  readonly #board: Board;
  readonly #context: EncodeContext;

  #generation = 0;
  /** Workers of this generation know the functions with smaller numbers. */
  #known = -1;
  /** And what was registered by then. */
  #registrations = 0;
  #missing = false;
  #sinceRefresh = 0;
  #wanted = 0;
  /** A generation has begun, and its workers are forked once they have something to do. */
  #unhired = false;
  #held = false;
  #members: Member[] = [];
  /** Of older generations. */
  #retired: Member[] = [];
  readonly #indices: number[] = [];
  /** Of those that have done as many tasks as they may, and have not ended yet. */
  readonly #leaving = new Set<number>();
  /** How often each worker was replaced. */
  readonly #restarts: number[] = [];

  /** Jobs that still have tasks to put, first come, first served. */
  readonly #queue = new Fifo<Job>();
  readonly #courses = new Map<Job, Course>();
  readonly #pending = new Map<number, Pending>();
  #put = 0;
  #bytes = 0;
  #timed = 0;
  readonly #switches: number[] = [];
  #lastSwitch = 0;
  /** Initializers that have failed since one succeeded. */
  #failedStarts = 0;
  /** Whether workers that were forked lately have come to life; they are buried as others if they do not. */
  #starts: (() => boolean)[] = [];
  #startError: unknown;
  /** Since when there is work, and no worker could be forked. */
  #withoutSince: number | undefined;
  #broken: Error | undefined;
  #brokenAt = Infinity;

  #ending: 'no' | 'close' | 'stop' | 'over' = 'no';
  #busy = false;
  #lastSweep = 0;
  #watching = false;
  #stopWatching: (() => void) | undefined;
  #stopServing: (() => void) | undefined;
  readonly #serve = (): void => void this.service();
  /** Functions that in every worker of this generation are what the text says (closures.ts). */
  readonly #portraits = new Map<string, Function>();
  /** Others that look like one of them, for as long as that holds. */
  #twins = new WeakMap<object, object>();
  /** Functions that the next generation is forked for. */
  readonly #newcomers: Function[] = [];
  /** Functions in the task that is being encoded. */
  #met: object[] | undefined;

  constructor(options: EngineOptions) {
    this.#options = options;
    const { initializer } = options;
    if (initializer !== undefined && initializer !== null) {
      this.checkFunction(initializer, 'initializer');
    }
    const places = Math.min(MOST_PLACES, 4 * options.processes);
    if (options.processes > MOST_PROCESSES) {
      throw new RuntimeError(`a pool has at most ${MOST_PROCESSES} processes`);
    }
    this.#tasks = new Channel<Task | null>(new native.Channel(0));
    this.#results = new Channel<unknown>(new native.Channel(0));
    this.#board = new Board(places);
    for (let index = places; index-- > 0;) this.#indices.push(index);
    this.#board.orphaned = -1;
    this.#context = options.areCopies
      ? { fds: false, kin: (value, isLost) => this.#kinOf(value, isLost) }
      : { fds: false };
  }

  get processes(): number {
    return this.#options.processes;
  }

  get workers(): readonly BaseProcess[] {
    return [...this.#members, ...this.#retired].map(({ process }) => process);
  }

  /** Nothing is unfinished. */
  get idle(): boolean {
    return this.#pending.size === 0 && this.#queue.length === 0;
  }

  get broken(): Error | undefined {
    return this.#broken;
  }

  // --- functions

  /** @throws PicklingError workers that are no copies of this process cannot find it. */
  checkFunction(fn: Callable, name: string): void {
    if (this.#options.areCopies || hasReference(fn)) return;
    encode(fn, { fds: false, name });
  }

  #kinOf(value: object, isLost: boolean): number | undefined {
    let number = this.#kinNumber(value);
    if (number === undefined) {
      if (!isLost) return undefined;
      number = this.#adopt(value);
    }
    if (number >= this.#known && !this.#unhired) this.#missing = true;
    (this.#met ??= []).push(this.#twins.get(value) ?? value);
    return number;
  }

  /** The number by which the workers know it. */
  #kinNumber(value: object): number | undefined {
    return kinNumber(this.#twins.get(value) ?? value);
  }

  #adopt(value: object): number {
    // The first generation has whatever there is: nobody need look.
    const text = typeof value === 'function' && this.#known >= 0 ? portrait(value) : undefined;
    const twin = text === undefined || this.#unhired ? undefined : this.#portraits.get(text);
    if (twin !== undefined) {
      this.#twins.set(value, twin);
      return kinNumber(twin)!;
    }
    if (text !== undefined) this.#newcomers.push(value as Function);
    return adopt(value);
  }

  /** What holds for the workers that are forked now. */
  #portray(): void {
    this.#portraits.clear();
    this.#twins = new WeakMap();
    for (const fn of this.#newcomers.splice(0).slice(-MOST_PORTRAITS)) {
      const text = portrait(fn);
      if (text !== undefined) this.#portraits.set(text, fn);
    }
  }

  /** Another worker of this generation is forked: what has changed since does not hold for all of them. */
  #checkPortraits(): void {
    for (const [text, fn] of this.#portraits) {
      if (portrait(fn) === text) continue;
      this.#portraits.delete(text);
      this.#twins = new WeakMap();
    }
  }

  // --- jobs

  /** @throws RuntimeError in a child, or the pool is broken. PicklingError as `checkFunction`. */
  submit(job: Job): void {
    this.checkUsable();
    this.checkFunction(job.fn, 'func');
    this.#enrol(job);
    this.#begin();
  }

  /** There are jobs to be had from `nextJob`. @throws RuntimeError in a child, or the pool is broken. */
  feed(): void {
    this.checkUsable();
    this.#begin();
  }

  #enrol(job: Job): void {
    this.#courses.set(job, {
      count: 0,
      unfinished: 0,
      queued: true,
      feeding: false,
      held: undefined,
      which: 0,
    });
    this.#queue.push(job);
  }

  #begin(): void {
    const outer = this.#busy;
    this.#alone(() => this.#pump());
    if (this.idle && !outer) return;
    this.#watchLater();
    this.#stopServing ??= onBlocking(this.#serve);
  }

  /** @throws RuntimeError in a child, or the pool is broken. */
  checkUsable(): void {
    this.checkOwner();
    if (this.#broken !== undefined) throw this.#broken;
  }

  /** @throws RuntimeError this is a child of whoever made the pool. */
  checkOwner(): void {
    if (native.getpid() !== this.#owner) {
      throw new RuntimeError('a pool belongs to the process that made it: make another one here');
    }
  }

  #takeSwitch(): number {
    const which = this.#switches.pop() ?? (this.#lastSwitch < SWITCHES ? this.#lastSwitch++ : -1);
    if (which >= 0) this.#board.turn(which, false);
    return which + 1;
  }

  /** Puts what there is to put. */
  #pump(): void {
    this.#pumpQueue();
    // One that must wait holds up those behind it: they can still be cancelled.
    while (this.#queue.length === 0 && !this.#isFull()) {
      const job = this.#options.nextJob?.();
      if (job === undefined) break;
      this.#enrol(job);
      this.#pumpQueue();
    }
    if (this.#unhired) this.#hireGeneration();
  }

  #pumpQueue(): void {
    for (let at = 0; at < this.#queue.length && !this.#isFull();) {
      const job = this.#queue.at(at)!;
      if (!this.#feed(job)) {
        at++;
        continue;
      }
      // A callback may have submitted, or called off, something else.
      this.#queue.remove(job);
      const course = this.#courses.get(job);
      if (course !== undefined) course.queued = false;
      this.#forgetIfDone(job);
    }
  }

  #isFull(): boolean {
    return (
      this.#pending.size >= (this.#options.mostAhead ?? MOST_AHEAD) ||
      this.#bytes > MOST_BYTES_AHEAD ||
      this.#ending === 'over' ||
      this.#broken !== undefined
    );
  }

  /** @returns whether there is nothing more to be had from it. */
  #feed(job: Job): boolean {
    const course = this.#courses.get(job);
    if (course === undefined) return true;
    if (course.feeding) return false;
    while (!job.finished) {
      try {
        if (this.#isFull() || !this.#mayFeed(job)) return false;
      } catch (error) {
        // The system has no room for a process.
        job.abandon(error as Error);
        return true;
      }
      course.feeding = true;
      const items = course.held ?? job.nextTask();
      course.feeding = false;
      if (items === undefined) return job.fed;
      course.held = undefined;
      this.#grow();
      // A worker that was buried meanwhile may have been the end of it all.
      if (this.#courses.get(job) !== course) return true;
      try {
        if (!this.#send(job, course, items)) {
          course.held = items;
          return false;
        }
      } catch (error) {
        job.fail(course.count - 1, error);
      }
    }
    return true;
  }

  /** Whether the workers know its function, or fresh ones that do can be forked now. */
  #mayFeed(job: Job): boolean {
    if (!this.#options.areCopies) {
      if (this.#known < 0) this.#beginFresh(1);
      return true;
    }
    let number = this.#kinNumber(job.fn);
    // Names that the workers do not know.
    const isOutdated = this.#known >= 0 && registrations() !== this.#registrations;
    if (number === undefined) {
      // What has a name needs no number.
      if (this.#known >= 0 && !isOutdated && hasReference(job.fn)) return true;
      number = this.#adopt(job.fn);
    }
    const isKnown = number < this.#known && !isOutdated;
    return isKnown || this.#unhired || this.#refresh(job);
  }

  /** False: something in it is not known to the workers, and fresh ones cannot be forked now. */
  #send(job: Job, course: Course, items: unknown[]): boolean {
    const flags = job.limit === undefined ? job.flags : job.flags | TIMED;
    const task: Task = [job.fn as Task[0], items];
    if (job.canBeOff === true && course.which === 0) course.which = this.#takeSwitch();
    const label = [flags, course.which] as const;
    const mayPut = (): boolean => !this.#missing;
    const index = course.count++;
    for (;;) {
      this.#missing = false;
      this.#met = undefined;
      const tag = this.#generation & 0xff;
      const bytes = this.#tasks.putLabelled(task, label, this.#context, tag, mayPut);
      if (bytes < 0) {
        if (this.#refresh(job) && this.#courses.get(job) === course) continue;
        course.count--;
        return false;
      }
      const number = this.#countPut();
      this.#bytes += bytes;
      this.#sinceRefresh++;
      if (job.limit !== undefined) this.#timed++;
      course.unfinished++;
      const kin = this.#met;
      this.#pending.set(number, { job, index, bytes, generation: this.#generation, kin });
      job.onPut?.();
      if (this.#unhired && this.#sinceRefresh >= this.#wanted) this.#hireGeneration();
      return true;
    }
  }

  /** @returns the number of the one that was put. */
  #countPut(): number {
    const number = this.#put;
    this.#put = (number + 1) % NUMBERS;
    return number;
  }

  #finish(number: number): Pending | undefined {
    const pending = this.#pending.get(number);
    if (pending === undefined) return undefined;
    this.#pending.delete(number);
    this.#bytes -= pending.bytes;
    if (pending.job.limit !== undefined) this.#timed--;
    this.#courses.get(pending.job)!.unfinished--;
    return pending;
  }

  #forgetIfDone(job: Job): void {
    const course = this.#courses.get(job);
    if (course === undefined || course.unfinished > 0 || course.queued) return;
    this.#courses.delete(job);
    if (course.which > 0) this.#switches.push(course.which - 1);
  }

  /** Its tasks that nobody has begun are not begun any more, and who is at one is killed. The job has been settled. */
  callOff(job: Job): void {
    this.#queue.remove(job);
    const course = this.#courses.get(job);
    if (course === undefined) return;
    course.queued = false;
    if (course.which > 0) this.#board.turn(course.which - 1, true);
    for (const member of [...this.#members, ...this.#retired]) {
      const number = this.#numberOf(member);
      if (this.#pending.get(number)?.job === job) this.#kill(member, number, undefined);
    }
    this.#forgetIfDone(job);
    this.service();
  }

  /** The number of the task that it has, or had last; -1: none. */
  #numberOf(member: Member): number {
    const claim = this.#tasks.claim(member.index);
    return claim === 0 || !this.#isTaken(claim >>> 1) ? -1 : claim >>> 1;
  }

  #isTaken(number: number): boolean {
    const behind = (this.#tasks.taken - number + NUMBERS) % NUMBERS;
    return behind > 0 && behind < NUMBERS / 2;
  }

  /** Kills the worker if it is still at that task: it is stopped first, so that it cannot go on to another one. */
  #kill(member: Member, number: number, error: Error | undefined): void {
    member.process._popen!.signal(constants.signals.SIGSTOP);
    awaitStop(member.process.pid!);
    if (this.#numberOf(member) !== number) {
      member.process._popen!.signal(constants.signals.SIGCONT);
      return;
    }
    member.verdict = { number, error };
    member.process._popen!.signal(constants.signals.SIGKILL);
  }

  // --- results

  /**
   * Takes what has come, looks after the workers and the limits, and puts what there is to put.
   *
   * @param limitMs it stops after so long.
   * @param nested also from a callback that it is calling.
   * @returns whether there may be more.
   */
  service(limitMs = Infinity, nested = false): boolean {
    if (native.getpid() !== this.#owner || this.#ending === 'over') return false;
    let more = false;
    this.#alone(() => {
      if (this.#held) {
        this.#held = false;
        this.#board.hold = Hold.no;
      }
      more = this.#drain(limitMs);
      const time = now();
      if (time - this.#lastSweep >= SLICE_MS - 5) {
        this.#lastSweep = time;
        this.#sweep(time);
      }
      this.#pump();
      this.#end();
      if (this.idle) {
        this.#stopServing?.();
        this.#stopServing = undefined;
      }
    }, nested);
    return more;
  }

  /** Callbacks and iterables run in it. What they call comes here again in vain, unless they wait for it. */
  #alone(action: () => void, nested = false): void {
    const outer = this.#busy;
    if (outer && !nested) return;
    this.#busy = true;
    try {
      action();
    } finally {
      this.#busy = outer;
      this.#options.onServed?.();
    }
  }

  #drain(limitMs = Infinity): boolean {
    const end = limitMs === Infinity ? Infinity : now() + limitMs;
    // A callback may end it all.
    for (let count = 1; !this.#isOver(); count++) {
      let value: unknown;
      let failure: unknown;
      try {
        value = this.#results.take(NO_CLAIM, 0, 0);
        if (value === NOTHING) return false;
      } catch (error) {
        failure = error;
      }
      const [number, status] = this.#results.label;
      this.#take(number, failure === undefined ? status : UNREADABLE, value, failure);
      if ((count & 15) === 0) {
        if (now() > end) return true;
        // Workers must not run out of work meanwhile.
        if ((count & 1023) === 0) this.#pump();
      }
    }
    return false;
  }

  #take(number: number, status: number, value: unknown, failure: unknown): void {
    if (status === Status.broken) {
      this.#startError = restoreError(value as RemoteError);
      return;
    }
    if (status === Status.left) {
      this.#leaving.add(number);
      this.#replace(number);
      return;
    }
    const pending = this.#finish(number);
    if (pending === undefined) return;
    const { job, index } = pending;
    if (!job.finished) {
      if (status === Status.value) job.succeed(index, value);
      else if (status === Status.error) job.fail(index, restoreError(value as RemoteError));
      else if (status === Status.each) {
        const [values, errors] = value as EachOutcome;
        const restored = new Map(errors.map(([at, error]) => [at, restoreError(error)]));
        job.succeedEach!(index, values, restored);
      } else if (status === UNREADABLE) job.fail(index, failure);
    }
    this.#forgetIfDone(job);
  }

  // --- workers

  #lookAtStarts(): void {
    if (this.#starts.length > 0) this.#starts = this.#starts.filter((isSettled) => !isSettled());
  }

  #sweep(time: number): void {
    this.#lookAtStarts();
    for (const member of [...this.#members, ...this.#retired]) {
      // What a callback did may have ended it meanwhile.
      if (member.isGone) continue;
      if (member.process.exitcode !== null) this.#bury(member);
      else if (this.#timed > 0) this.#checkLimit(member, time);
    }
    // What an older generation has left untouched may keep all of a small one busy.
    const mayGrow = !this.#unhired && this.#wanted < this.#options.processes && !this.#isOver();
    if (mayGrow && this.#oldestPut() <= this.#board.orphaned) {
      const untaken = this.#tasks.native.size();
      this.#wanted = Math.min(this.#options.processes, this.#wanted + untaken);
    }
    this.#repopulate();
  }

  /** Tasks of generations that have no worker any more are for whoever is there. */
  #markOrphans(): void {
    let oldest = this.#generation;
    for (const { generation } of [...this.#members, ...this.#retired]) {
      oldest = Math.min(oldest, generation);
    }
    // Of those before nothing is left (`#refresh`), and tags of eight bits cannot tell so many apart.
    oldest = Math.max(oldest, this.#generation - MOST_GENERATIONS - 1);
    if (oldest - 1 <= this.#board.orphaned) return;
    this.#board.orphaned = oldest - 1;
    this.#tasks.native.wakeAll();
  }

  #checkLimit(member: Member, time: number): void {
    const number = this.#numberOf(member);
    const limit = this.#pending.get(number)?.job.limit;
    if (limit === undefined || member.verdict !== undefined) return;
    const since = this.#board.since(member.index);
    if (since === 0 || time - since < limit) return;
    const text = `the task took longer than ${limit / 1000} s, and its worker was killed`;
    this.#kill(member, number, new TimeoutError(text));
  }

  /** It has ended: who knows what became of its task. */
  #bury(member: Member): void {
    if (member.isGone) return;
    const { process, index, verdict } = member;
    const exitcode = process.exitcode!;
    const { pid } = process;
    // Before anything that may come here again.
    member.isGone = true;
    process.close();
    const wasNeeded = this.#members.includes(member);
    if (wasNeeded) this.#countRestart(member);
    this.#members = this.#members.filter((other) => other !== member);
    this.#retired = this.#retired.filter((other) => other !== member);
    this.#markOrphans();
    const claim = this.#tasks.claim(index);
    const number = claim >>> 1;
    // First what was taken, then who has it, then what was answered: an answer comes before the claim goes.
    const taken = claim !== 0 && this.#isTaken(number);
    const others = [...this.#members, ...this.#retired].some(
      (other) => this.#tasks.claim(other.index) === claim,
    );
    this.#drain();
    if (this.#isOver()) return;
    const wasReady = this.#board.isReady(index);
    this.#tasks.clearClaim(index);
    this.#board.clear(index);
    this.#indices.push(index);
    if (taken && !others) this.#lose(number, member, pid, exitcode);
    if (wasReady) this.#failedStarts = 0;
    else if (this.#ending === 'no' || !this.idle) this.#failStart(process.name, pid, exitcode);
    const hasLeft = this.#leaving.delete(index);
    if (wasNeeded && wasReady && !hasLeft && verdict === undefined && this.#ending !== 'stop') {
      this.#endIfLost(workerLost(process.name, pid, exitcode));
    }
  }

  /** Whether it is over with this worker. */
  #endIfLost(lost: WorkerLostError): boolean {
    if (this.#options.onLost?.(lost) !== true) return false;
    this.#break(lost);
    return true;
  }

  #lose(number: number, member: Member, pid: number | null, exitcode: number): void {
    const { process, verdict } = member;
    const pending = this.#finish(number);
    if (pending === undefined) return;
    const lost = workerLost(process.name, pid, exitcode, ' in the middle of the task');
    if (verdict === undefined && this.#endIfLost(lost)) return;
    const error = verdict?.number === number ? verdict.error : lost;
    if (error !== undefined && !pending.job.finished) pending.job.fail(pending.index, error);
    this.#forgetIfDone(pending.job);
  }

  /** A worker that ends before its initializer has. */
  #failStart(name: string, pid: number | null, exitcode: number): void {
    // Killed from outside: that need not be so again.
    const isKilled =
      exitcode === -constants.signals.SIGKILL || exitcode === -constants.signals.SIGTERM;
    this.#failedStarts += isKilled ? 0.1 : 1;
    const { processes } = this.#options;
    if (this.#ending !== 'no' && this.#ending !== 'close') return;
    const why = this.#startError === undefined ? this.#whyNotStarted() : '';
    const when = ` before it could work${why}`;
    if (this.#endIfLost(workerLost(name, pid, exitcode, when, this.#startError))) return;
    if (this.#failedStarts >= Math.max(3, processes)) {
      const error = new RuntimeError(
        `the pool is broken: its workers end before they can work, again and again ` +
          `(exit code ${exitcode})${this.#whyNotStarted()}`,
        this.#startError === undefined ? undefined : { cause: this.#startError },
      );
      this.#break(error);
    }
  }

  #whyNotStarted(): string {
    if (this.#startError !== undefined) return '; see the cause for what their initializer threw';
    if (this.#options.areCopies) return '';
    return (
      '; stderr has what was thrown. A worker imports the main module, which must neither throw there nor wait for ' +
      'ever: what only the program itself shall do, as making this pool, belongs behind ' +
      '`if (parentProcess() === null)`'
    );
  }

  /** Everything fails from here on. */
  #break(error: Error): void {
    if (this.#broken !== undefined) return;
    this.#broken = error;
    this.#brokenAt = now();
    this.failAll(error);
    for (const { process } of [...this.#members, ...this.#retired]) {
      process._popen?.signal(constants.signals.SIGTERM);
    }
  }

  /** There will be no more results. */
  failAll(error: Error): void {
    const jobs = [...this.#courses.keys()];
    this.#queue.clear();
    this.#pending.clear();
    this.#courses.clear();
    this.#bytes = 0;
    this.#timed = 0;
    for (const job of jobs) if (!job.finished) job.abandon(error);
    for (let job; (job = this.#options.nextJob?.()) !== undefined;) job.abandon(error);
  }

  /** It has done as many tasks as it may, and is about to end. */
  #replace(index: number): void {
    const leaving = this.#members.find((member) => member.index === index);
    if (leaving === undefined) return;
    this.#countRestart(leaving);
    this.#members = this.#members.filter((other) => other !== leaving);
    this.#retired.push(leaving);
    this.#repopulate();
  }

  #countRestart({ place }: Member): void {
    this.#restarts[place] = (this.#restarts[place] ?? 0) + 1;
  }

  /** As many as there should be. */
  #repopulate(): void {
    if (this.#known < 0 || this.#broken !== undefined) return;
    if (this.#ending !== 'no' && (this.#ending !== 'close' || this.idle)) return;
    try {
      while (this.#members.length < this.#wanted) {
        if (this.#indices.length === 0) {
          this.#buryRetired();
          // Others have to end before.
          if (this.#indices.length === 0) return;
          // This may have hired already.
          continue;
        }
        this.#checkPortraits();
        this.#hire(1);
      }
    } catch (error) {
      // The system has no room for another process. Those that are left do what there is to do; if there are none, it
      // may have room again soon.
      if (this.#members.length > 0 || this.idle) return;
      this.#withoutSince ??= now();
      if (now() - this.#withoutSince > LONGEST_WITHOUT_MS) this.#break(error as Error);
    }
  }

  /** More of a generation that was begun with fewer. */
  #grow(): void {
    if (this.#unhired || this.#wanted >= this.#options.processes) return;
    if (this.#pending.size < this.#wanted) return;
    this.#wanted++;
    this.#repopulate();
  }

  /**
   * Fresh workers, that know all functions there are now.
   *
   * They are forked before the call that asks for them returns. @returns false: not now.
   */
  #refresh(job: Job): boolean {
    const { processes } = this.#options;
    if (this.#known >= 0) {
      this.#buryRetired();
      const full = this.#retired.length >= processes || this.#indices.length < processes;
      if (full || this.#generation - this.#oldestPut() > MOST_GENERATIONS) return false;
      // Closures that are used once: one worker for each is enough.
      const single = (job.flags & MODE_BITS) === Mode.apply;
      this.#wanted = single && this.#sinceRefresh <= 1 ? 1 : processes;
      this.#retired.push(...this.#members);
      this.#members = [];
      this.#generation++;
    } else {
      this.#wanted = processes;
      if (!rehearsed) this.#rehearse();
    }
    this.#sinceRefresh = 0;
    this.#board.generation = this.#generation;
    // The one before may have had no worker: there was no room for any.
    this.#markOrphans();
    this.#tasks.native.wakeAll();
    this.#held = job.urgent !== true;
    this.#board.hold = this.#held ? Hold.forking : Hold.no;
    this.#known = kinCount();
    this.#registrations = registrations();
    this.#unhired = true;
    return true;
  }

  /**
   * Workers that are no copies of this process: so many to begin with, and more as there is more to do. Nothing that
   * they lack is to be had by starting them anew.
   *
   * @throws PicklingError `initargs` cannot be sent. RuntimeError the main module is being imported. Error EAGAIN, …: no
   *   room for a process.
   */
  #beginFresh(count: number): void {
    this.#known = 0;
    this.#wanted = count;
    try {
      this.#hire(count);
    } catch (error) {
      this.#known = -1;
      throw error;
    }
  }

  /** Has the workers started that need not wait for the first task to know what it is about. @throws as `#beginFresh`. */
  start(): void {
    if (this.#options.areCopies) return;
    try {
      this.#beginFresh(this.#options.processes);
    } catch (error) {
      this.terminate();
      throw error;
    }
  }

  /** Once in a process, before its first workers. */
  #rehearse(): void {
    rehearsed = true;
    const task: Task = [Math.abs as Task[0], [1]];
    this.#tasks.putLabelled(task, [Mode.apply, 0], this.#context, 0);
    this.#countPut();
    const index = this.#indices.at(-1)!;
    rehearseWork(this.#setup(index, []));
    this.#drain();
    this.#board.clear(index);
  }

  #hireGeneration(): void {
    this.#unhired = false;
    this.#known = kinCount();
    this.#portray();
    try {
      this.#hire(this.#wanted);
    } catch (error) {
      // The system has no room for a process. Nobody would do what was put.
      if (this.#members.length === 0) this.failAll(error as Error);
    }
    if (this.#held) this.#board.hold = Hold.brief;
  }

  /** The oldest generation that a task has which nobody has taken. */
  #oldestPut(): number {
    for (const [number, { generation }] of this.#pending) {
      if (!this.#isTaken(number)) return generation;
    }
    return this.#generation;
  }

  #buryRetired(): void {
    this.#lookAtStarts();
    for (const member of this.#retired) {
      if (!member.isGone && member.process.exitcode !== null) this.#bury(member);
    }
  }

  /** @throws Error EAGAIN, ENOMEM, EMFILE: no room for a process. */
  #hire(count: number): void {
    let failure: unknown;
    const start = (): void => {
      try {
        launchTogether(() => this.#startWorkers(count));
      } catch (error) {
        failure = error;
      }
    };
    // Those that were started are looked at all the same.
    this.#starts.push(startTogether(start));
    if (failure !== undefined) throw failure;
  }

  #startWorkers(count: number): void {
    const kin = this.#options.areCopies ? allKin() : [];
    for (let i = 0; i < count; i++) {
      const index = this.#indices.pop()!;
      this.#board.clear(index);
      const args = [this.#setup(index, kin)];
      const process = this.#options.makeProcess({ target: work, args });
      try {
        process.start();
      } catch (error) {
        this.#indices.push(index);
        throw error;
      }
      let place = 0;
      while (this.#members.some((member) => member.place === place)) place++;
      this.#members.push({
        process,
        index,
        place,
        generation: this.#generation,
        isGone: false,
        verdict: undefined,
      });
      this.#withoutSince = undefined;
    }
  }

  #setup(index: number, kin: readonly object[]): WorkerSetup {
    const { initializer, initargs = [], maxTasksPerChild } = this.#options;
    return {
      tasks: this.#tasks,
      results: this.#results,
      board: this.#board,
      index,
      generation: this.#generation,
      initializer,
      initargs,
      maxTasks: maxTasksPerChild ?? Infinity,
      kin,
    };
  }

  // --- waiting

  /**
   * Waits, looking after everything, until `done` or the time is up.
   *
   * @throws RuntimeError in a child.
   */
  waitUntil(done: () => boolean, milliseconds: number): boolean {
    this.checkOwner();
    const end = milliseconds < 0 ? Infinity : now() + milliseconds;
    for (;;) {
      this.service(Infinity, true);
      const others = serveOthers(this.#serve);
      if (done()) return true;
      const left = end - now();
      if (left <= 0) return false;
      if (this.#ending === 'over') return false;
      this.#results.waitForMessage(Math.min(left, others ? SHORT_SLICE_MS : SLICE_MS));
    }
  }

  /** On the event loop, if this turn ends with something unfinished. */
  #watchLater(): void {
    if (this.#watching) return;
    this.#watching = true;
    setImmediate(() => this.#watch());
  }

  /** For whoever waits on the event loop. */
  resume(): void {
    this.checkOwner();
    if (this.idle) return;
    this.service();
    this.#watchLater();
  }

  /** Nothing happens before somebody takes results: a program that does not may end. */
  #isHeldUp(): boolean {
    if (this.#pending.size > 0) return false;
    for (let at = 0; at < this.#queue.length; at++) {
      if (this.#queue.at(at)!.isHeldUp !== true) return false;
    }
    return true;
  }

  #watch(): void {
    if (native.getpid() !== this.#owner) return;
    const more = this.service(TURN_MS);
    // Whoever closes a pool need not join it.
    if (this.#ending === 'stop') this.#joined(0);
    const isDone = this.idle ? this.#ending !== 'stop' : this.#isHeldUp();
    if (isDone || this.#ending === 'over') {
      this.#watching = false;
      return;
    }
    if (more) {
      setImmediate(() => this.#watch());
      return;
    }
    const stops: (() => void)[] = [];
    const wake = (): void => {
      this.#stopWatching?.();
      this.#watch();
    };
    this.#stopWatching = () => {
      this.#stopWatching = undefined;
      for (const stop of stops) stop();
    };
    const timer = setTimeout(wake, SLICE_MS);
    stops.push(() => clearTimeout(timer));
    // At its end the program need not wait for workers that end.
    if (this.idle) {
      timer.unref();
      return;
    }
    try {
      stops.push(this.#results.watchMessages(wake));
    } catch {
      // No descriptor is left for that: results are taken when the timer fires.
    }
  }

  // --- the end

  /** No more jobs; the workers end when all is done. */
  close(): void {
    if (this.#ending === 'no') this.#ending = 'close';
    this.service();
  }

  /** Tells the workers to end once there is nothing more to do. */
  #end(): void {
    if (this.#ending !== 'close' || !this.idle) return;
    this.#ending = 'stop';
    this.#watchLater();
    const label = [Mode.stop, 0] as const;
    for (let i = this.#members.length; i-- > 0;) {
      this.#tasks.putLabelled(null, label, this.#context, this.#generation & 0xff);
      this.#countPut();
    }
  }

  /** Ends the workers, whatever they are doing. What is unfinished fails. */
  terminate(): void {
    if (this.#ending === 'over' || native.getpid() !== this.#owner) return;
    const members = [...this.#members, ...this.#retired];
    for (const { process } of members) process._popen?.signal(constants.signals.SIGTERM);
    this.#over();
    const end = now() + GRACE_MS;
    for (const { process } of members) {
      if (process._popen!.wait(Math.max(0, end - now())) === null) {
        process.kill();
        process.join();
      }
    }
    for (const { process } of members) process.close();
    this.#lookAtStarts();
    this.failAll(new CancelledError('the pool was terminated before this task had a result'));
  }

  #over(): void {
    this.#ending = 'over';
    for (const member of [...this.#members, ...this.#retired]) member.isGone = true;
    this.#members = [];
    this.#retired = [];
    this.#stopWatching?.();
    this.#stopServing?.();
    this.#stopServing = undefined;
    this.#tasks.release();
    this.#results.release();
    this.#lookAtStarts();
  }

  /** Waits for the workers to end, after `close`. */
  join(milliseconds: number): boolean {
    const ended = (): boolean => this.#joined(SLICE_MS);
    return this.waitUntil(ended, milliseconds) || this.#ending === 'over';
  }

  #isOver(): boolean {
    return this.#ending === 'over';
  }

  /** Whether all workers have ended. @param patienceMs it waits for each so long. */
  #joined(patienceMs: number): boolean {
    if (this.#isOver()) return true;
    this.#insist();
    if (this.#ending !== 'stop') return false;
    for (const member of [...this.#members, ...this.#retired]) {
      if (member.process._popen!.wait(patienceMs) === null) return false;
      this.#bury(member);
    }
    this.#over();
    return true;
  }

  /** Workers of what is broken were told to end. */
  #insist(): void {
    if (now() - this.#brokenAt < GRACE_MS) return;
    for (const { process } of [...this.#members, ...this.#retired]) {
      process._popen?.signal(constants.signals.SIGKILL);
    }
  }

  async joinAsync(signal: AbortSignal | null | undefined): Promise<void> {
    this.checkOwner();
    checkAbortSignal(signal)?.throwIfAborted();
    while (!this.#joined(0)) {
      const pause = this.#ending === 'stop' ? 2 : SLICE_MS;
      await new Promise((resolve) => setTimeout(resolve, pause));
      signal?.throwIfAborted();
      this.service();
    }
  }

  // --- insight

  stats(): { workers: WorkerStats[]; queued: number; running: number } {
    this.checkOwner();
    this.#lastSweep = 0;
    this.service();
    const members = [...this.#members, ...this.#retired];
    const running = members.filter((member) => this.#pending.has(this.#numberOf(member))).length;
    return {
      workers: members.map((member) => {
        const { tasks, busy, idle } = this.#board.statistics(member.index);
        return {
          pid: member.process.pid,
          tasks,
          busySeconds: busy / 1000,
          idleSeconds: idle / 1000,
          restarts: this.#restarts[member.place] ?? 0,
          rss: residentBytes(member.process.pid!),
        };
      }),
      queued: Math.max(0, this.#pending.size - running),
      running,
    };
  }
}

function workerLost(
  name: string,
  pid: number | null,
  exitcode: number,
  when = '',
  cause?: unknown,
): WorkerLostError {
  const signal = exitcode < 0 ? (SIGNALS.get(-exitcode) ?? `signal ${-exitcode}`) : null;
  const how = signal === null ? `ended with exit code ${exitcode}` : `was killed by ${signal}`;
  const text = `the worker ${name} (pid ${pid}) ${how}${when}`;
  const options = cause === undefined ? undefined : { cause };
  return new WorkerLostError(text, { pid: pid!, exitcode, signal }, options);
}

const SIGNALS = new Map(
  Object.entries(constants.signals)
    .toReversed()
    .map(([name, number]) => [number, name]),
);

/** Until SIGSTOP has arrived. */
function awaitStop(pid: number): void {
  for (let i = 0; i < 250; i++) {
    let stat: string;
    try {
      stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    } catch {
      // It has ended; or this system has no such file, and nothing else tells.
      native.sleepMs(2);
      return;
    }
    const state = stat[stat.lastIndexOf(')') + 2];
    if (state !== 'R' && state !== 'S' && state !== 'D') return;
    native.sleepMs(0.2);
  }
}

function residentBytes(pid: number): number | null {
  try {
    const [, resident] = readFileSync(`/proc/${pid}/statm`, 'latin1').split(' ');
    return Number(resident) * PAGE_BYTES;
  } catch {
    return null;
  }
}

const PAGE_BYTES = 4096;
