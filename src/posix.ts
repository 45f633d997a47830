/**
 * `node-multiprocessing/posix`: the operating system's primitives, for low-level scripts.
 *
 * Thin, typed and synchronous, with the semantics of Python's `os` module (and of `socket` for
 * descriptor passing). Guarantees:
 *
 * - Descriptors made here are close-on-exec (Python: non-inheritable) from their first moment,
 *   unless asked otherwise. Nothing closes them for you: no finaliser stands behind a number.
 * - A signal does not end a call (PEP 475): it goes on where it was. Without a listener for SIGINT,
 *   Ctrl-C ends the process, also in the middle of a blocking call; with one, the listener runs
 *   after the call.
 * - A failed system call throws an Error with `code` ('EBADF'), `errno` and `syscall`, as Node's
 *   own do. A wrong type is a TypeError, a number that does not fit a RangeError, an impossible
 *   value a ValueError.
 * - Timeouts are seconds, fractions allowed.
 *
 * Blocking calls block the event loop, and none needs a turn of it. All may be called from Workers, where they
 * wait in slices, so that a Worker can be terminated.
 * On Windows all but `getpid`, `getppid`, `kill` and `_exit` throws ENOSYS, and constants that the system does not have
 * are undefined.
 *
 * A program may import this file; the package itself calls the addon through `native`, with checked
 * arguments.
 */

import { constants as fileConstants, fstatSync } from 'node:fs';
import { constants as systemConstants } from 'node:os';
import {
  checkBoolean,
  checkBytes,
  checkEach,
  checkInt,
  checkSignal,
  checkSize,
  checkText,
  checkView,
  lengthOf,
  wrongType,
} from './arguments.js';
import { timeoutMs, waitInSlices, waitsInSlices } from './clock.js';
import { ValueError } from './errors.js';
import { native as addon, type Native } from './native.js';
import { systemError } from './system_error.js';
import type { SemaphoreHandle, SpawnFileAction } from '#native';

/**
 * What Windows does not have, or has of another kind: the package's descriptors are handles there
 * (native/core/win32/handles.h), those of `fs` numbers of node's C library, and neither knows the other.
 */
const NOT_ON_WINDOWS = {
  pipe: 'pipe',
  socketpair: 'socketpair',
  read: 'read',
  write: 'write',
  close: 'close',
  dup: 'dup',
  dup2: 'dup2',
  setInheritable: 'setInheritable',
  getInheritable: 'getInheritable',
  setBlocking: 'setBlocking',
  getBlocking: 'getBlocking',
  isatty: 'isatty',
  poll: 'poll',
  waitReady: 'poll',
  sendFds: 'sendFds',
  recvFds: 'recvFds',
  spawn: 'posix_spawn',
  shmUnlink: 'shm_unlink',
  WIFEXITED: 'WIFEXITED',
  WEXITSTATUS: 'WEXITSTATUS',
  WIFSIGNALED: 'WIFSIGNALED',
  WTERMSIG: 'WTERMSIG',
  WIFSTOPPED: 'WIFSTOPPED',
  WSTOPSIG: 'WSTOPSIG',
  WIFCONTINUED: 'WIFCONTINUED',
  WCOREDUMP: 'WCOREDUMP',
} satisfies Partial<Record<keyof Native, string>>;

function refusing(syscall: string): () => never {
  return () => {
    const text = `ENOSYS: function not implemented on Windows, ${syscall}`;
    throw systemError('ENOSYS', syscall, text);
  };
}

function ofThisSystem(): Native {
  if (process.platform !== 'win32') return addon;
  const refused = Object.entries(NOT_ON_WINDOWS).map(([name, call]) => [name, refusing(call)]);
  return { ...addon, ...(Object.fromEntries(refused) as Partial<Native>) };
}

const native = ofThisSystem();

/** A signal by its name, as Node writes it ('SIGTERM'), or by its number. */
export type Signal = NodeJS.Signals | number;

// -------------------------------------------------------------------------------------------------
// File descriptors

export interface PipeOptions {
  /** Close-on-exec: programs started from here do not inherit the descriptors. True by default. */
  cloexec?: boolean;
}

/**
 * A new pipe: `[readEnd, writeEnd]`. Mirrors `os.pipe`.
 *
 * @throws Error EMFILE, ENFILE: no descriptor left.
 */
export function pipe({ cloexec = true }: PipeOptions = {}): [readEnd: number, writeEnd: number] {
  return native.pipe(checkBoolean(cloexec, 'cloexec'));
}

export interface SocketpairOptions extends PipeOptions {
  /** SOCK_STREAM (the default), SOCK_DGRAM or SOCK_SEQPACKET. */
  type?: number;
}

/**
 * Two connected AF_UNIX sockets: `[fd, fd]`. Mirrors `socket.socketpair`, but gives descriptors.
 *
 * @throws Error EMFILE, ENFILE: no descriptor left. EINVAL or ESOCKTNOSUPPORT: no such type.
 */
export function socketpair(options: SocketpairOptions = {}): [number, number] {
  // Windows has no SOCK_STREAM here: 0 then, so that the answer is ENOSYS and not a complaint.
  const { type = SOCK_STREAM ?? 0, cloexec = true } = options;
  return native.socketpair(checkInt(type, 'type'), checkBoolean(cloexec, 'cloexec'));
}

