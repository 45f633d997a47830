/**
 * What a fork server runs: the loop of CPython's `forkserver.py`. src/forkserver.ts has what goes over the wires.
 *
 * It imports what it is told to, under the guard of preparation.ts, and then forks a child for each request, one at a
 * time. It reads nothing of what its clients send: that is the child's, which gets the client's socket. So a client that
 * dies, is slow, or sends nonsense is its child's trouble alone.
 *
 * What a module does in the background when it is imported (timers, sockets, promises) goes on here, and not in the
 * children. Before the first child it gets a moment to come to its end. What fails in it, as the import itself, is the
 * end of each child that wants the main module, as it would be if it had imported that itself.
 *
 * When it has nothing to do it forks a child ahead, which gets everything ready and waits for a request (`spare`). The next
 * start() does not wait for a fork.
 *
 * It leaves when nobody is left who could ask for a child, and before that, while it still imports, with the process
 * that has started it. Ctrl-C is not meant for it.
 *
 * Run by node as a program, never imported.
 */

import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { describe, dieOf, onNewIdentity, writeStderr } from '../at_fork.js';
import { forkProcess } from '../fork.js';
import {
  ENDED,
  ENDING,
  inheritServer,
  noteEnvironment,
  REFUSED,
  replyOf,
  STARTED,
  type Refusal,
  type ServerPreparation,
} from '../forkserver.js';
import type * as Index from '../index.js';
import { lazyBuiltin, lazyPart, osConstants } from '../lazy_builtin.js';
import { native } from '../native.js';
import { beginChild, exitcodeOf } from '../popen/child.js';
import {
  anyFunction,
  forgetBeginnings,
  isAtRest,
  isImportingMain,
  leaveSigusr1,
  load,
  loadModules,
  loadPreparation,
  receive,
  whileImporting,
} from '../preparation.js';
import { beginBootstrap, bootstrap, type BaseProcess } from '../process.js';
import { prepareCodec } from '../reduction.js';
import {
  CHILD_SENTINEL,
  CHILD_SOCKET,
  inheritPreparation,
  messagesFor,
  type ModuleName,
} from '../spawn.js';
import { FrameTransport } from '../transport.js';
import { endChildren } from '../util.js';
import { endWatch, newWatch } from '../watches.js';

/** This end of the way to the server. */
const REQUESTS = CHILD_SENTINEL;

// -------------------------------------------------------------------------------------------------
// What children are to have

/** Why the main module could not be imported. */
let failure: { error: unknown } | undefined;
let serving = false;

/** How long what the imports have begun may take, where it does not end by itself. */
const REST_MS = 500;
const REST_STEP_MS = 5;

/** Imports as a module at `base` would. */
type Import = (name: string) => Promise<unknown>;

function importFrom(base: string): Import {
  const vm = lazyBuiltin('node:vm');
  const dynamic = (vm.constants as typeof vm.constants | undefined)
    ?.USE_MAIN_CONTEXT_DEFAULT_LOADER;
  if (dynamic !== undefined) {
    const options = { filename: base, importModuleDynamically: dynamic };
    const compiled = vm.compileFunction('return import(name)', ['name'], options) as Import;
    return (name) => quietly(() => compiled(name));
  }
  // Before Node 20.12.
  return async (name) => import(pathToFileURL(createRequire(base).resolve(name)).href);
}

/** Without node's warning that what is used here is experimental: it is not the program that uses it. */
function quietly<T>(use: () => T): T {
  const { emitWarning } = process;
  process.emitWarning = () => {};
  try {
    return use();
  } finally {
    process.emitWarning = emitWarning;
  }
}

const NOT_FOUND = /^(ERR_MODULE_NOT_FOUND|MODULE_NOT_FOUND|ERR_PACKAGE_PATH_NOT_EXPORTED)$/;

async function preloadModule(name: string, bases: readonly Import[]): Promise<void> {
  for (const from of bases) {
    try {
      await from(name);
      return;
    } catch (error) {
      if (NOT_FOUND.test((error as NodeJS.ErrnoException).code ?? '')) continue;
      writeStderr(`Process forkserver: cannot preload '${name}':\n${describe(error)}\n`);
      return;
    }
  }
}

