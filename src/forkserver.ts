/**
 * The client's part of the fork server: CPython's `forkserver.py` without its loop, which is entry/forkserver.ts.
 *
 * The server is a node of its own, started by the first process that needs it, with this process's options as spawn.ts
 * has them and `--single-threaded`. It loads what `setForkserverPreload` names, and forks a child for each request. All
 * processes of a program share it: its children, and theirs, inherit the way to it, and so do forked ones.
 *
 * **The way to it has no name.** CPython's server listens on a socket that has one, in a directory or in the abstract
 * namespace; this one has one end of a socketpair, and who wants a child has the other, by inheritance. There is no path
 * to guess, to race for, to run out of, or to leave behind, and no stranger who could open it: not another user, and not
 * another program of the same user either, for which Python 3.14 asks for a key. One who has got the descriptor and
 * is another user by now (a child that has given up its privileges) is refused: the kernel says with each request whose it is.
 *
 * A request is one byte with two descriptors: a socket of the child's own, over which everything else goes, and the way
 * to the server, for the child. In the socket, towards the child: the two messages of spawn.ts. Towards the client:
 *
 *   STARTED, pid         from the child, before it does anything
 *   REFUSED, length      from the server, and an error as text
 *   ENDING, 0            from the server: it is about to reap the child. Until then the pid is the child's
 *   ENDED, exit code     from the server
 *
 * Both, the child and the server, hold that end. So its end tells the client that the child has ended even if nobody
 * can say how any more, and the closing of the client's end tells the child that its parent has gone.
 *
 * **When a process dies here.** A client in the middle of a request: the child finds the end of its messages, and
 * leaves; the server notices nothing. The server: children live on, their exit codes are lost (255, as in CPython), a
 * request that was under way is made again to a new one. The last of those who have the way to it: the server leaves.
 *
 * Loaded with the first such process, by popen/forkserver.ts, entry/forkserver.ts and context.ts alone.
 */

import { checkEach, wrongType } from './arguments.js';
import { onNewIdentity } from './at_fork.js';
import { waitInSlices } from './clock.js';
import { RuntimeError } from './errors.js';
import { native } from './native.js';
import {
  connectedToParent,
  currentDirectory,
  currentProcess,
  readyFd,
  type BaseProcess,
} from './process.js';
import {
  checkNotImportingMain,
  launchNode,
  messagesFor,
  preparationMessage,
  preparationOf,
  type Preparation,
} from './spawn.js';
import { FrameTransport, type Outgoing } from './transport.js';

/** What the server is told besides. */
export interface ServerPreparation extends Preparation {
  preload: string[];
  /** What its children's `process.execArgv` is. */
  execArgv: string[];
}

export const STARTED = 1;
export const REFUSED = 2;
export const ENDING = 3;
export const ENDED = 4;
const REPLY_BYTES = 8;

/** Of what stays refused, whoever asks again. */
export interface Refusal {
  name: string;
  message: string;
  code?: string | undefined;
  errno?: number | undefined;
  syscall?: string | undefined;
}

const { POLLIN, POLLOUT, POLLHUP, POLLERR, MSG_DONTWAIT } = native.posixConstants;

// -------------------------------------------------------------------------------------------------
// The server, as this process knows it

interface Server {
  /** Where requests go. */
  requests: number;
  /** It has started a process, for somebody. */
  proven: boolean;
  /** Where it is our own child: its pid, and a socket whose closing ends it while it is still loading. */
  own: { pid: number; owner: number; lifeline: number } | undefined;
}

let server: Server | undefined;
/** The environment that the server's children have by themselves. */
let serversEnvironment: string | undefined;
let preload: string[] = ['__main__'];
const SINGLE_THREADED = '--single-threaded';
/** Whether node takes the option. */
let singleThreaded = true;

// A forked child shares the server, and nothing that tells of its parent's life.
onNewIdentity(() => {
  connectedToParent(undefined);
  if (server?.own === undefined) return;
  native.close(server.own.lifeline);
  server.own = undefined;
});

/**
 * Names the modules that the fork server loads for its children: '__main__', which is the default, names or paths as
 * the main module would import them. To be called before the first process is started. What cannot be found is left
 * out, as in Python. Mirrors `multiprocessing.set_forkserver_preload`.
 *
 * @throws TypeError not strings.
 */
export function setForkserverPreload(names: Iterable<string>): void {
  if (typeof names === 'string') throw wrongType('names', 'a list of strings', names);
  preload = checkEach(names, 'names', (name, where) => {
    if (typeof name !== 'string') throw wrongType(where, 'a string', name);
    return name;
  });
}

function environment(): string {
  return JSON.stringify(Object.entries(process.env));
}