/**
 * Before a call that may sleep in the system for as long as it likes. A Worker cannot be ended there: it sleeps
 * here, in slices, until the call would not.
 */
function awaitReady(fd: number, writing: boolean): void {
  if (waitsInSlices) waitInSlices(-1, (slice) => native.waitReady(fd, writing, slice));
}

// Most reads are small: they go through one scratch buffer, so that a short answer to a large `n`
// costs a small copy instead of keeping a large allocation alive.
const SCRATCH_BYTES = 65_536;
let scratch: Buffer | undefined;

/** The most that one read(2) moves on Linux. */
const MAX_READ = 0x7fff_f000;

/** A Buffer of what `fill` puts into room for at most `n` bytes. */
function receive(n: number, fill: (room: Buffer) => number): Buffer {
  if (n > SCRATCH_BYTES) {
    const room = Buffer.allocUnsafeSlow(n);
    const got = fill(room);
    return got > n / 2 ? room.subarray(0, got) : Buffer.from(room.subarray(0, got));
  }
  scratch ??= Buffer.allocUnsafeSlow(SCRATCH_BYTES);
  const got = fill(scratch);
  const received = Buffer.allocUnsafe(got);
  scratch.copy(received, 0, 0, got);
  return received;
}

/**
 * Reads once from `fd`, blocking until something is there.
 *
 * With a number: answers a Buffer of at most `n` bytes, empty at the end of the file (`os.read`).
 * With a typed array: fills its beginning and answers the number of bytes, 0 at the end
 * (`os.readinto`).
 *
 * @throws Error EBADF: not open for reading. EAGAIN: non-blocking and nothing there.
 *   RangeError: negative `n`.
 */
export function read(fd: number, n: number): Buffer;
export function read(fd: number, buffer: NodeJS.ArrayBufferView): number;
export function read(fd: number, into: number | NodeJS.ArrayBufferView): Buffer | number {
  checkInt(fd, 'fd');
  if (typeof into !== 'number') {
    const bytes = checkView(into, 'buffer', 'a number of bytes or a Uint8Array');
    const length = lengthOf(bytes);
    if (length > 0) awaitReady(fd, false);
    return native.read(fd, bytes, length);
  }
  const n = Math.min(checkSize(into, 'n'), MAX_READ);
  if (n > 0) awaitReady(fd, false);
  return receive(n, (room) => native.read(fd, room, n));
}

/**
 * Writes once to `fd` and answers how many bytes it took, which may be fewer than all: a pipe or a
 * socket that is non-blocking takes what fits. A string is written as UTF-8. Mirrors `os.write`.
 *
 * @throws Error EBADF: not open for writing. EPIPE: nobody reads any more. EAGAIN: non-blocking and
 *   no room.
 */
export function write(fd: number, data: string | NodeJS.ArrayBufferView): number {
  checkInt(fd, 'fd');
  const bytes = checkBytes(data, 'data');
  if (lengthOf(bytes) > 0) awaitReady(fd, true);
  return native.write(fd, bytes);
}

/**
 * Closes `fd`. Mirrors `os.close`.
 *
 * Do not close a descriptor that Node itself uses (of a socket, a file handle, 0 to 2): its number
 * will be given to something else, which Node then mistakes for its own.
 *
 * @throws Error EBADF: not open.
 */
export function close(fd: number): void {
  native.close(checkInt(fd, 'fd'));
}

/**
 * A copy of `fd`, close-on-exec. Mirrors `os.dup`.
 *
 * @throws Error EBADF: not open. EMFILE: no descriptor left.
 */
export function dup(fd: number): number {
  return native.dup(checkInt(fd, 'fd'));
}

/**
 * Makes `fd2` a copy of `fd`, closing what it was before, and answers `fd2`. The copy is
 * inheritable, unless the third argument is false. Mirrors `os.dup2`.
 *
 * @throws Error EBADF: `fd` is not open, or `fd2` impossible. EINVAL: not inheritable, and both are
 *   the same.
 */
export function dup2(fd: number, fd2: number, inheritable = true): number {
  native.dup2(checkInt(fd, 'fd'), checkInt(fd2, 'fd2'), checkBoolean(inheritable, 'inheritable'));
  return fd2;
}

/**
 * Whether programs started from here inherit `fd`. Mirrors `os.get_inheritable`.
 *
 * @throws Error EBADF.
 */
export function getInheritable(fd: number): boolean {
  return native.getInheritable(checkInt(fd, 'fd'));
}

/**
 * Decides whether programs started from here inherit `fd`. Mirrors `os.set_inheritable`.
 *
 * @throws Error EBADF.
 */
export function setInheritable(fd: number, inheritable: boolean): void {
  native.setInheritable(checkInt(fd, 'fd'), checkBoolean(inheritable, 'inheritable'));
}

/**
 * Whether calls on `fd` block (no O_NONBLOCK). Mirrors `os.get_blocking`.
 *
 * @throws Error EBADF.
 */
export function getBlocking(fd: number): boolean {
  return native.getBlocking(checkInt(fd, 'fd'));
}