function fileOf(main: ModuleName | null): string | undefined {
  if (main === null) return undefined;
  return 'file' in main ? main.file : main.url;
}

async function preloadModules({ preload, main }: ServerPreparation): Promise<void> {
  const names = preload.filter((name) => name !== '__main__');
  if (names.length === 0) return;
  const places = [fileOf(main), join(process.cwd(), '[preload]')];
  const bases = places.flatMap((base) => (base === undefined ? [] : importFrom(base)));
  for (const name of names) await preloadModule(name, bases);
}

function prepare(preparation: ServerPreparation): void {
  process.on('uncaughtException', (error) => {
    if (serving) writeStderr(`Process forkserver:\n${describe(error)}\n`);
    else failure ??= { error };
  });
  // An import that never ends has nothing left that could end it: the children will say so.
  process.once('beforeExit', serve);
  const importMain = preparation.importMain && preparation.preload.includes('__main__');
  const others = (): void => {
    whileImporting(() => preloadModules(preparation)).then(rest, dieOf);
  };
  loadModules({ ...preparation, importMain, modules: [] }, others, (error) => {
    failure ??= { error };
    others();
  });
}

/** Lets the imports' own background come to its end. */
function rest(): void {
  const end = performance.now() + REST_MS;
  const look = (): void => {
    if (isAtRest()) forgetBeginnings();
    else if (performance.now() < end) return void setTimeout(look, REST_STEP_MS);
    serve();
  };
  setImmediate(look);
}

// -------------------------------------------------------------------------------------------------
// Children

interface Child {
  pid: number;
  sentinel: number;
  /** The client's. */
  socket: number;
}

const children = new Map<number, Child>();
/** What this process was forked for, when it is known. */
interface Job {
  socket: number;
  requests: number;
}

let job: Job | undefined;
/** The writing end of the pipe that tells the server of this process's end, where there is no pidfd. */
let ownSentinel: number | undefined;

/** A child that waits for a request. Its socket closes with the server, and then it leaves. */
interface Spare {
  pid: number;
  sentinel: number;
  handover: number;
}

let spare: Spare | undefined;
/**
 * Until nothing has happened for so long the server forks nobody ahead: what is asked for comes first, and what is about
 * to happen. Most children that are short are gone by then.
 */
const IDLE_MS = 1;
const IDLE_WITH_CHILDREN_MS = 40;
let idle: NodeJS.Timeout | undefined;
let watch = 0 as unknown as ReturnType<typeof newWatch>;
let isServer = true;

onNewIdentity(() => {
  if (isServer) {
    isServer = false;
    native.close(REQUESTS);
    for (const { sentinel, socket } of children.values()) {
      native.close(sentinel);
      native.close(socket);
    }
    children.clear();
    if (spare !== undefined) {
      native.close(spare.sentinel);
      native.close(spare.handover);
      spare = undefined;
    }
  } else if (job !== undefined) {
    // A child of the server's child: its parent is another one.
    native.close(job.socket);
    if (ownSentinel !== undefined) native.close(ownSentinel);
    ownSentinel = undefined;
    job = undefined;
  }
});

function serve(): void {
  if (serving) return;
  serving = true;
  process.removeListener('beforeExit', serve);
  if (process.platform === 'linux') native.outlivePeer(CHILD_SOCKET);
  native.close(CHILD_SOCKET);
  // What children would load, each for itself.
  prepareCodec();
  lazyPart('index');
  warmUp();
  watch = newWatch();
  turn();
}

function turn(): void {
  takeRequest();
  reportEnds();
  watch.add(REQUESTS, true, false);
  watch.arm(turn);
  if (spare === undefined) {
    clearTimeout(idle);
    idle = setTimeout(forkAhead, children.size === 0 ? IDLE_MS : IDLE_WITH_CHILDREN_MS);
  }
}

const byte = new Uint8Array(1);

