/**
 * A process that was started from here, from its launch to its exit code, whichever way it was launched: what the
 * siblings in this folder have in common. There are those that are children of this process in the eyes of the system
 * (`ChildPopen`), and those that a fork server has (forkserver.ts).
 *
 * What tells of a child's end is a pidfd, or, where the system has none, the reading end of a pipe whose writing
 * end only the child holds.
 *
 * When the child dies, `poll` and `wait` reap it and remember the code. When the parent dies first, a daemon is killed,
 * by the kernel (Linux) or within a quarter of a second by a thread of its own; other children live on.
 */

import { osConstants } from '../lazy_builtin.js';
import { native } from '../native.js';
import { readyFd, type Popen } from '../process.js';
import { arrangeEnd } from '../util.js';

/** The code of a child whose status somebody else has taken, as subprocess and asyncio have it. */
const REAPED_ELSEWHERE = 255;
const LONGEST_NAP_MS = 10;

/** What tells of a child's end, and the process that waits for it. */
export interface Held {
  fd: number | undefined;
  owner: number;
}

/** Closes the descriptor of a Popen that was dropped without close(). */
const abandoned = new FinalizationRegistry<Held>((held) => {
  if (held.fd !== undefined && held.owner === native.getpid()) native.close(held.fd);
});

/** The two ends of the pipe that tells of the child's end, where there is no pidfd. */
export type SentinelPipe = readonly [read: number, write: number] | undefined;

/** @internal */
export abstract class LaunchedPopen implements Popen {
  readonly #owner = native.getpid();
  readonly #held: Held = { fd: undefined, owner: this.#owner };
  #pid = 0;
  /** The user has its number: it must stay what it is until close(). */
  #exposed = false;
  #exitcode: number | null = null;
  readonly #waiting = new Set<() => void>();
  #watch: { stop(): void } | undefined;

  get pid(): number {
    return this.#pid;
  }

  /** It runs. @param open answers what becomes readable when it ends. */
  protected began(pid: number, open: () => number | undefined): Held {
    this.#pid = pid;
    this.#held.fd = open();
    abandoned.register(this, this.#held, this);
    return this.#held;
  }

  /** Waits for the exit code, which the system has only once to tell. */
  protected abstract reap(milliseconds: number): number | null;
  /** It has not ended, as far as anybody knows. */
  protected abstract send(signal: number): void;

  get sentinel(): number {
    this.#exposed = true;
    // Released when the child was reaped: what has ended is ready, and stays so.
    this.#held.fd ??= readyFd();
    return this.#held.fd;
  }

  poll(): number | null {
    return this.wait(0);
  }

  wait(milliseconds: number): number | null {
    // In a child that inherited this object it is nobody's child to wait for.
    if (this.#exitcode !== null || this.#owner !== native.getpid()) return this.#exitcode;
    const exitcode = this.reap(milliseconds);
    if (exitcode !== null) this.#ended(exitcode);
    return exitcode;
  }

  #ended(exitcode: number): void {
    this.#exitcode = exitcode;
    native.untrackChild(this.pid);
    if (!this.#exposed && this.#waiting.size === 0) this.#release();
  }

  onEnd(callback: () => void): () => void {
    this.#waiting.add(callback);
    this.#watch ??= native.watchReadable(this.#held.fd ?? readyFd(), () => this.#look(0));
    return () => {
      this.#waiting.delete(callback);
      if (this.#waiting.size > 0) return;
      this.#watch?.stop();
      this.#watch = undefined;
      if (this.#exitcode !== null && !this.#exposed) this.#release();
    };
  }

  /** Something tells of its end. A pipe does so a moment before the child can be reaped. */
  #look(tries: number): void {
    this.#watch = undefined;
    if (this.poll() === null && this.#owner === native.getpid()) {
      const timer = setTimeout(() => this.#look(tries + 1), Math.min(tries, LONGEST_NAP_MS));
      this.#watch = { stop: () => clearTimeout(timer) };
      return;
    }
    this.#notify();
  }

  signal(signal: number): void {
    if (this.poll() !== null) return;
    try {
      this.send(signal);
    } catch (error) {
      // As CPython: gone in the meantime is what was wanted.
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH' && this.wait(100) === null) throw error;
    }
  }

  close(): void {
    this.#watch?.stop();
    this.#watch = undefined;
    // It has ended: whoever still waits on the event loop need not.
    this.#notify();
    this.#release();
    abandoned.unregister(this);
  }

  #notify(): void {
    const callbacks = [...this.#waiting];
    this.#waiting.clear();
    for (const callback of callbacks) callback();
  }

  #release(): void {
    const { fd } = this.#held;
    this.#held.fd = undefined;
    if (fd !== undefined && this.#owner === native.getpid()) native.close(fd);
  }
}

/** A child of this process. */
export class ChildPopen extends LaunchedPopen {
  /** @param begin makes the child, which must keep the writing end of the pipe open for as long as it lives. */
  constructor(endsWithParent: boolean, begin: (sentinel: SentinelPipe) => number) {
    super();
    arrangeEnd();
    const [pid, sentinel] = beginChild(begin);
    native.trackChild(pid, endsWithParent);
    this.began(pid, () => sentinel ?? this.#openPidfd(pid));
  }

  /** Our child cannot be reaped, and its pid not be given away, before we ask: this is the right process. */
  #openPidfd(pid: number): number | undefined {
    try {
      return native.openPidfd(pid) ?? undefined;
    } catch (error) {
      native.kill(pid, osConstants().signals.SIGKILL);
      this.wait(-1);
      throw error;
    }
  }

  protected override reap(milliseconds: number): number | null {
    const status = native.waitPidTimeout(this.pid, milliseconds);
    if (status === null) return null;
    return status < 0 ? lost(this.pid) : exitcodeOf(status);
  }

  protected override send(signal: number): void {
    native.kill(this.pid, signal);
  }
}

/** Answers the pid, and the reading end of the pipe where there is no pidfd to be had. */
export function beginChild(
  begin: (sentinel: SentinelPipe) => number,
): [pid: number, sentinel: number | undefined] {
  const pipe = hasPidfd() ? undefined : native.pipe(true);
  let pid: number;
  try {
    pid = begin(pipe);
  } catch (error) {
    for (const fd of pipe ?? []) native.close(fd);
    throw error;
  }
  if (pipe !== undefined) native.close(pipe[1]);
  return [pid, pipe?.[0]];
}

function lost(pid: number): number {
  process.emitWarning(
    `the child ${pid} was reaped by somebody else; its exitcode is reported as ${REAPED_ELSEWHERE}`,
    { type: 'MultiprocessingWarning' },
  );
  return REAPED_ELSEWHERE;
}

/** The exit code as Python counts: N, or -S for a child that signal S killed. */
export function exitcodeOf(status: number): number {
  return native.WIFSIGNALED(status) ? -native.WTERMSIG(status) : native.WEXITSTATUS(status);
}

let pidfdWorks: boolean | undefined;

function hasPidfd(): boolean {
  if (pidfdWorks === undefined) {
    const fd = native.openPidfd(native.getpid());
    pidfdWorks = fd !== null;
    if (fd !== null) native.close(fd);
  }
  return pidfdWorks;
}

/** In a child: it ends with its parent, however that ends, by the kernel's hand or by that of a thread. */
export function dieWithParent(parent: number): void {
  // Windows' jobs do it.
  if (process.platform === 'win32') return;
  try {
    native.setPdeathsig(osConstants().signals.SIGKILL);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOSYS') throw error;
    native.endWithParent(parent);
  }
  // It may have ended before we asked.
  if (process.ppid !== parent) native.exitNow(1);
}