/**
 * Makes calls on `fd` block or not. It holds for every copy of the descriptor, in other processes
 * too. Mirrors `os.set_blocking`.
 *
 * @throws Error EBADF.
 */
export function setBlocking(fd: number, blocking: boolean): void {
  native.setBlocking(checkInt(fd, 'fd'), checkBoolean(blocking, 'blocking'));
}

/** Whether `fd` is open and a terminal. Mirrors `os.isatty`. */
export function isatty(fd: number): boolean {
  return native.isatty(checkInt(fd, 'fd'));
}

export interface PollRequest {
  /** A negative one is skipped. */
  fd: number;
  /**
   * POLLIN, POLLOUT, POLLPRI, or several of them added. POLLIN | POLLPRI | POLLOUT by default, as
   * in Python.
   */
  events?: number;
}

/**
 * Waits until one of the descriptors is ready, and answers `[fd, revents]` of each one that is:
 * none when the time ran out. POLLERR, POLLHUP and POLLNVAL (not open) are reported unasked.
 * Mirrors `select.poll`.
 *
 * @param timeout in seconds; null or undefined waits for ever, 0 or less does not wait.
 */
export function poll(
  fds: Iterable<PollRequest>,
  timeout?: number | null,
): [fd: number, revents: number][] {
  const slots = Int32Array.from(checkEach(fds, 'fds', pollSlot).flat());
  waitInSlices(timeoutMs(timeout), (slice) => native.poll(slots, slice) > 0);
  const ready: [number, number][] = [];
  for (let i = 0; i < slots.length; i += 3) {
    if (slots[i + 2] !== 0) ready.push([slots[i]!, slots[i + 2]!]);
  }
  return ready;
}

function pollSlot(request: unknown, name: string): [fd: number, events: number, revents: number] {
  if (typeof request !== 'object' || request === null) {
    throw wrongType(name, 'an object { fd, events }', request);
  }
  const { fd, events = POLLIN | POLLPRI | POLLOUT } = request as PollRequest;
  return [checkInt(fd, `${name}.fd`), checkInt(events, `${name}.events`), 0];
}

/**
 * Sends copies of `fds` through an AF_UNIX socket, along with `data`, and answers how many bytes of
 * the data were taken. The receiver's `recvFds` gives it descriptors of its own; close yours when
 * you need them no longer. Mirrors `socket.send_fds`.
 *
 * @param data at least one byte, since a stream carries descriptors only on a byte of data.
 * @throws Error EBADF: a descriptor is not open. EINVAL: more than 253 of them (Linux). EPIPE:
 *   nobody receives. ValueError: no data.
 */
export function sendFds(
  socket: number,
  data: string | NodeJS.ArrayBufferView,
  fds: Iterable<number>,
  flags = 0,
): number {
  checkInt(socket, 'socket');
  const bytes = checkBytes(data, 'data');
  if (lengthOf(bytes) === 0) throw new ValueError('data must have at least one byte to carry fds');
  const numbers = checkEach(fds, 'fds', checkInt);
  checkInt(flags, 'flags');
  if ((flags & MSG_DONTWAIT) === 0) awaitReady(socket, true);
  return native.sendFds(socket, bytes, numbers, flags);
}

/** More than any system passes in one message (Linux: 253). */
const MAX_FDS = 4096;

/**
 * Receives at most `bufsize` bytes and at most `maxfds` descriptors from an AF_UNIX socket, and
 * answers `[data, fds, flags]`. No data and no descriptors is the end. The descriptors are
 * close-on-exec and yours to close. If more came than `maxfds`, the rest is closed and the flags
 * have MSG_CTRUNC. Mirrors `socket.recv_fds`, without the address, which these sockets do not have.
 *
 * @throws Error EBADF, ENOTSOCK. EAGAIN: non-blocking (or MSG_DONTWAIT) and nothing there.
 */
export function recvFds(
  socket: number,
  bufsize: number,
  maxfds: number,
  flags = 0,
): [data: Buffer, fds: number[], flags: number] {
  checkInt(socket, 'socket');
  const n = Math.min(checkSize(bufsize, 'bufsize'), MAX_READ);
  const most = Math.min(checkSize(maxfds, 'maxfds'), MAX_FDS);
  checkInt(flags, 'flags');
  if ((flags & MSG_DONTWAIT) === 0) awaitReady(socket, false);
  let fds: number[] = [];
  let messageFlags = 0;
  const data = receive(n, (room) => {
    let received: number;
    [received, fds, messageFlags] = native.recvFds(socket, room, n, most, flags);
    return received;
  });
  return [data, fds, messageFlags];
}

// -------------------------------------------------------------------------------------------------
// Processes
//
// What a fork needs is more than a system call: it lives in a module of its own.

export { fork, registerAtFork, type AtForkHooks } from './fork.js';

/** This process's id, from the system. Mirrors `os.getpid`. */
export function getpid(): number {
  return native.getpid();
}

/**
 * The parent's process id: 1, or that of a subreaper, when the parent has ended. Mirrors
 * `os.getppid`.
 */
export function getppid(): number {
  return process.ppid; // Not cached by Node: it asks the system each time, on Windows too.
}

