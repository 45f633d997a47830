/**
 * What outlives processes that forget it, or are killed: names of shared memory that somebody has to unlink.
 *
 * The counterpart of CPython's `resource_tracker.py`. A process of its own, the tracker (native/tracker/), reads a pipe
 * whose writing end every process of the program has. Whoever makes or opens a block with `track` registers its name,
 * whoever unlinks it unregisters it. When the last writer has gone, whichever way it ended, the tracker unlinks what is
 * still registered, with CPython's warning on stderr, and ends. A name that has been unlinked elsewhere, or means
 * another block by now, is left alone: a block is known by its identity, not by its name.
 *
 * One tracker for the whole family: forked children inherit the pipe, others get it with what they have to know. So it
 * is started by the first block, or by the first child of a process that has loaded this file: a child that starts its
 * own has it unlink at its own end what its parent may still want to open.
 *
 * A program of 30 KB and not a second node, which would take 40 MB and 40 ms, nor a fork of this process, which would
 * keep its memory. It is found beside the addon. Where it is not, because a bundler has left it behind, every process
 * unlinks at its own end what it has made itself, and a warning names the remedy.
 *
 * When the tracker is killed, the next registration starts another one, with CPython's warning, and registers again
 * what this process has made; from there on the others of the family have their own. When it is killed together with
 * everybody else nobody is left to clean up. When it is stopped, registrations wait for a second, and then in memory.
 */

import { chmodSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { osConstants } from './lazy_builtin.js';
import { native } from './native.js';
import { atVeryEnd, beforeChildren } from './util.js';

/**
 * The kinds of resources. Shared memory by CPython's name; the others are paths, for what the package itself puts into
 * the file system: they are removed without a warning, files before directories.
 */
export type ResourceType = 'shared_memory' | 'file' | 'directory';

/** What the addon answers: the message was taken; there is no room; the tracker has ended; there is none. */
const TAKEN = 0;
const FULL = 1;

const NAME_OF_PROGRAM = 'multiprocessing-tracker';
/** How long a tracker that does not read is waited for, once. */
const FULL_PATIENCE_MS = 1000;
/** How long a new tracker may take to say that it is there. */
const START_PATIENCE_MS = 10_000;
/** How long this process's end waits for the tracker's, when it has something to clean up. */
const END_PATIENCE_MS = 200;

/** Whatever has the name. */
const ANY = new BigUint64Array(2);

interface Resource {
  name: string;
  type: ResourceType;
  identity: BigUint64Array;
  /** The tracker knows it. */
  told: boolean;
}

/** What this process has made, by its message without the sign. */
let made = new Map<string, Resource>();
const LEAST_CROWDED = 1000;
/** So many may be gone. */
let crowded = LEAST_CROWDED;
/** The name that the tracker has been told of last by `expect`. */
let expected: string | undefined;
/** The process whose list it is. */
let owner: number | undefined;
/** Of the tracker that has been told of it. */
let generation = 0;
/** The pid of the tracker, if this process has started it. */
let started: number | undefined;
/** The tracker does not read. */
let stuck = false;
/** There is none, and there will be none. */
let refused = false;
let warned = false;

// -------------------------------------------------------------------------------------------------
// Registering

/**
 * Has a name removed after the end of the program. Twice counts once.
 *
 * @param isMade by this process; it registers it anew when the tracker has died.
 * @param identity as the addon filled it in; without one the name means whatever has it.
 * @throws Error ENAMETOOLONG: of a path that no message holds.
 */
export function register(
  name: string,
  type: ResourceType,
  isMade: boolean,
  identity: BigUint64Array = ANY,
): void {
  if (process.platform === 'win32') return;
  own();
  const text = describe(name, type, identity);
  if (!isMade) {
    tell(`+${text}`);
    return;
  }
  const resource = made.get(text) ?? { name, type, identity, told: false };
  // In one message: at no moment the tracker knows of neither.
  const instead = expected === name ? `-${describe(name, type, ANY)}` : '';
  expected = undefined;
  if (!resource.told) resource.told = tell(`${instead}+${text}`);
  made.set(text, resource);
  if (made.size > crowded) prune();
}

/** Others unlink what a producer makes. Looked for whenever there are twice as many as the last time. */
function prune(): void {
  for (const [text, { name, type, identity }] of made) {
    if (type === 'shared_memory' && !native.sharedIs(name, identity)) made.delete(text);
  }
  crowded = Math.max(LEAST_CROWDED, 2 * made.size);
}

/**
 * Announces a name that is about to be made, so that a kill in between leaves nothing; for names that nobody else can
 * have. `register` or `unregister` takes it back.
 */
export function expect(name: string, type: ResourceType): void {
  if (process.platform === 'win32') return;
  own();
  if (tell(`+${describe(name, type, ANY)}`)) expected = name;
}

/** Somebody has removed it. Does nothing when it is not registered. */
export function unregister(name: string, type: ResourceType, identity: BigUint64Array = ANY): void {
  const [fd] = native.trackerLink();
  if (fd < 0 && made.size === 0) return;
  own();
  const text = describe(name, type, identity);
  const resource = made.get(text);
  made.delete(text);
  // A message that is lost does no harm: the name will be gone, or be another's.
  if (fd >= 0 && resource?.told !== false) native.trackerTell(`-${text}`, 0);
}

/** Starts the tracker unless there is one. What children will have to do with comes before them. */
export function ensureRunning(): void {
  if (process.platform === 'win32' || native.trackerLink()[0] >= 0) return;
  own();
  launch(native.trackerLink()[1]);
}

/** Begins a list of this process's own. */
function own(): void {
  const self = native.getpid();
  if (owner === self) return;
  owner = self;
  made = new Map();
  generation = native.trackerLink()[1];
  started = undefined;
}

function describe(name: string, type: ResourceType, [device, inode]: BigUint64Array): string {
  // oxlint-disable-next-line no-control-regex
  const escaped = name.replace(
    /[\0-\x20%\x7f]/g,
    (character) => `%${character.charCodeAt(0).toString(16).padStart(2, '0')}`,
  );
  return ` ${type} ${device!.toString(16)} ${inode!.toString(16)} ${escaped}\n`;
}

/** Sends a registration, to a new tracker if need be. False: it was not to be sent now. */
function tell(message: string): boolean {
  for (;;) {
    const [, current] = native.trackerLink();
    // Another thread has started it.
    if (current !== generation) renew(current);
    const answer = native.trackerTell(message, stuck ? 0 : FULL_PATIENCE_MS);
    if (answer === TAKEN) {
      if (stuck) renew(current);
      return true;
    }
    if (answer === FULL) {
      stuck = true;
      return false;
    }
    if (native.trackerLink()[0] >= 0 && native.trackerLink()[1] === current) {
      warn('process died unexpectedly, relaunching.  Some resources might leak.');
    }
    if (!launch(current)) return false;
  }
}

/** Tells a tracker what it has not been told. */
function renew(current: number): void {
  const isNew = current !== generation;
  generation = current;
  stuck = false;
  if (isNew) for (const resource of made.values()) resource.told = false;
  for (const [text, resource] of made) {
    if (resource.told) continue;
    const answer = native.trackerTell(`+${text}`, FULL_PATIENCE_MS);
    resource.told = answer === TAKEN;
    if (answer === FULL) stuck = true;
    // Of its end the next message will tell.
    if (!resource.told) return;
  }
}

// -------------------------------------------------------------------------------------------------
// Starting

beforeChildren(ensureRunning);

/** False: there is no tracker. @param from the generation of the one it is to replace. */
function launch(from: number): boolean {
  if (refused) return false;
  try {
    const [writeEnd, pid] = startExecutable();
    if (native.trackerReplace(from, writeEnd)) started = pid;
    return true;
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    // The system is short of something.
    if (code !== undefined && /^(EAGAIN|EMFILE|ENFILE|ENOMEM)$/.test(code)) return false;
    refused = true;
    if (!warned) {
      warned = true;
      process.emitWarning(
        `the resource tracker cannot be started (${message}): shared memory that is not unlinked stays when a ` +
          `process is killed. Put '${NAME_OF_PROGRAM}' beside the addon, executable, from where ` +
          'node-multiprocessing is installed; or run: npm rebuild node-multiprocessing',
        { type: 'MultiprocessingWarning' },
      );
    }
    return false;
  }
}

/** Archives and copies lose the mode; the package may be ours to repair. */
function startExecutable(): [writeEnd: number, pid: number] {
  const file = join(dirname(native.addonFile()), NAME_OF_PROGRAM);
  try {
    return start(file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EACCES') throw error;
    try {
      chmodSync(file, 0o755);
    } catch {
      throw error;
    }
    return start(file);
  }
}

/** A new tracker's pipe, and its pid. */
function start(file: string): [writeEnd: number, pid: number] {
  const open: number[] = [];
  // Above those that they become, so that none is overwritten before it was copied.
  const above = (fd: number): number => {
    open.push(fd);
    while (fd <= 2) open.push((fd = native.dup(fd)));
    return fd;
  };
  try {
    const [messages, writeEnd] = native.pipe(true).map(above) as [number, number];
    const [said, saying] = native.pipe(true).map(above) as [number, number];
    const DUP2 = 2;
    const errors = stderrAbove(above);
    const launcher = native.spawn({
      path: file,
      argv: [NAME_OF_PROGRAM, `${native.getpid()}`],
      env: Object.entries(process.env).map(([name, value]) => `${name}=${value}`),
      searchPath: false,
      fileActions: [
        { kind: DUP2, fd: messages, target: 0 },
        { kind: DUP2, fd: saying, target: 1 },
        ...(errors === undefined ? [] : [{ kind: DUP2, fd: errors, target: 2 } as const]),
      ],
      processGroup: undefined,
      newSession: false,
      resetIds: false,
      // It never admits them.
      signalMask: Object.values(osConstants().signals),
      defaultSignals: [],
    });
    native.close(saying);
    open.splice(open.indexOf(saying), 1);
    const pid = readPid(said);
    // What was started has forked, and ends.
    native.waitPidTimeout(launcher, START_PATIENCE_MS);
    if (pid === undefined) throw new Error(`${file} does not say that it is ready`);
    open.splice(open.indexOf(writeEnd), 1);
    return [writeEnd, pid];
  } finally {
    for (const fd of open) native.close(fd);
  }
}

/** Undefined: the program has closed it. */
function stderrAbove(above: (fd: number) => number): number | undefined {
  let fd: number;
  try {
    fd = native.dup(2);
  } catch {
    return undefined;
  }
  return above(fd);
}

function readPid(fd: number): number | undefined {
  const bytes = Buffer.alloc(16);
  if (!native.waitReady(fd, false, START_PATIENCE_MS)) return undefined;
  const pid = Number.parseInt(bytes.toString('latin1', 0, native.read(fd, bytes, bytes.length)));
  return pid > 0 ? pid : undefined;
}

// -------------------------------------------------------------------------------------------------
// The end

/** At once: the first block may be made by a listener for 'exit'. */
atVeryEnd(cleanUp);

function cleanUp(): void {
  if (owner !== native.getpid() || made.size === 0) return;
  const untold = [...made.values()].filter(({ told }) => !told);
  const isForgotten = untold.length < made.size;
  made.clear();
  unlink(untold);
  if (isForgotten && started !== undefined && native.isMainThread()) letFinish(started);
}

/** Who waits for this process shall find nothing left of it. */
function letFinish(pid: number): void {
  let fd: number | null;
  try {
    fd = native.openPidfd(pid);
  } catch {
    return; // It has been killed.
  }
  native.trackerClose();
  // Children of ours that we did not join may go on, and it with them.
  if (fd !== null) native.waitReady(fd, false, END_PATIENCE_MS);
}

/** What no tracker answers for. */
function unlink(resources: readonly Resource[]): void {
  const leaked: string[] = [];
  const problems: string[] = [];
  for (const { name, type, identity } of resources) {
    if (type !== 'shared_memory') continue;
    try {
      if (native.sharedUnlink(name, identity)) leaked.push(name);
    } catch (error) {
      problems.push(`'${name}': ${(error as Error).message}`);
    }
  }
  if (leaked.length > 0) {
    warn(
      `There appear to be ${leaked.length} leaked shared_memory objects to clean up at shutdown: ` +
        `{${leaked.map((name) => `'${name}'`).join(', ')}}`,
    );
  }
  for (const problem of problems) warn(problem);
}

/** As node prints a warning; by itself it would do so in a turn that does not come any more. */
function warn(message: string): void {
  const text = `(node:${native.getpid()}) UserWarning: resource_tracker: ${message}\n`;
  try {
    native.writeAllSync(2, Buffer.from(text));
  } catch {
    // Nobody reads stderr.
  }
}
