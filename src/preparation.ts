/**
 * What a process that has not its parent's memory does before it is the child that was wanted: it reads what it is told,
 * and imports its parent's main module under a guard, so that what is defined and registered there is found.
 *
 * The guard: while the main module is imported `process.argv[1]` names the file that node was started with, one of
 * entry/, and `require.main` and `import.meta.main` mean it anyway, so a module that asks whether it is the program does
 * not take itself for it; and `start()` throws, also in what the import has begun and goes on later, as an `async
 * function main()` does.
 *
 * A module is loaded once. What a fork server has loaded its children have.
 *
 * Only entry/ may import this file.
 */

import { AsyncLocalStorage } from 'node:async_hooks';
import { createRequire } from 'node:module';
import { dieOf } from './at_fork.js';
import { EOFError } from './errors.js';
import { native } from './native.js';
import { loadFlat, registerModule } from './reduction.js';
import type { ModuleName, Preparation } from './spawn.js';
import type { FrameTransport } from './transport.js';

// -------------------------------------------------------------------------------------------------
// Messages

/** The code of a child whose parent has gone. */
const ORPHANED = 1;

export interface Received {
  bytes: Buffer;
  fds: number[];
}

/** The next message. A parent that has gone wants no child. */
export function receive(transport: FrameTransport): Received {
  const fds: number[] = [];
  try {
    return { bytes: Buffer.from(transport.receive(Infinity, -1, fds) as Uint8Array), fds };
  } catch (error) {
    const gone =
      error instanceof EOFError || (error as NodeJS.ErrnoException).code === 'ECONNRESET';
    if (gone) native.exitNow(ORPHANED);
    throw error;
  }
}

/** What is in it. */
export function load({ bytes, fds }: Received): unknown {
  try {
    return loadFlat(bytes, fds);
  } finally {
    for (const fd of fds) if (fd >= 0) native.close(fd);
  }
}

/** The first one. The resource tracker that comes with it is this process's, too. */
export function loadPreparation({ bytes, fds }: Received): Preparation {
  const [tracker] = fds;
  if (tracker !== undefined) native.trackerReplace(native.trackerLink()[1], tracker);
  return loadFlat(bytes) as Preparation;
}

/** Its default action, which is not to open the inspector. */
export function leaveSigusr1(): void {
  const nothing = (): void => {};
  process.on('SIGUSR1', nothing);
  process.removeListener('SIGUSR1', nothing);
}

// -------------------------------------------------------------------------------------------------
// The parent's modules

/** As node was started. */
const BEGINNING = process.argv.slice(0, 2);
const loaded = new Set<string>();
const exported = new Set<object>();
let importing = false;
const beginnings = new AsyncLocalStorage<true>();
/** The import has begun what goes on: what is not of the target's asynchronous context may be of that. */
let leftBehind = false;
/** Used only then: before Node 24 every promise pays for it, and those of an import are many. */
const ofTarget = new AsyncLocalStorage<true>();

export function isImportingMain(): boolean {
  return (
    importing || beginnings.getStore() === true || (leftBehind && ofTarget.getStore() === undefined)
  );
}

/** Calls what begins something that is not to start processes, now or later. */
export function whileImporting<T>(begin: () => T): T {
  return beginnings.run(true, begin);
}

let importModule = (url: string): Promise<object> => import(url);

/** Where this module itself cannot: entry/spawn.ts tells why. */
export function importBy(given: typeof importModule): void {
  importModule = given;
}

const keyOf = (name: ModuleName): string => ('file' in name ? name.file : name.url);

async function loadInTurn(names: readonly ModuleName[]): Promise<void> {
  for (const name of names) {
    let exports: object;
    if ('file' in name) {
      exports = createRequire(name.file)(name.file) as object;
    } else {
      exports = await importModule(name.url);
      registerModule(name.url, exports);
    }
    loaded.add(keyOf(name));
    exported.add(exports);
  }
}

/** One that a module exports which was loaded here. */
export function anyFunction(): (() => void) | undefined {
  for (const exports of exported) {
    try {
      const found = Object.values(exports ?? {}).find((value) => typeof value === 'function');
      if (found !== undefined) return found as () => void;
    } catch {
      // What it exports is behind a getter that throws.
    }
  }
  return undefined;
}

/** What the import of the main module has begun may still start something. */
export function isAtRest(): boolean {
  return process
    .getActiveResourcesInfo()
    .every((name) => /^(TTY|Pipe)Wrap$|^Immediate$/.test(name));
}

/** Everything that was begun has come to its end: before Node 24 every promise pays for knowing whose it is. */
export function forgetBeginnings(): void {
  leftBehind = false;
  beginnings.disable();
  ofTarget.disable();
}

/** What is done at the end, by whoever asked for it. */
function endListeners(): number {
  return process.listenerCount('beforeExit') + process.listenerCount('exit');
}

type ToLoad = Pick<Preparation, 'main' | 'importMain' | 'modules' | 'argv'>;

/** Imports what is not there yet, and calls `then`, at once or in a turn of its own. */
export function loadModules(
  { main, importMain, modules, argv }: ToLoad,
  then: () => void,
  failed: (error: unknown) => void = dieOf,
): void {
  const wanted = modules.map((url): ModuleName => ({ url }));
  if (importMain && main !== null) wanted.unshift(main);
  const names = wanted.filter((name) => !loaded.has(keyOf(name)));
  // What a fork server's imports have begun goes on there.
  leftBehind = false;
  const leaveGuard = (): void => {
    process.argv = [...BEGINNING.slice(0, 1), ...argv.slice(1)];
    importing = false;
  };
  if (names.length === 0) {
    leaveGuard();
    then();
    return;
  }
  importing = true;
  process.argv = [...BEGINNING, ...argv.slice(2)];
  const endings = endListeners();
  // On the other side of it: what is left of the import's own turn comes before.
  const proceed = (): void => {
    setImmediate(() => {
      leaveGuard();
      leftBehind = !isAtRest() || endListeners() > endings;
      if (leftBehind) ofTarget.run(true, then);
      else then();
    });
  };
  loadInTurn(names).then(proceed, (error: unknown) => {
    leaveGuard();
    failed(error);
  });
}