/**
 * Sends a signal to a process; 0 only asks whether it exists and may be signalled. A pid of 0 means
 * the caller's process group, -1 every process it may signal, -n the group n. On Windows: what
 * `process.kill` does. Mirrors `os.kill`.
 *
 * @throws Error ESRCH: no such process. EPERM: not yours. EINVAL: no such signal number.
 *   ValueError: no such name.
 */
export function kill(pid: number, signal: Signal): void {
  checkInt(pid, 'pid');
  const number = checkSignal(signal, 'signal');
  if (process.platform === 'win32') process.kill(pid, number);
  else native.kill(pid, number);
}

/**
 * Waits for a child to end (or to stop or go on, with WUNTRACED or WCONTINUED) and answers `[pid,
 * status]`; the status is for `waitstatusToExitcode` and the W functions. With WNOHANG it does not
 * wait, and answers `[0, 0]` when there is nothing yet. A pid of -1 waits for any child; but
 * beware, it also takes the children of `child_process` and of this package, whose owners then
 * never learn how they ended. Mirrors `os.waitpid`.
 *
 * @throws Error ECHILD: not a child of this process, or already waited for.
 */
export function waitpid(pid: number, options = 0): [pid: number, status: number] {
  checkInt(pid, 'pid');
  checkInt(options, 'options');
  if ((options & WNOHANG) !== 0) return native.waitpid(pid, options, -1);
  let waited: [pid: number, status: number] = [0, 0];
  waitInSlices(-1, (slice) => {
    waited = native.waitpid(pid, options, slice);
    return waited[0] !== 0;
  });
  return waited;
}

/**
 * Makes this process the leader of a new session, without a terminal. Mirrors `os.setsid`.
 *
 * @throws Error EPERM: it leads a process group already, as a program started by a shell does.
 */
export function setsid(): void {
  native.setsid();
}

/**
 * The session of a process, 0 for this one. Mirrors `os.getsid`.
 *
 * @throws Error ESRCH.
 */
export function getsid(pid: number): number {
  return native.getsid(checkInt(pid, 'pid'));
}

/**
 * The process group of a process, 0 for this one. Mirrors `os.getpgid`.
 *
 * @throws Error ESRCH.
 */
export function getpgid(pid: number): number {
  return native.getpgid(checkInt(pid, 'pid'));
}

/**
 * Moves a process (0: this one) to the group `pgid` (0: one of its own). Mirrors `os.setpgid`.
 *
 * @throws Error ESRCH, EPERM: not this process or a child. EACCES: a child that has already run
 *   exec.
 */
export function setpgid(pid: number, pgid: number): void {
  native.setpgid(checkInt(pid, 'pid'), checkInt(pgid, 'pgid'));
}

/**
 * Ends this process at once with the exit code `status`, of which 8 bits count: no 'exit' listener
 * runs and no output that Node still holds is written. Mirrors `os._exit`.
 */
export function _exit(status: number): never {
  return native._exit(checkInt(status, 'status'));
}

/**
 * Restricts a process (0: the calling thread, which for a program without Workers decides where its
 * JavaScript runs) to these CPUs. Those the machine does not have are ignored. Linux only. Mirrors
 * `os.sched_setaffinity`.
 *
 * @throws Error EINVAL: none of the CPUs is there and allowed. ESRCH, EPERM. ValueError: a negative
 *   CPU number.
 */
export function schedSetaffinity(pid: number, cpus: Iterable<number>): void {
  native.schedSetaffinity(checkInt(pid, 'pid'), checkEach(cpus, 'cpus', checkCpu));
}

function checkCpu(cpu: unknown, name: string): number {
  const number = checkInt(cpu, name);
  if (number < 0) throw new ValueError('negative CPU number');
  return number;
}

/**
 * The CPUs a process (0: the calling thread) may run on. Linux only. Mirrors
 * `os.sched_getaffinity`.
 *
 * @throws Error ESRCH.
 */
export function schedGetaffinity(pid: number): Set<number> {
  return new Set(native.schedGetaffinity(checkInt(pid, 'pid')));
}

// -------------------------------------------------------------------------------------------------
// Starting programs

/** `[POSIX_SPAWN_OPEN, fd, path, flags, mode]`: open `path` as `fd` in the new process. */
export const POSIX_SPAWN_OPEN = 0;
/** `[POSIX_SPAWN_CLOSE, fd]`: close `fd` in the new process. */
export const POSIX_SPAWN_CLOSE = 1;
/** `[POSIX_SPAWN_DUP2, fd, fd2]`: make `fd2` an inheritable copy of `fd` in the new process. */
export const POSIX_SPAWN_DUP2 = 2;

/** What the new process does with its descriptors before it runs the program; Python's tuples. */
export type FileAction =
  | readonly [
      action: typeof POSIX_SPAWN_OPEN,
      fd: number,
      path: string,
      flags: number,
      mode: number,
    ]
  | readonly [action: typeof POSIX_SPAWN_CLOSE, fd: number]
  | readonly [action: typeof POSIX_SPAWN_DUP2, fd: number, fd2: number];