function takeRequest(): void {
  let received: ReturnType<typeof native.recvFds>;
  try {
    received = native.recvFds(REQUESTS, byte, 1, 2, native.posixConstants.MSG_DONTWAIT, true);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EAGAIN') return;
    if (code !== 'ECONNRESET') throw error;
    received = [0, [], 0];
  }
  const [got, fds, , sender] = received;
  if (got === 0 && fds.length === 0) leave();
  const [socket, requests] = fds;
  try {
    // Where there was no room for them the client sees the end of its socket.
    if (socket === undefined) return;
    if (requests === undefined) throw noRoom();
    if (sender !== undefined && sender !== process.geteuid!()) throw stranger(sender);
    begin(socket, requests);
  } catch (error) {
    refuse(socket!, error);
  } finally {
    if (requests !== undefined) native.close(requests);
  }
}

/** Nobody is left who could ask for a child: those that there were have ended, or are about to. */
function leave(): never {
  endWatch(watch);
  if (spare !== undefined) native.close(spare.handover);
  const end = performance.now() + REAP_MS;
  for (const { pid } of [...children.values(), ...(spare === undefined ? [] : [spare])]) {
    native.waitPidTimeout(pid, Math.max(0, end - performance.now()));
  }
  // What the imports want to be done at the end is the program's, not this process's.
  native.exitNow(0);
}

/** Not everywhere somebody else reaps what a server leaves. */
const REAP_MS = 200;

function begin(socket: number, requests: number): void {
  const [pid, sentinel] = handOver(socket, requests) ?? fork(runChild, { socket, requests });
  children.set(pid, { pid, sentinel, socket });
}

/** Answers the pid, and what becomes readable when it ends. */
function fork<T>(run: (argument: T) => void, argument: T): [pid: number, sentinel: number] {
  const [pid, pipe] = beginChild((ends) =>
    forkProcess(() => {
      if (ends !== undefined) native.close(ends[0]);
      ownSentinel = ends?.[1];
      run(argument);
    }, undefined),
  );
  let sentinel = pipe;
  try {
    sentinel ??= native.openPidfd(pid)!;
    watch.add(sentinel, true, false);
    return [pid, sentinel];
  } catch (error) {
    native.kill(pid, osConstants().signals.SIGKILL);
    native.waitPidTimeout(pid, -1);
    if (sentinel !== undefined) native.close(sentinel);
    throw error;
  }
}

function forkAhead(): void {
  if (spare !== undefined) return;
  try {
    const [handover, theirs] = native.socketpair(native.posixConstants.SOCK_STREAM, true);
    try {
      const [pid, sentinel] = fork(waitForRequest, [handover, theirs] as const);
      spare = { pid, sentinel, handover };
    } catch (error) {
      native.close(handover);
      throw error;
    } finally {
      native.close(theirs);
    }
  } catch {
    // There is no room: whoever asks for a child will be told.
  }
}

/** To the one that waits; undefined: there is none. */
function handOver(socket: number, requests: number): [pid: number, sentinel: number] | undefined {
  if (spare === undefined) return undefined;
  const { pid, sentinel, handover } = spare;
  spare = undefined;
  try {
    native.sendFds(handover, byte, [socket, requests], 0);
    return [pid, sentinel];
  } catch {
    // Somebody has killed it.
    native.waitPidTimeout(pid, -1);
    native.close(sentinel);
    return undefined;
  } finally {
    native.close(handover);
  }
}

function noRoom(): Error {
  return Object.assign(new Error('recvmsg: too many open files'), {
    code: 'EMFILE',
    errno: -24,
    syscall: 'recvmsg',
  });
}

function stranger(sender: number): Error {
  const text =
    `the fork server runs as user ${process.geteuid!()} and starts no processes for user ${sender}. Remedy: the ` +
    "start method 'spawn', or start processes before the user is changed";
  return Object.assign(new Error(text), { code: 'EACCES', errno: -13, syscall: 'fork' });
}

function refuse(socket: number, error: unknown): void {
  const { name, message, code, errno, syscall } = error as NodeJS.ErrnoException;
  const text = JSON.stringify({ name, message, code, errno, syscall } satisfies Refusal);
  const bytes = Buffer.from(text);
  tell(socket, Buffer.concat([replyOf(REFUSED, bytes.length), bytes]));
  native.close(socket);
}