/** In the server: what its children have. */
export function noteEnvironment(): void {
  serversEnvironment = environment();
}

/** In a child of the server. */
export function inheritServer(requests: number, connection: number): void {
  server = { requests, proven: true, own: undefined };
  connectedToParent(connection);
}

function isGone({ requests }: Server, milliseconds = 0): boolean {
  const slot = new Int32Array([requests, 0, 0]);
  native.poll(slot, milliseconds);
  return (slot[2]! & (POLLHUP | POLLERR)) !== 0;
}

/** Mirrors `ensure_running`. */
function ensureRunning(): Server {
  if (server !== undefined && isGone(server)) forget(server);
  return (server ??= launchServer());
}

/** Answers its wait status, where it is ours to know. */
function forget(gone: Server): number | null {
  if (server !== gone) return null;
  server = undefined;
  native.close(gone.requests);
  if (gone.own === undefined) return null;
  native.close(gone.own.lifeline);
  native.outliveThread(gone.own.pid);
  return native.waitPidTimeout(gone.own.pid, REAP_MS);
}

/** After its sockets were closed. */
const REAP_MS = 5000;

function launchServer(): Server {
  const preparation: ServerPreparation = {
    ...preparationOf('forkserver', currentProcess().authkey, 'forkserver'),
    preload,
    execArgv: [...process.execArgv],
  };
  const message = preparationMessage(preparation);
  const [lifeline, theirs] = socketpair();
  let requests: number;
  let requested: number;
  try {
    [requests, requested] = socketpair();
  } catch (error) {
    native.close(lifeline);
    native.close(theirs);
    throw error;
  }
  let pid: number;
  try {
    native.admitSenders(requested);
    const options = singleThreaded ? [SINGLE_THREADED] : [];
    pid = launchNode(theirs, requested, options, 'forkserver', []);
  } catch (error) {
    native.close(lifeline);
    native.close(requests);
    throw error;
  } finally {
    native.close(theirs);
    native.close(requested);
  }
  noteEnvironment();
  const launched = { requests, proven: false, own: { pid, owner: native.getpid(), lifeline } };
  sendUnlessGone(lifeline, [message]);
  // A Worker may end long before the process does.
  if (!native.isMainThread()) native.endWithThread(pid, [requests, lifeline]);
  return launched;
}

function socketpair(): [number, number] {
  return native.socketpair(native.posixConstants.SOCK_STREAM, true);
}

// -------------------------------------------------------------------------------------------------
// Requests

const codeOf = (error: unknown): string => (error as NodeJS.ErrnoException).code ?? '';

function isGoneError(error: unknown): boolean {
  return /^(EPIPE|ECONNRESET)$/.test(codeOf(error));
}

/** Whoever reads it may have ended, and what it has left behind tells. */
function sendUnlessGone(socket: number, messages: readonly Outgoing[]): void {
  const transport = new FrameTransport(socket);
  try {
    for (const message of messages) {
      message.sent = 0;
      transport.send(message, -1);
    }
  } catch (error) {
    if (!isGoneError(error)) throw error;
  }
}

const REQUEST = Buffer.from([1]);
/** While descriptors of others are under way, and there may be no more. */
const CROWDED_MS = 5;

/** False: it is gone. Blocks while there are more requests than the system's buffer takes. */
function sendRequest({ requests }: Server, socket: number): boolean {
  const slot = new Int32Array([requests, POLLOUT, 0]);
  for (;;) {
    try {
      native.sendFds(requests, REQUEST, [socket, requests], MSG_DONTWAIT);
      return true;
    } catch (error) {
      if (isGoneError(error)) return false;
      if (codeOf(error) === 'ETOOMANYREFS') native.sleepMs(CROWDED_MS);
      else if (codeOf(error) !== 'EAGAIN') throw error;
    }
    waitInSlices(-1, (slice) => native.poll(slot, slice) > 0);
  }
}

/** The next reply; undefined when the socket has come to its end, null when there is none in time. */
export function readReply(
  socket: number,
  milliseconds: number,
): [kind: number, value: number] | undefined | null {
  const slot = new Int32Array([socket, POLLIN, 0]);
  if (!waitInSlices(milliseconds, (slice) => native.poll(slot, slice) > 0)) return null;
  const reply = Buffer.alloc(REPLY_BYTES);
  return readAll(socket, reply) ? [reply.readInt32LE(0), reply.readInt32LE(4)] : undefined;
}

export function replyOf(kind: number, value: number): Buffer {
  const reply = Buffer.allocUnsafe(REPLY_BYTES);
  reply.writeInt32LE(kind, 0);
  reply.writeInt32LE(value, 4);
  return reply;
}