export interface SpawnOptions {
  /** The environment, completely; `process.env` by default. Undefined values are left out. */
  env?: Readonly<Record<string, string | undefined>>;
  /**
   * Done in the new process in this order. Descriptors that it does not get by a dup2 and that are
   * close-on-exec are closed.
   */
  fileActions?: Iterable<FileAction>;
  /** The process group to put it into; 0 is one of its own. */
  setpgroup?: number;
  /** True: it becomes the leader of a new session. */
  setsid?: boolean;
  /** The signals that are blocked in it, and no others. */
  setsigmask?: Iterable<Signal>;
  /**
   * Signals to set back to their default action. Node ignores SIGPIPE, and the new program inherits
   * that: name it here.
   */
  setsigdef?: Iterable<Signal>;
  /** True: effective user and group id become the real ones. */
  resetids?: boolean;
}

/**
 * Starts the program at `path` in a new process and answers its pid, without forking this one.
 * `argv[0]` is the name the program sees as its own. The caller has to wait for it (`waitpid`).
 * Mirrors `os.posix_spawn`.
 *
 * @throws Error with the code of the failed step in the new process: ENOENT, EACCES or ENOEXEC of
 *   the exec, EBADF of a file action. TypeError, ValueError: an argument.
 */
export function spawn(path: string, argv: readonly string[], options?: SpawnOptions): number;
export function spawn(
  path: string,
  argv: readonly string[],
  env: SpawnOptions['env'],
  options?: SpawnOptions,
): number;
export function spawn(
  path: string,
  argv: readonly string[],
  third?: SpawnOptions | SpawnOptions['env'],
  fourth?: SpawnOptions,
): number {
  return start(path, argv, spawnOptions(third, fourth), false);
}

/**
 * As `spawn`, but a `path` without a slash is looked for along PATH of this process. Mirrors
 * `os.posix_spawnp`.
 */
export function spawnp(path: string, argv: readonly string[], options?: SpawnOptions): number;
export function spawnp(
  path: string,
  argv: readonly string[],
  env: SpawnOptions['env'],
  options?: SpawnOptions,
): number;
export function spawnp(
  path: string,
  argv: readonly string[],
  third?: SpawnOptions | SpawnOptions['env'],
  fourth?: SpawnOptions,
): number {
  return start(path, argv, spawnOptions(third, fourth), true);
}

const SPAWN_OPTIONS = new Set([
  'env',
  'fileActions',
  'setpgroup',
  'setsid',
  'setsigmask',
  'setsigdef',
  'resetids',
]);

/**
 * `spawn(path, argv, options)`, or, as Python has it, `spawn(path, argv, env, options)`. A single third argument is
 * the environment unless it consists of options only.
 */
function spawnOptions(third: unknown, fourth: unknown): SpawnOptions {
  if (third !== undefined && (typeof third !== 'object' || third === null)) {
    throw wrongType('options', 'an object', third);
  }
  const areOptions = Object.keys(third ?? {}).every((key) => SPAWN_OPTIONS.has(key));
  if (fourth === undefined) return (areOptions ? (third ?? {}) : { env: third }) as SpawnOptions;
  if (typeof fourth !== 'object' || fourth === null)
    throw wrongType('options', 'an object', fourth);
  for (const key of Object.keys(fourth)) {
    if (!SPAWN_OPTIONS.has(key)) throw new TypeError(`spawn has no option '${key}'`);
  }
  return { ...(third === undefined ? {} : { env: third }), ...fourth } as SpawnOptions;
}

function start(
  path: string,
  argv: readonly string[],
  options: SpawnOptions,
  searchPath: boolean,
): number {
  const { env = process.env, fileActions = [], setpgroup, setsigmask, setsigdef } = options;
  const { setsid: newSession = false, resetids = false } = options;
  return native.spawn({
    path: checkText(path, 'path'),
    argv: checkArgv(argv),
    env: checkEnvironment(env),
    searchPath,
    fileActions: checkEach(fileActions, 'fileActions', checkFileAction),
    processGroup: setpgroup === undefined ? undefined : checkInt(setpgroup, 'setpgroup'),
    newSession: checkBoolean(newSession, 'setsid'),
    resetIds: checkBoolean(resetids, 'resetids'),
    signalMask: setsigmask === undefined ? undefined : checkSignalSet(setsigmask, 'setsigmask'),
    defaultSignals: setsigdef === undefined ? undefined : checkSignalSet(setsigdef, 'setsigdef'),
  });
}

function checkArgv(argv: unknown): string[] {
  if (!Array.isArray(argv)) throw wrongType('argv', 'an array', argv);
  const checked = checkEach(argv, 'argv', checkText);
  if (checked.length === 0) throw new ValueError('argv must not be empty');
  if (checked[0] === '') throw new ValueError('the first element of argv cannot be empty');
  return checked;
}

function checkEnvironment(env: unknown): string[] {
  if (typeof env !== 'object' || env === null) throw wrongType('env', 'an object', env);
  const pairs: string[] = [];
  for (const [name, value] of Object.entries(env)) {
    if (value === undefined) continue;
    if (name === '' || name.includes('=', 1)) {
      throw new ValueError(`env: illegal environment variable name '${name}'`);
    }
    pairs.push(`${checkText(name, 'a name in env')}=${checkText(value, `env.${name}`)}`);
  }
  return pairs;
}