/** The client may have ended. */
function tell(socket: number, reply: Buffer): void {
  try {
    native.writeAllSync(socket, reply);
  } catch {
    // Then nobody wants to know.
  }
}

/** As when the client asks: before its pid can be another's, it is told. */
function reportEnds(): void {
  if (spare !== undefined && native.waitPidTimeout(spare.pid, 0) !== null) {
    native.close(spare.sentinel);
    native.close(spare.handover);
    spare = undefined;
  }
  if (children.size === 0) return;
  const all = [...children.values()];
  const slots = new Int32Array(3 * all.length);
  all.forEach(({ sentinel }, i) => slots.set([sentinel, native.posixConstants.POLLIN, 0], 3 * i));
  if (native.poll(slots, 0) === 0) return;
  all.forEach(({ pid, sentinel, socket }, i) => {
    if (slots[3 * i + 2] === 0) return;
    tell(socket, replyOf(ENDING, 0));
    const status = native.waitPidTimeout(pid, -1)!;
    tell(socket, replyOf(ENDED, exitcodeOf(status)));
    children.delete(pid);
    native.close(sentinel);
    native.close(socket);
  });
}

// -------------------------------------------------------------------------------------------------
// In a child

/** A child that is forked ahead. What it does before the request comes its program does not wait for. */
function waitForRequest([handover, socket]: readonly [number, number]): void {
  native.close(handover);
  warmUp();
  const [got, fds] = native.recvFds(socket, byte, 1, 2, 0);
  // The server has gone, or there is no room for the descriptors, and the client learns it by the end of its own.
  if (got === 0 || fds.length < 2) native.exitNow(0);
  native.close(socket);
  runChild({ socket: fds[0]!, requests: fds[1]! });
}

/** Goes through what every child does: what is compiled, and written to, is so already. */
function warmUp(): void {
  sample ??= makeSample();
  for (const bytes of sample) load({ bytes, fds: [] });
}

let sample: Buffer[] | undefined;

/** The messages of a process that is like most. */
function makeSample(): Buffer[] {
  const { Process } = lazyPart<typeof Index>('index').getContext('forkserver');
  const situation = { directory: '', env: null };
  const messages = (target?: () => void): Buffer[] =>
    messagesFor(new Process({ target, args: [0] }), 'forkserver', situation).map(({ parts }) =>
      Buffer.concat(parts),
    );
  try {
    return messages(anyFunction());
  } catch {
    // Another process could not find that one.
    return messages();
  }
}

/** On an empty stack. */
function runChild(given: Job): void {
  job = given;
  const { socket, requests } = given;
  inheritServer(requests, socket);
  tell(socket, replyOf(STARTED, native.getpid()));
  const transport = new FrameTransport(socket);
  const preparation = loadPreparation(receive(transport));
  const message = receive(transport);
  // Nothing else will come.
  if (preparation.endsWithParent) native.dieWithPeer(socket);
  beginBootstrap(preparation.origin);
  inheritPreparation(preparation, isImportingMain);
  const { directory, env, importMain } = preparation;
  if (directory !== undefined && directory !== process.cwd()) process.chdir(directory);
  if (env !== undefined && env !== null) {
    for (const name of Object.keys(process.env)) delete process.env[name];
    Object.assign(process.env, Object.fromEntries(env));
  }
  if (importMain && failure !== undefined) dieOf(failure.error);
  loadModules(preparation, () => {
    let self: BaseProcess;
    try {
      self = load(message) as BaseProcess;
    } catch (error) {
      dieOf(error);
    }
    bootstrap(self, endChildren);
  });
}

// -------------------------------------------------------------------------------------------------

function main(): void {
  native.setInheritable(CHILD_SOCKET, false);
  native.setInheritable(REQUESTS, false);
  const preparation = loadPreparation(
    receive(new FrameTransport(CHILD_SOCKET)),
  ) as ServerPreparation;
  if (process.platform === 'linux') native.dieWithPeer(CHILD_SOCKET);
  process.execArgv = preparation.execArgv;
  process.on('SIGINT', () => {});
  leaveSigusr1();
  noteEnvironment();
  beginBootstrap(preparation.origin);
  inheritPreparation(preparation, isImportingMain);
  prepare(preparation);
}

main();
