/**
 * What a spawned child runs: the child's part of CPython's `spawn.py`.
 *
 * It reads what it has to know, becomes a child of its parent's, imports its parent's main module under a guard, so that
 * what is defined and registered there is found, reads the Process and runs it.
 *
 * The guard: while the main module is imported `process.argv[1]` names this file, and `require.main` and
 * `import.meta.main` mean it anyway, so a module that asks whether it is the program does not take itself for it; and
 * `start()` throws, also in what the import has begun and goes on later, as an `async function main()` does.
 *
 * When the parent dies before it has told everything, this process leaves without a word.
 *
 * Run by node as a program, never imported.
 */

import { AsyncLocalStorage } from 'node:async_hooks';
import { createRequire } from 'node:module';
import { dieOf, finishChild, replacedHandler } from '../at_fork.js';
import { EOFError } from '../errors.js';
import { lazyPart } from '../lazy_builtin.js';
import { native } from '../native.js';
import { dieWithParent } from '../popen/child.js';
import { beginBootstrap, bootstrap, parentProcess, type BaseProcess } from '../process.js';
import { loadFlat, registerModule } from '../reduction.js';
import {
  CHILD_SENTINEL,
  childSocket,
  inheritPreparation,
  type ModuleName,
  type Preparation,
  WITH_SENTINEL,
} from '../spawn.js';
import { FrameTransport } from '../transport.js';

/** The code of a child whose parent has gone. */
const ORPHANED = 1;

function receive(transport: FrameTransport): unknown {
  const fds: number[] = [];
  let bytes: Uint8Array;
  try {
    bytes = transport.receive(Infinity, -1, fds) as Uint8Array;
  } catch (error) {
    const gone =
      error instanceof EOFError || (error as NodeJS.ErrnoException).code === 'ECONNRESET';
    if (gone) native.exitNow(ORPHANED);
    throw error;
  }
  try {
    return loadFlat(Buffer.from(bytes), fds);
  } finally {
    for (const fd of fds) if (fd >= 0) native.close(fd);
  }
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

/** Its default action, which is not to open the inspector. */
function leaveSigusr1(): void {
  const nothing = (): void => {};
  process.on('SIGUSR1', nothing);
  process.removeListener('SIGUSR1', nothing);
}

// -------------------------------------------------------------------------------------------------
// The parent's modules

let importing = false;
const beginnings = new AsyncLocalStorage<true>();

function isImportingMain(): boolean {
  return importing || beginnings.getStore() === true;
}

/** Undefined: it is loaded. */
function loadModule(name: ModuleName): Promise<void> | undefined {
  if ('file' in name) {
    createRequire(name.file)(name.file);
    return undefined;
  }
  return import(name.url).then((namespace: object) => registerModule(name.url, namespace));
}

async function loadInTurn(names: readonly ModuleName[]): Promise<void> {
  for (const name of names) await loadModule(name);
}

/** What the import of the main module has begun may still start something. */
function isAtRest(): boolean {
  return process
    .getActiveResourcesInfo()
    .every((name) => /^(TTY|Pipe)Wrap$|^Immediate$/.test(name));
}

function loadModules({ main, importMain, modules, argv }: Preparation, then: () => void): void {
  const names = modules.map((url): ModuleName => ({ url }));
  if (importMain && main !== null) names.unshift(main);
  const done = (): void => {
    process.argv = [...process.argv.slice(0, 1), ...argv.slice(1)];
    importing = false;
    then();
  };
  if (names.length === 0) {
    done();
    return;
  }
  importing = true;
  process.argv = [...process.argv.slice(0, 2), ...argv.slice(2)];
  // On the other side of it: what is left of the import's own turn comes before, and the target is not of its context.
  const proceed = (): void => {
    setImmediate(() => {
      // Before Node 24 every promise pays for it.
      if (isAtRest()) beginnings.disable();
      done();
    });
  };
  const loaded = beginnings.run(true, () => loadInTurn(names));
  loaded.then(proceed, dieOf);
}

// -------------------------------------------------------------------------------------------------

function main(): void {
  const socket = childSocket();
  native.setInheritable(socket, false);
  if (process.argv.includes(WITH_SENTINEL)) native.setInheritable(CHILD_SENTINEL, false);
  const transport = new FrameTransport(socket);
  const preparation = receive(transport) as Preparation;
  if (preparation.endsWithParent) dieWithParent(preparation.origin.parentPid);
  leaveSigusr1();
  installEnd();
  beginBootstrap(preparation.origin);
  // While it lives: later its pid may be another's.
  if (process.platform === 'win32') parentProcess();
  inheritPreparation(preparation, isImportingMain);
  loadModules(preparation, () => {
    let self: BaseProcess;
    try {
      // Its classes; nearly every main module has loaded them.
      lazyPart('index');
      self = receive(transport) as BaseProcess;
    } catch (error) {
      dieOf(error);
    }
    transport.close();
    bootstrap(self, () => {});
  });
}

main();