function checkFileAction(action: unknown, name: string): SpawnFileAction {
  if (!Array.isArray(action)) throw wrongType(name, 'an array', action);
  const [kind, fd, third, flags, mode] = action as unknown[];
  const length: number | undefined = { 0: 5, 1: 2, 2: 3 }[kind as number];
  if (length === undefined) throw wrongType(`${name}[0]`, 'a POSIX_SPAWN constant', kind);
  if (action.length !== length) throw wrongType(name, `an array of ${length} elements`, action);
  const source = checkInt(fd, `${name}[1]`);
  if (kind === POSIX_SPAWN_CLOSE) return { kind, fd: source };
  if (kind === POSIX_SPAWN_DUP2) {
    return { kind, fd: source, target: checkInt(third, `${name}[2]`) };
  }
  return {
    kind: POSIX_SPAWN_OPEN,
    fd: source,
    path: checkText(third, `${name}[2]`),
    flags: checkInt(flags, `${name}[3]`),
    mode: checkInt(mode, `${name}[4]`),
  };
}

/** The highest signal number of Linux, SIGRTMAX; macOS ends at 31 and ignores what is above. */
const LAST_SIGNAL = 64;

function checkSignalSet(signals: unknown, name: string): number[] {
  return checkEach(signals, name, (signal, itemName) => {
    const number = checkSignal(signal, itemName);
    if (number < 1 || number > LAST_SIGNAL) {
      throw new ValueError(`${itemName}: signal number ${number} out of range [1; ${LAST_SIGNAL}]`);
    }
    return number;
  });
}

// -------------------------------------------------------------------------------------------------
// Wait statuses

/** Whether the process ended by itself, by exit. Mirrors `os.WIFEXITED`. */
export function WIFEXITED(status: number): boolean {
  return native.WIFEXITED(checkInt(status, 'status')) !== 0;
}

/** The exit code; only when WIFEXITED. Mirrors `os.WEXITSTATUS`. */
export function WEXITSTATUS(status: number): number {
  return native.WEXITSTATUS(checkInt(status, 'status'));
}

/** Whether a signal ended the process. Mirrors `os.WIFSIGNALED`. */
export function WIFSIGNALED(status: number): boolean {
  return native.WIFSIGNALED(checkInt(status, 'status')) !== 0;
}

/** The signal's number; only when WIFSIGNALED. Mirrors `os.WTERMSIG`. */
export function WTERMSIG(status: number): number {
  return native.WTERMSIG(checkInt(status, 'status'));
}

/** Whether the process is stopped; only after waiting with WUNTRACED. Mirrors `os.WIFSTOPPED`. */
export function WIFSTOPPED(status: number): boolean {
  return native.WIFSTOPPED(checkInt(status, 'status')) !== 0;
}

/** The signal that stopped it; only when WIFSTOPPED. Mirrors `os.WSTOPSIG`. */
export function WSTOPSIG(status: number): number {
  return native.WSTOPSIG(checkInt(status, 'status'));
}

/**
 * Whether a stopped process goes on; only after waiting with WCONTINUED. Mirrors `os.WIFCONTINUED`.
 */
export function WIFCONTINUED(status: number): boolean {
  return native.WIFCONTINUED(checkInt(status, 'status')) !== 0;
}

/** Whether the process left a core dump; only when WIFSIGNALED. Mirrors `os.WCOREDUMP`. */
export function WCOREDUMP(status: number): boolean {
  return native.WCOREDUMP(checkInt(status, 'status')) !== 0;
}

/**
 * The exit code of a process that ended by itself, `-N` of one that the signal N ended. Mirrors
 * `os.waitstatus_to_exitcode`.
 *
 * @throws ValueError: the process has not ended, it is stopped or goes on; or not a wait status at
 *   all.
 */
export function waitstatusToExitcode(status: number): number {
  if (WIFEXITED(status)) return WEXITSTATUS(status);
  if (WIFSIGNALED(status)) return -WTERMSIG(status);
  if (WIFSTOPPED(status)) {
    throw new ValueError(`process stopped by delivery of signal ${WSTOPSIG(status)}`);
  }
  throw new ValueError(`invalid wait status: ${status}`);
}

// -------------------------------------------------------------------------------------------------
// Shared memory and mappings

/**
 * Opens, or with O_CREAT makes, the shared memory object `name` ('/name', one slash) and answers a
 * descriptor, close-on-exec. A new one has no bytes until `ftruncate`. Mirrors C's `shm_open`, as
 * Python's `_posixshmem` has it.
 *
 * @param mode of a new object, less the umask.
 * @throws Error ENOENT: there is none. EEXIST: with O_CREAT and O_EXCL, there is one. EINVAL,
 *   ENAMETOOLONG: no such name is possible. EACCES, EMFILE.
 */
export function shmOpen(name: string, flags: number = O_RDWR, mode = 0o600): number {
  return native.shmOpen(checkText(name, 'name'), checkInt(flags, 'flags'), checkInt(mode, 'mode'));
}

/**
 * Removes the name of a shared memory object. Its memory is freed when nobody has it open or mapped
 * any more. Mirrors C's `shm_unlink`.
 *
 * @throws Error ENOENT, EACCES.
 */
export function shmUnlink(name: string): void {
  native.shmUnlink(checkText(name, 'name'));
}

