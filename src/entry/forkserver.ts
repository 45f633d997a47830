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
import { lazyBuiltin, lazyPart } from '../lazy_builtin.js';
import { native } from '../native.js';
import { beginChild, exitcodeOf, type SentinelPipe } from '../popen/child.js';
import {
  forgetBeginnings,
  isAtRest,
  isImportingMain,
  leaveSigusr1,
  load,
  loadModules,
  receive,
  whileImporting,
} from '../preparation.js';
import { beginBootstrap, bootstrap, type BaseProcess } from '../process.js';
import { prepareCodec } from '../reduction.js';
import {
  CHILD_SENTINEL,
  CHILD_SOCKET,
  inheritPreparation,
  type ModuleName,
  type Preparation,
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
    return vm.compileFunction('return import(name)', ['name'], options) as unknown as Import;
  }
  // Before Node 20.12.
  return async (name) => import(pathToFileURL(createRequire(base).resolve(name)).href);
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
interface Job {
  socket: number;
  requests: number;
  sentinel: SentinelPipe;
}

/** What is being forked, and what this process was forked for. */
let job: Job | undefined;
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
  } else if (job !== undefined) {
    // A child of the server's child: its parent is another one.
    native.close(job.socket);
    if (job.sentinel !== undefined) native.close(job.sentinel[1]);
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
  watch = newWatch();
  turn();
}

function turn(): void {
  takeRequest();
  reportEnds();
  watch.add(REQUESTS, true, false);
  watch.arm(turn);
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

/** Nobody is left who could ask for a child. */
function leave(): never {
  endWatch(watch);
  process.exit(0);
}

function begin(socket: number, requests: number): void {
  let pid: number;
  let sentinel: number | undefined;
  try {
    [pid, sentinel] = beginChild((pipe) => {
      job = { socket, requests, sentinel: pipe };
      return forkProcess(runChild, job);
    });
  } finally {
    job = undefined;
  }
  try {
    sentinel ??= native.openPidfd(pid)!;
    watch.add(sentinel, true, false);
  } catch (error) {
    native.kill(pid, 9);
    native.waitPidTimeout(pid, -1);
    if (sentinel !== undefined) native.close(sentinel);
    throw error;
  }
  children.set(pid, { pid, sentinel, socket });
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

/** On an empty stack. The writing end of the sentinel stays open as long as the process lives. */
function runChild({ socket, requests, sentinel }: Job): void {
  if (sentinel !== undefined) native.close(sentinel[0]);
  inheritServer(requests, socket);
  tell(socket, replyOf(STARTED, native.getpid()));
  const transport = new FrameTransport(socket);
  const preparation = load(receive(transport)) as Preparation;
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
  const preparation = load(receive(new FrameTransport(CHILD_SOCKET))) as ServerPreparation;
  if (process.platform === 'linux') native.dieWithPeer(CHILD_SOCKET);
  process.on('SIGINT', () => {});
  leaveSigusr1();
  noteEnvironment();
  beginBootstrap(preparation.origin);
  inheritPreparation(preparation, isImportingMain);
  prepare(preparation);
}

main();