function readAll(socket: number, into: Uint8Array): boolean {
  for (let filled = 0; filled < into.length;) {
    let got = 0;
    try {
      got = native.read(socket, into.subarray(filled), into.length - filled);
    } catch (error) {
      // It was closed with a message of ours in it that nobody has read.
      if (!isGoneError(error)) throw error;
    }
    if (got === 0) return false;
    filled += got;
  }
  return true;
}

function refusalFrom(socket: number, length: number): Error {
  const text = Buffer.alloc(length);
  if (!readAll(socket, text)) return new RuntimeError('the fork server died as it refused');
  const { name, message, ...system } = JSON.parse(text.toString()) as Refusal;
  if (name === 'RuntimeError') return new RuntimeError(message);
  return /^(EMFILE|ENFILE|EAGAIN|ENOMEM)$/.test(system.code ?? '')
    ? noRoom(message, system)
    : Object.assign(new Error(message), system);
}

function noRoom(what: string, system: object): Error {
  const text =
    `the fork server has no room for another process: ${what}. Remedy: start fewer at a time, or raise the limits ` +
    "(ulimit -n, ulimit -u) before the server's start";
  return Object.assign(new Error(text), system);
}

/** A process that a server has started. */
export interface Started {
  pid: number;
  /** Where its exit code comes from. Its closing tells the child that its parent has gone. */
  socket: number;
}

/** A child that was being forked has the server's end, too, until it begins. */
const GOING_MS = 2000;
/** How often a server may die before it has answered. */
const ATTEMPTS = 3;

/**
 * Has the server start `child`.
 *
 * @param startMethod what the child's default is to be.
 * @throws PicklingError. RuntimeError the main module is being imported, or the server cannot do it. Error EAGAIN,
 *   ENOMEM, EMFILE, EACCES.
 */
export function launchByServer(child: BaseProcess, startMethod: string | null): Started {
  checkNotImportingMain();
  // What cannot be sent is found before there is a server.
  const given = environment();
  const messages = messagesFor(child, startMethod, {
    directory: currentDirectory(),
    env: given === (serversEnvironment ??= given) ? null : Object.entries(process.env as object),
  });
  for (let attempt = 1; ; attempt++) {
    const current = ensureRunning();
    const started = request(current, messages);
    if (started !== undefined) {
      current.proven = true;
      return started;
    }
    if (!isGone(current, GOING_MS)) {
      throw noRoom('recvmsg: too many open files', { code: 'EMFILE', syscall: 'recvmsg' });
    }
    const status = forget(current);
    if (!current.proven && singleThreaded && isBadOption(status)) singleThreaded = false;
    else if (attempt === ATTEMPTS || !current.proven) throw cannotStart(current, status);
  }
}

/** Undefined: the server has not answered. */
function request(current: Server, messages: readonly Outgoing[]): Started | undefined {
  const [socket, theirs] = socketpair();
  let started = false;
  try {
    try {
      if (!sendRequest(current, theirs)) return undefined;
    } finally {
      native.close(theirs);
    }
    sendUnlessGone(socket, messages);
    const reply = readReply(socket, -1);
    if (reply === undefined || reply === null) return undefined;
    const [kind, value] = reply;
    if (kind === REFUSED) throw refusalFrom(socket, value);
    if (kind !== STARTED)
      throw new RuntimeError('the child died before its first line of JavaScript');
    started = true;
    return { pid: value, socket };
  } finally {
    if (!started) native.close(socket);
  }
}

/** What node ends with where it does not know an option. */
function isBadOption(status: number | null): boolean {
  return status !== null && status >= 0 && native.WEXITSTATUS(status) === 9;
}

function cannotStart({ proven }: Server, status: number | null): Error {
  let how = '';
  if (status !== null && status >= 0) {
    how = native.WIFSIGNALED(status)
      ? ` by signal ${native.WTERMSIG(status)}`
      : ` with exit code ${native.WEXITSTATUS(status)}`;
  }
  return new RuntimeError(
    proven
      ? `the fork server died ${ATTEMPTS} times${how} before it had started the process. Use the start method 'spawn'`
      : `the fork server ended${how} before it could start a process. What it has written to stderr tells why; where it is ` +
          'a module that ends the process when it is imported, guard that by `if (parentProcess() === null)`, or have ' +
          "the server import nothing: setForkserverPreload([]). The start method 'spawn' needs no server",
  );
}

/**
 * From here on `fd`, a socket whose other ends are about to close, is always readable: at once, or, where no descriptor is
 * left for that, when they have closed.
 */
export function makeReady(fd: number): void {
  let ready: number;
  try {
    ready = readyFd();
  } catch (error) {
    if (/^(EMFILE|ENFILE)$/.test(codeOf(error))) return;
    throw error;
  }
  native.dup2(ready, fd, false);
  native.close(ready);
}