/**
 * Gives a file `length` bytes: cuts it, or lengthens it by zeros that take no memory yet. Memory that
 * is mapped beyond the new end ends the process that touches it (SIGBUS). Mirrors `os.ftruncate`.
 *
 * @throws Error EBADF. EINVAL: not open for writing. EFBIG: more than the system, or RLIMIT_FSIZE,
 *   allows. RangeError: negative.
 */
export function ftruncate(fd: number, length: number): void {
  native.ftruncate(checkInt(fd, 'fd'), checkSize(length, 'length'));
}

/**
 * Sees to it that the `length` bytes from `offset` on have memory, or room on the disk, so that no
 * later access can fail for lack of it. The file grows if need be. Linux only. Mirrors
 * `os.posix_fallocate`.
 *
 * @throws Error ENOSPC: there is not enough. EBADF, EINVAL, EFBIG. EOPNOTSUPP: the filesystem cannot.
 */
export function posixFallocate(fd: number, offset: number, length: number): void {
  native.posixFallocate(
    checkInt(fd, 'fd'),
    checkSize(offset, 'offset'),
    checkSize(length, 'length'),
  );
}

/**
 * Maps `length` bytes of a file, from `offset` on, and answers an ArrayBuffer that lies straight on
 * them. With a descriptor of -1: memory of its own, zeroed, which with MAP_SHARED a forked child
 * shares. The descriptor may be closed afterwards. Mirrors `mmap.mmap`, with its order of arguments.
 *
 * An ArrayBuffer can always be written to, so `prot` must have PROT_READ and PROT_WRITE; for a file
 * that is open for reading only, MAP_PRIVATE gives copies of the pages that are written to.
 *
 * @param length in bytes; 0 is the rest of the file. @param offset in bytes, a multiple of the page
 *   size.
 * @throws ValueError the file has no such bytes (an access would be SIGBUS), or `prot`. Error EINVAL,
 *   EACCES, EBADF, ENOMEM, ENODEV: a file that cannot be mapped. ENOSYS: Windows, or a build of Node
 *   that allows no ArrayBuffer on foreign memory.
 */
export function mmap(
  fd: number,
  length: number,
  flags: number = MAP_SHARED,
  prot?: number,
  offset = 0,
): ArrayBuffer {
  const bytes = checkSize(length, 'length');
  const from = checkSize(offset, 'offset');
  // Windows has no such constants: 0 then, so that the answer is ENOSYS and not a complaint.
  const both = (PROT_READ ?? 0) | (PROT_WRITE ?? 0);
  const protection = checkInt(prot ?? both, 'prot');
  if ((protection & both) !== both) {
    throw new ValueError('prot must have PROT_READ | PROT_WRITE: an ArrayBuffer can be written to');
  }
  checkInt(fd, 'fd');
  try {
    return native.mmap(fd, bytes, checkInt(flags ?? 0, 'flags'), protection, from);
  } catch (error) {
    throw explained(error, fd, bytes, from);
  }
}

/** Python's words for what mmap(2) is not even asked for. */
function explained(error: unknown, fd: number, length: number, offset: number): unknown {
  if ((error as NodeJS.ErrnoException).code !== 'EINVAL' || fd < 0) return error;
  let size: number;
  try {
    const status = fstatSync(fd);
    if (!status.isFile()) return error;
    ({ size } = status);
  } catch {
    return error;
  }
  if (length === 0 && size === 0) return new ValueError('cannot mmap an empty file');
  if (offset >= size) return new ValueError('mmap offset is greater than file size');
  if (length > size - offset) return new ValueError('mmap length is greater than file size');
  return error;
}

/**
 * Removes a mapping: the ArrayBuffer, and every view of it, has length 0 from here on. Without it,
 * the mapping goes when the ArrayBuffer is collected. Do not call it while an asynchronous call of
 * Node works on the memory.
 *
 * @param buffer what `mmap` answered, or a view of it; all of it is unmapped.
 * @throws ValueError: not a mapping, or unmapped already.
 */
export function munmap(buffer: ArrayBuffer | NodeJS.ArrayBufferView): void {
  const whole: unknown = ArrayBuffer.isView(buffer) ? buffer.buffer : buffer;
  if (!(whole instanceof ArrayBuffer)) throw wrongType('buffer', 'an ArrayBuffer', buffer);
  if (!native.munmap(whole)) throw new ValueError('buffer is not a mapping, or not any more');
}

// -------------------------------------------------------------------------------------------------
// Named semaphores

/**
 * An open named semaphore, as `semOpen` answers it. It has no owner: who dies after a `wait` takes
 * its count along. It is closed when it is collected, too; in a forked child it is open as well, and
 * closing it there leaves the parent's open.
 */
export class NamedSemaphore {
  readonly #name: string;
  #handle: SemaphoreHandle | undefined;

  /** @internal */
  constructor(name: string, handle: SemaphoreHandle) {
    this.#name = checkText(name, 'name');
    this.#handle = handle;
  }

