/**
 * What the modules of this package have to say about forks, from when they are loaded on: what a child must forget of
 * its parent, what is compiled before, what happens last, and how an error ends a child.
 *
 * fork_child.ts, which the first fork loads, does it. Apart from these two, fork.ts, process.ts and util.ts, only those
 * that keep something which a child must forget may import this file.
 */

import type { Worker } from 'node:worker_threads';
import { native } from './native.js';

let rehearsing = false;
const parts: (() => void)[] = [];

/**
 * Has a function of the child's life compiled before the first fork: it is called in the parent while
 * `isRehearsal()` holds, and must do nothing then. What is compiled in a child is compiled in every child.
 */
export function compiledBeforeFork(part: () => void): void {
  parts.push(part);
}

export function isRehearsal(): boolean {
  return rehearsing;
}

/** In the parent, before its first fork. */
export function rehearse(): void {
  rehearsing = true;
  try {
    for (const part of parts) part();
  } finally {
    rehearsing = false;
  }
}

const forgetters: (() => void)[] = [];

/** Registers what a child of `fork()` must know that its parent knew otherwise. */
export function onContinue(forget: () => void): void {
  forgetters.push(forget);
}

/** In the child of `fork()`. */
export function forgetParent(): void {
  for (const forget of forgetters) forget();
}

/** Counts the processes that this one descends from by forks. */
let generation = 0;

/** Changes with every fork, in the child: what waited before waits in the parent. */
export function currentGeneration(): number {
  return generation;
}

const identities: (() => void)[] = [];

/** Registers what any child must forget at once of who its parent was. */
export function onNewIdentity(forget: () => void): void {
  identities.push(forget);
}

/** In any child. */
export function forgetIdentity(): void {
  generation++;
  for (const forget of identities) forget();
}

const workers = new Set<WeakRef<Worker>>();

// The only place where node tells of them; before the package was loaded nobody listened.
process.on('worker', (worker: Worker) => {
  const held = new WeakRef(worker);
  workers.add(held);
  worker.once('exit', () => workers.delete(held));
});

export function livingWorkers(): Worker[] {
  return [...workers].flatMap((held) => held.deref() ?? []);
}

// -------------------------------------------------------------------------------------------------
// The end of a child

/** The exit code so far, and whether the event loop ran empty, to the code to end with. */
type Finish = (code: number, natural: boolean) => number;
let finish: Finish | undefined;

/** Registers what a child does last. */
export function onChildExit(last: Finish): void {
  finish = last;
}

/** What a child does last, to the exit code so far. */
export function finishChild(code: number, natural: boolean): number {
  return finish?.(code, natural) ?? code;
}

const lastSteps: (() => void)[] = [];

/** Registers what every forked process does after that, as its very last step. */
export function onLeave(step: () => void): void {
  lastSteps.push(step);
}

/** Answers the exit code. */
export function takeLastSteps(code: number, natural: boolean): number {
  const last = finishChild(code, natural);
  for (const step of lastSteps) step();
  return last;
}

export function writeStderr(text: string): void {
  try {
    native.writeAllSync(2, Buffer.from(text));
  } catch {
    // Nobody reads stderr; the exit code tells.
  }
}

export function describe(error: unknown): string {
  return error instanceof Error ? (error.stack ?? String(error)) : String(error);
}

/** Node's handler of uncaught errors, where another one is in its place: its module shows what a fork needs. */
let nodesHandler: unknown;

export function replacedHandler(own?: unknown): unknown {
  nodesHandler ??= own;
  return nodesHandler;
}

/** How an uncaught error is shown; the Process layer adds the process's name. */
let show = (error: unknown): void => writeStderr(`${describe(error)}\n`);

export function onUncaught(shown: (error: unknown) => void): void {
  show = shown;
}

export function showUncaught(error: unknown): void {
  show(error);
}

/** Ends the process after an uncaught error: shown, exit listeners run, code 1. */
export function dieOf(error: unknown, code = 1): never {
  showUncaught(error);
  process.exitCode = code;
  return process.exit(code);
}
