/**
 * Starting a fresh node for a child: the parent's part of CPython's `spawn.py` and `popen_spawn_posix.py`.
 *
 * The child runs lib/entry/spawn.cjs, with the options of node that this process was started with, its environment and
 * its working directory. Through a socket, descriptor 3, it gets two messages: what it has to know and to load first
 * (`Preparation`), and then the Process itself, which can be read only when the functions and classes that it names are
 * there. Descriptors of locks, queues and connections in it come along; no others are inherited but stdout and stderr.
 * macOS shuts sockets that are under way and that their sender has closed, as a parent does that hands over one end of a
 * Pipe: there the descriptors are inherited.
 *
 * What cannot be sent is found before there is a child: nothing is left behind by a PicklingError.
 *
 * When the child dies before it has read its messages, its exit code tells. When the parent dies, the child finds the
 * end of the socket, and leaves.
 *
 * A fork server is started and told in the same way (forkserver.ts).
 *
 * Loaded with the first process that is spawned, by popen/spawn.ts, forkserver.ts, context.ts and entry/ alone.
 */

import { readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { isAbsolute, join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { checkText, wrongType } from './arguments.js';
import type * as Compiled from './compiled.js';
import { RuntimeError } from './errors.js';
import { lazyPart, osConstants } from './lazy_builtin.js';
import { native } from './native.js';
import {
  currentDirectory,
  currentProcess,
  ORIGINAL_DIRECTORY,
  processState,
  whileSpawning,
  type BaseProcess,
  type Origin,
} from './process.js';
import { encode, flatParts } from './reduction.js';
import { FILE, REGISTERED, URL_OF_MODULE } from './registry.js';
import { FrameTransport, type Outgoing } from './transport.js';
import type { SpawnFileAction, SpawnRequest } from '#native';

/** A module that the child loads: a file for `require`, a URL for `import`. */
export type ModuleName = { file: string } | { url: string };

/** The first message. Mirrors `get_preparation_data`. */
export interface Preparation extends Partial<Situation> {
  origin: Origin;
  /** As a daemon does. */
  endsWithParent: boolean;
  argv: string[];
  /** Where relative paths among node's options began. */
  originalDirectory: string;
  /** The parent's main module. */
  main: ModuleName | null;
  /** Whether it is to be loaded. */
  importMain: boolean;
  /** ES modules that the Process refers to; others are found synchronously. */
  modules: string[];
}

/** What a node that the parent starts has from it anyway. */
export interface Situation {
  directory: string;
  /** Null: as where the child comes from. */
  env: [name: string, value: string][] | null;
}

/** The child's end of the socket, and of the pipe that tells of its end, where there is one. */
export const CHILD_SOCKET = 3;
export const CHILD_SENTINEL = 4;
/** Of what compiled.ts says. */
export const CHILD_CODE = 5;
const SOCKET_ARGUMENT = 'socket=';
/** The first one that its Process has, where they are inherited. */
export const FIRST_OF_PROCESS = 6;
/** In the child's arguments: it has that pipe. */
export const WITH_SENTINEL = 'sentinel';
/** And: so many descriptors of its Process are inherited. */
export const WITH_DESCRIPTORS = 'descriptors=';

/** In the child: a handle of Windows has the same number there as here, and the child is told. */
export function childSocket(): number {
  const given = process.argv.find((argument) => argument.startsWith(SOCKET_ARGUMENT));
  return given === undefined ? CHILD_SOCKET : Number(given.slice(SOCKET_ARGUMENT.length));
}

// -------------------------------------------------------------------------------------------------
// What a child inherits from this process's own beginning

let originalDirectory = ORIGINAL_DIRECTORY;
let executable: string | undefined;
let mainModule: ModuleName | null | undefined;
/** Whether the parent's main module is being imported here. */
let importingMain = (): boolean => false;

/** In a spawned child: what its own children are told. */
export function inheritPreparation(from: Preparation, isImporting: () => boolean): void {
  originalDirectory = from.originalDirectory;
  mainModule = from.main;
  importingMain = isImporting;
}

/**
 * The node that children run, `process.execPath` by default. Mirrors `multiprocessing.set_executable`.
 *
 * @throws TypeError not a path; null is the default again.
 */
export function setExecutable(file: string | null): void {
  if (file === null) executable = undefined;
  else if (typeof file !== 'string' || file === '') throw wrongType('executable', 'a path', file);
  else executable = checkText(file, 'executable');
  forgetCode();
}

/** The module that this program began with; null: it has none, or none that can be loaded again (-e, stdin). */
function findMain(): ModuleName | null {
  const load = createRequire(import.meta.filename);
  const { main } = load;
  // With -e and in the REPL there is one without a file.
  if (main?.filename) return isAbsolute(main.filename) ? { file: main.filename } : null;
  const [, given] = process.argv;
  if (given === undefined || '_eval' in process || !isAbsolute(given)) return null;
  try {
    return { url: pathToFileURL(load.resolve(given)).href };
  } catch {
    return null;
  }
}

function mainOf(): ModuleName | null {
  return mainModule === undefined ? (mainModule = findMain()) : mainModule;
}

/**
 * A tool that runs the program, such as a test runner: loading it would run everything again. What a Worker began with
 * expects to be in one.
 */
function isTool(main: ModuleName): boolean {
  if (!native.isMainThread()) return true;
  return /[/\\]node_modules[/\\]/.test('file' in main ? main.file : main.url);
}

// -------------------------------------------------------------------------------------------------
// Options of node

/** Options that say what this process runs, and would have the child run it; each with how many values follow. */
const NOT_FOR_CHILDREN = new Map([
  ['-e', 1],
  ['--eval', 1],
  ['-p', 0],
  ['--print', 0],
  ['-pe', 1],
  ['-i', 0],
  ['--interactive', 0],
  ['-c', 0],
  ['--check', 0],
  ['--input-type', 1],
  ['--test', 0],
  ['--watch', 0],
  ['--watch-path', 1],
  ['--inspect', 0],
  ['--inspect-brk', 0],
  ['--inspect-wait', 0],
  ['--inspect-port', 1],
  ['--debug-port', 1],
  ['--build-snapshot', 0],
  ['--experimental-sea-config', 1],
  ['--cpu-prof-name', 1],
  ['--heap-prof-name', 1],
]);

/** Options whose value may be a path that is relative to where this process began. */
const WITH_A_PATH = new Set([
  '-r',
  '--require',
  '--import',
  '--loader',
  '--experimental-loader',
  '--env-file',
  '--env-file-if-exists',
]);

/** This process's options as a child needs them. */
export function nodeOptions(given: readonly string[], from: string, to: string): string[] {
  const options: string[] = [];
  const code = (process as unknown as { _eval?: string })._eval;
  for (let i = 0; i < given.length; i++) {
    const option = given[i]!;
    const [, name = option, value] = /^(--[^=]+)=(.*)$/s.exec(option) ?? [];
    const values = NOT_FOR_CHILDREN.get(name);
    if (values !== undefined || name.startsWith('--test-')) {
      if (value === undefined) i += values ?? 0;
      // What is printed may stand by itself.
      if (/^(-p|--print)$/.test(name) && code !== undefined && given[i + 1] === code) i++;
    } else if (from !== to && WITH_A_PATH.has(name)) {
      const inPlace = (text: string): string =>
        /^\.\.?([/\\]|$)/.test(text) || name.startsWith('--env-file') ? resolve(from, text) : text;
      if (value !== undefined) options.push(`${name}=${inPlace(value)}`);
      else if (++i < given.length) options.push(name, inPlace(given[i]!));
    } else {
      options.push(option);
    }
  }
  return options;
}

// -------------------------------------------------------------------------------------------------
// The messages

/** Mirrors `_check_not_importing_main`. @throws RuntimeError. */
export function checkNotImportingMain(): void {
  if (!importingMain()) return;
  throw new RuntimeError(`
        An attempt has been made to start a new process before the
        current process has finished its bootstrapping phase.

        This probably means that you are not using fork to start your
        child processes and you have forgotten to use the proper idiom
        in the main module:

            if (parentProcess() === null) {
              main();
            }

        A child that is not forked imports the main module of its parent,
        to have the functions and classes that are defined there. What only
        the parent shall do must not happen meanwhile. In a CommonJS module
        \`require.main === module\` says the same, in an ES module
        \`import.meta.main\` (Node 24).
        See docs/start-methods.md of node-multiprocessing.`);
}

/** What the Process that is being encoded refers to. */
let modules = new Set<string>();
let namesRegistered = false;
let files = new Set<string>();

const OF_A_PROCESS = {
  name: 'process',
  onReference(kind: number, where: string): void {
    if (kind === URL_OF_MODULE) modules.add(where);
    else if (kind === FILE) files.add(where);
    else if (kind === REGISTERED && !where.startsWith('multiprocessing.')) namesRegistered = true;
  },
};

/** The message of a value, which does not lie in the codec's scratch memory. */
function messageOf(value: unknown, options?: object): Outgoing {
  const message = encode(value, options);
  const parts = flatParts(message);
  const own = message.bulk.length === 0 ? parts : parts.slice(0, 2);
  return {
    parts: [Buffer.concat(own), ...parts.slice(own.length)],
    fds: [...message.fds],
    sent: 0,
  };
}

/**
 * @param startMethod the default one, which the child's default is to be.
 * @throws PicklingError its target, an argument or a property cannot be sent.
 */
export function messagesFor(
  child: BaseProcess,
  startMethod: string | null,
  situation?: Situation,
): Outgoing[] {
  modules = new Set();
  files = new Set();
  namesRegistered = false;
  const pickled = whileSpawning(child, () => messageOf(child, OF_A_PROCESS));
  const main = mainOf();
  const refersToMain =
    namesRegistered ||
    (main !== null && ('file' in main ? files.has(main.file) : modules.has(main.url)));
  const preparation: Preparation = {
    ...preparationOf(child.name, processState(child).authkey, startMethod),
    ...situation,
    endsWithParent: child.daemon || child._endsWithParent,
    modules: [...modules].filter((url) => main === null || !('url' in main) || url !== main.url),
  };
  if (refersToMain && main !== null) preparation.importMain = true;
  return [preparationMessage(preparation), pickled];
}

/** The only descriptor that comes with it: the resource tracker, where there is one. */
export function preparationMessage(preparation: Preparation): Outgoing {
  const [tracker] = native.trackerLink();
  return { ...messageOf(preparation), fds: tracker < 0 ? [] : [tracker] };
}

/** What any node is told that this process starts. */
export function preparationOf(
  name: string,
  authkey: Uint8Array,
  startMethod: string | null,
): Preparation {
  const main = mainOf();
  return {
    origin: {
      name,
      authkey,
      parentName: currentProcess().name,
      parentPid: native.getpid(),
      startMethod,
    },
    endsWithParent: false,
    argv: [...process.argv],
    originalDirectory,
    main,
    importMain: main !== null && !isTool(main),
    modules: [],
  };
}

// -------------------------------------------------------------------------------------------------
// The process

/** Of Linux, macOS and Windows, where it is taken for granted. */
const SOCK_STREAM = 1;
const OPEN = 0;
const CLOSE = 1;
const DUP2 = 2;

/** Descriptors that programs started from here would inherit: nobody has named them. */
function inheritable(): number[] {
  let numbers: number[];
  try {
    numbers = readdirSync('/dev/fd').map(Number);
  } catch {
    return []; // Not to be seen here.
  }
  return numbers.filter((fd) => {
    try {
      return fd > 2 && native.getInheritable(fd);
    } catch {
      return false; // The one that has shown them.
    }
  });
}

let children = 0;

/** Many programs have but one child: it is nothing for the first. */
function codeForChild(): Compiled.CodeFile | undefined {
  return ++children > 1 ? lazyPart<typeof Compiled>('compiled').codeForNextChild() : undefined;
}

/** The children to come are of another node. */
function forgetCode(): void {
  if (children > 1) lazyPart<typeof Compiled>('compiled').forgetCode();
  children = 0;
}

/** What is asked of the system, but for what the child does with descriptors. */
function requestOf(
  options: readonly string[],
  entry: string,
  args: readonly string[],
  fileActions: SpawnFileAction[],
): SpawnRequest {
  const file = executable ?? process.execPath;
  const inherited = nodeOptions(process.execArgv, originalDirectory, currentDirectory());
  return {
    path: file,
    argv: [
      file,
      ...inherited,
      ...options,
      join(import.meta.dirname, 'entry', `${entry}.cjs`),
      `--multiprocessing-${entry}`,
      `parent=${native.getpid()}`,
      ...args,
    ],
    env: Object.entries(process.env).map(([name, value]) => `${name}=${value}`),
    searchPath: !(process.platform === 'win32' ? /[/\\]/ : /\//).test(file),
    fileActions,
    processGroup: undefined,
    newSession: false,
    resetIds: false,
    signalMask: [],
    // Node ignores it. (Windows does not know it.)
    defaultSignals: process.platform === 'win32' ? [] : [osConstants().signals.SIGPIPE],
  };
}

/**
 * @param socket becomes CHILD_SOCKET, `second` becomes CHILD_SENTINEL.
 * @param options of node, besides this process's own.
 * @param entry a file of lib/entry.
 * @param descriptors become FIRST_OF_PROCESS and those that follow.
 */
export function launchNode(
  socket: number,
  second: number | undefined,
  options: readonly string[],
  entry: string,
  args: readonly string[],
  descriptors: readonly number[] = [],
): number {
  if (process.platform === 'win32') {
    // Standard input is empty, output goes where ours does, and of handles the child inherits the socket alone.
    const socketArgument = `${SOCKET_ARGUMENT}${socket}`;
    const inherited = { kind: DUP2, fd: socket, target: socket } as const;
    return native.spawn(requestOf(options, entry, [...args, socketArgument], [inherited]));
  }
  // Above those that they become, so that none is overwritten before it was copied.
  const above: number[] = [];
  const raise = (fd: number): number => {
    while (fd < FIRST_OF_PROCESS + descriptors.length) {
      fd = native.dup(fd);
      above.push(fd);
    }
    return fd;
  };
  try {
    const from = raise(socket);
    const tell = second === undefined ? undefined : raise(second);
    // Node has made them close-on-exec, and a copy onto itself need not be otherwise.
    const output = [1, 2].flatMap((target) => {
      try {
        return [{ kind: DUP2, fd: raise(target), target } as const];
      } catch {
        return []; // The program has closed it.
      }
    });
    // A fork server has options of its own, and V8 wants the same.
    const code = entry === 'spawn' ? codeForChild() : undefined;
    const given = [
      { kind: DUP2, fd: from, target: CHILD_SOCKET } as const,
      ...(tell === undefined ? [] : [{ kind: DUP2, fd: tell, target: CHILD_SENTINEL } as const]),
      ...(code === undefined
        ? []
        : [{ kind: DUP2, fd: raise(code.fd), target: CHILD_CODE } as const]),
      ...descriptors.map(
        (fd, i) => ({ kind: DUP2, fd: raise(fd), target: FIRST_OF_PROCESS + i }) as const,
      ),
    ];
    const kept = new Set<number>(given.map(({ target }) => target));
    return native.spawn(
      requestOf(
        options,
        entry,
        [
          ...args,
          ...(descriptors.length === 0 ? [] : [`${WITH_DESCRIPTORS}${descriptors.length}`]),
          ...(code === undefined ? [] : [code.use]),
        ],
        [
          { kind: OPEN, fd: 0, path: '/dev/null', flags: 0, mode: 0 },
          ...output,
          ...given,
          ...inheritable()
            .filter((fd) => !kept.has(fd))
            .map((fd) => ({ kind: CLOSE, fd }) as const),
        ],
      ),
    );
  } finally {
    for (const fd of above) native.close(fd);
  }
}

/** A child that runs, and that waits for what it is to do. */
export interface Launched {
  pid: number;
  /**
   * Sends it: what is more than the system's buffer takes when the child reads it.
   *
   * @param milliseconds negative: for as long as that lasts.
   * @returns whether all was sent.
   */
  deliver(milliseconds: number): boolean;
  close(): void;
}

/**
 * Starts a node for `child`.
 *
 * @param sentinel a descriptor that the child keeps open as long as it lives.
 * @throws PicklingError. RuntimeError the main module is being imported. Error ENOENT, EACCES: the executable. EAGAIN,
 *   ENOMEM, EMFILE.
 */
export function launchSpawned(
  child: BaseProcess,
  startMethod: string | null,
  sentinel: number | undefined,
): Launched {
  checkNotImportingMain();
  const messages = messagesFor(child, startMethod);
  const pickled = messages.at(-1)!;
  const inherited = native.plainPosix ? pickled.fds : [];
  if (native.plainPosix) pickled.fds = [];
  const [ours, theirs] = native.socketpair(SOCK_STREAM, true);
  let pid: number;
  try {
    const args = sentinel === undefined ? [] : [WITH_SENTINEL];
    pid = launchNode(theirs, sentinel, [], 'spawn', args, inherited);
  } catch (error) {
    native.close(ours);
    throw error;
  } finally {
    native.close(theirs);
  }
  return {
    pid,
    deliver(milliseconds) {
      const transport = new FrameTransport(ours);
      try {
        for (const message of messages) message.child = pid;
        for (; messages.length > 0; messages.shift()) {
          if (!transport.send(messages[0]!, milliseconds)) return false;
        }
      } catch (error) {
        // It has ended already: its exit code tells.
        if (!/^(EPIPE|ECONNRESET)$/.test((error as NodeJS.ErrnoException).code ?? '')) throw error;
      }
      return true;
    },
    close() {
      native.close(ours);
    },
  };
}
