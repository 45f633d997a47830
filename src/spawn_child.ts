/**
 * What a spawned child does: the child's part of CPython's `spawn.py`.
 *
 * It reads what it has to know, becomes a child of its parent's, imports its parent's main module under a guard, so that
 * what is defined and registered there is found, reads the Process and runs it.
 *
 * The guard: while the main module is imported `process.argv[1]` names that file, and `require.main` and
 * `import.meta.main` mean it anyway, so a module that asks whether it is the program does not take itself for it; and
 * `start()` throws, also in what the import has begun and goes on later, as an `async function main()` does.
 *
 * When the parent dies before it has told everything, this process leaves without a word.
 *
 * Loaded by entry/spawn.ts alone.
 */

import { dieOf, finishChild, replacedHandler } from './at_fork.js';
import { lazyPart } from './lazy_builtin.js';
import { native } from './native.js';
import { dieWithParent } from './popen/child.js';
import {
  importBy,
  isImportingMain,
  leaveSigusr1,
  load,
  loadModules,
  loadPreparation,
  receive,
} from './preparation.js';
import {
  beginBootstrap,
  bootstrap,
  connectedToParent,
  readyFd,
  type BaseProcess,
} from './process.js';
import {
  CHILD_SENTINEL,
  childSocket,
  FIRST_OF_PROCESS,
  inheritPreparation,
  WITH_DESCRIPTORS,
  WITH_SENTINEL,
} from './spawn.js';
import { FrameTransport } from './transport.js';

/** What entry/spawn.ts has for it. */
export interface Beginning {
  importModule(this: void, url: string): Promise<object>;
  /** Where `writeCode`, which is called before the Process runs, writes to; it closes that. */
  codeFile?: number;
  writeCode?(this: void): void;
}

// -------------------------------------------------------------------------------------------------
// The way out

interface Hooks {
  _fatalException: (error: unknown, fromPromise: boolean) => boolean;
  exit: (...code: unknown[]) => never;
  emit: (this: unknown, event: string | symbol, ...args: unknown[]) => boolean;
  reallyExit: (code: number) => never;
}

/** A child's end: uncaught errors are shown with its name, and a target that cannot settle has an exit code. */
function installEnd(): void {
  const hooks = process as unknown as Hooks;
  // What C++ looks up on `process` each time.
  const { exit, emit, _fatalException: nodeFatal } = hooks;
  replacedHandler(nodeFatal);
  let asked = false;
  hooks.exit = (...code) => {
    asked = true;
    return Reflect.apply(exit, process, code) as never;
  };
  hooks._fatalException = (error, fromPromise) => {
    const listened =
      process.listenerCount('uncaughtException') > 0 ||
      process.hasUncaughtExceptionCaptureCallback();
    if (listened) return nodeFatal(error, fromPromise);
    const origin = fromPromise ? 'unhandledRejection' : 'uncaughtException';
    process.emit('uncaughtExceptionMonitor' as never, error as never, origin as never);
    return dieOf(error);
  };
  process.on('exit', (code) => {
    const last = finishChild(code, !asked);
    if (last !== code) process.exitCode = last;
  });
  // The natural end goes on as process.exit() does, without taking node apart piece by piece.
  hooks.emit = function emitInChild(this: unknown, event, ...args) {
    const answer = Reflect.apply(emit, this, [event, ...args]);
    const atEnd = event === 'exit' && !asked && (process as { _exiting?: boolean })._exiting;
    if (atEnd) hooks.reallyExit(Number(process.exitCode ?? 0));
    return answer;
  };
}

function inheritedDescriptors(): number[] {
  const told = process.argv.find((text) => text.startsWith(WITH_DESCRIPTORS));
  const count = told === undefined ? 0 : Number(told.slice(WITH_DESCRIPTORS.length));
  return Array.from({ length: count }, (_, i) => FIRST_OF_PROCESS + i);
}

// -------------------------------------------------------------------------------------------------

/** Now, when it has just told something: later its pid may be another's. */
function lookAfterParent(pid: number): void {
  connectedToParent(native.openPidfd(pid) ?? readyFd());
}

export function main({ importModule, codeFile, writeCode }: Beginning): void {
  importBy(importModule);
  if (codeFile !== undefined) native.setInheritable(codeFile, false);
  const socket = childSocket();
  const inherited = inheritedDescriptors();
  for (const fd of [socket, ...inherited]) native.setInheritable(fd, false);
  if (process.argv.includes(WITH_SENTINEL)) native.setInheritable(CHILD_SENTINEL, false);
  const transport = new FrameTransport(socket);
  const preparation = loadPreparation(receive(transport));
  if (preparation.endsWithParent) dieWithParent(preparation.origin.parentPid);
  leaveSigusr1();
  installEnd();
  beginBootstrap(preparation.origin);
  if (process.platform === 'win32') lookAfterParent(preparation.origin.parentPid);
  inheritPreparation(preparation, isImportingMain);
  loadModules(preparation, () => {
    let self: BaseProcess;
    try {
      // Its classes; nearly every main module has loaded them.
      lazyPart('index');
      const message = receive(transport);
      message.fds.push(...inherited);
      self = load(message) as BaseProcess;
    } catch (error) {
      dieOf(error);
    }
    transport.close();
    writeCode?.();
    bootstrap(self, () => {});
  });
}