  #open(syscall: string): SemaphoreHandle {
    if (this.#handle === undefined) {
      throw native.makeErrnoError(systemConstants.errno.EBADF, syscall);
    }
    return this.#handle;
  }

  get name(): string {
    return this.#name;
  }

  /** Takes 1, and blocks for as long as there is nothing to take. @throws Error EBADF: closed. */
  wait(): void {
    this.#wait('sem_wait', -1);
  }

  /** Takes 1 if there is something to take, and tells whether. @throws Error EBADF: closed. */
  tryWait(): boolean {
    return native.semWait(this.#open('sem_trywait'), 0);
  }

  /**
   * Takes 1, blocking for at most `timeout` seconds, by the monotonic clock; null is for ever.
   *
   * @returns false when the time was up.
   * @throws Error EBADF: closed.
   */
  timedWait(timeout: number | null): boolean {
    if (timeout === undefined) throw wrongType('timeout', 'a number of seconds', timeout);
    return this.#wait('sem_timedwait', timeoutMs(timeout));
  }

  #wait(syscall: string, milliseconds: number): boolean {
    const handle = this.#open(syscall);
    return waitInSlices(milliseconds, (slice) => native.semWait(handle, slice));
  }

  /** Gives 1. @throws Error EOVERFLOW: it has SEM_VALUE_MAX. EBADF: closed. */
  post(): void {
    native.semPost(this.#open('sem_post'));
  }

  /** What there is to take at this moment. @throws Error ENOSYS: macOS. EBADF: closed. */
  getValue(): number {
    return native.semGetValue(this.#open('sem_getvalue'));
  }

  /** Closes it in this process. A second time does nothing. */
  close(): void {
    const handle = this.#handle;
    this.#handle = undefined;
    if (handle !== undefined) native.semClose(handle);
  }

  /** As `semUnlink` of its name. */
  unlink(): void {
    native.semUnlink(this.#name);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/**
 * Opens the semaphore `name` ('/name', one slash) or, with O_CREAT, makes it. Mirrors C's
 * `sem_open`; `posix_ipc.Semaphore` for Python.
 *
 * @param mode of a new semaphore, less the umask. @param value what a new one begins with.
 * @throws Error ENOENT: there is none. EEXIST: with O_CREAT and O_EXCL, there is one. EINVAL: no such
 *   name, or a value that is negative or above SEM_VALUE_MAX. EACCES, ENAMETOOLONG, ENOSPC.
 */
export function semOpen(name: string, flags = 0, mode = 0o600, value = 0): NamedSemaphore {
  checkText(name, 'name');
  const numbers = [
    checkInt(flags, 'flags'),
    checkInt(mode, 'mode'),
    checkInt(value, 'value'),
  ] as const;
  return new NamedSemaphore(name, native.semOpen(name, ...numbers));
}

/**
 * Removes the name of a semaphore. Who has it open goes on. Mirrors C's `sem_unlink`.
 *
 * @throws Error ENOENT, EACCES.
 */
export function semUnlink(name: string): void {
  native.semUnlink(checkText(name, 'name'));
}

// -------------------------------------------------------------------------------------------------
// Constants

/** Options of `waitpid`. */
export const { WNOHANG, WUNTRACED, WCONTINUED } = native.posixConstants;

/** For `socketpair`. */
export const { AF_UNIX, SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET, SOCK_NONBLOCK } =
  native.posixConstants;

/** Events of `poll`. */
export const { POLLIN, POLLPRI, POLLOUT, POLLERR, POLLHUP, POLLNVAL, POLLRDHUP } =
  native.posixConstants;

/** Flags of `sendFds` and `recvFds`. */
export const { MSG_DONTWAIT, MSG_PEEK, MSG_TRUNC, MSG_CTRUNC } = native.posixConstants;

/** For `mmap`. */
export const {
  PROT_NONE,
  PROT_READ,
  PROT_WRITE,
  PROT_EXEC,
  MAP_SHARED,
  MAP_PRIVATE,
  MAP_ANONYMOUS,
  MAP_NORESERVE,
  MAP_POPULATE,
} = native.memoryConstants;

/** The most that a semaphore can have. */
export const { SEM_VALUE_MAX } = native.memoryConstants;

/** Flags for opening a file. */
export const { O_CLOEXEC } = native.posixConstants;
export const {
  O_RDONLY,
  O_WRONLY,
  O_RDWR,
  O_CREAT,
  O_EXCL,
  O_NOCTTY,
  O_TRUNC,
  O_APPEND,
  O_DIRECTORY,
  O_NOFOLLOW,
  O_SYNC,
  O_DSYNC,
  O_NONBLOCK,
} = fileConstants;

/** Signal numbers. */
export const {
  SIGHUP,
  SIGINT,
  SIGQUIT,
  SIGILL,
  SIGTRAP,
  SIGABRT,
  SIGBUS,
  SIGFPE,
  SIGKILL,
  SIGUSR1,
  SIGSEGV,
  SIGUSR2,
  SIGPIPE,
  SIGALRM,
  SIGTERM,
  SIGCHLD,
  SIGCONT,
  SIGSTOP,
  SIGTSTP,
  SIGTTIN,
  SIGTTOU,
  SIGURG,
  SIGXCPU,
  SIGXFSZ,
  SIGVTALRM,
  SIGPROF,
  SIGWINCH,
  SIGIO,
  SIGSYS,
} = systemConstants.signals;
