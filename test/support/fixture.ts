/**
 * Runs a fixture: a program in a fresh Node process, in a process group of its own, with a hard time limit.
 *
 * Guarantees: when `runFixture` returns or throws, no process of that run is alive. Those still running after
 * the fixture ended (and a grace, for children on their way out) are `strays`: they are killed by pid, and
 * unless the caller expects them the run fails. The limit kills the fixture's group and its strays, after
 * noting in `hung` what each process was waiting for.
 *
 * Fixtures import 'node-multiprocessing' by self-reference, so what they test is the built lib/.
 */

import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fixtures, root, temporary } from './paths.js';
import { describeProcess, killStrays, MARKER, strayProcesses, type Stray } from './processes.js';

/** A file below test/fixtures (or an absolute path), or a program's text as an ES or a CommonJS module. */
export type Program = string | { mjs: string } | { cjs: string };

export interface RunOptions {
  args?: string[];
  /** Added to the environment; undefined removes a variable. */
  env?: Record<string, string | undefined>;
  /** The Node to run; MP_TEST_NODE, or else the one that runs the tests. */
  node?: string;
  execArgv?: string[];
  /** What the program reads on stdin; nothing by default. */
  stdin?: string | Uint8Array;
  /** The hard limit, 30 s by default. */
  timeoutMs?: number;
  /** Told what is on stdout so far, whenever there is more; when it answers true, the limit begins anew. */
  onOutput?: (stdout: string) => boolean;
  /** How long processes of the run may live on after the fixture has ended, 2 s by default. */
  graceMs?: number;
  /** True: processes left over do not fail the run, the caller looks at `strays`. They are killed all the same. */
  allowStrays?: boolean;
  cwd?: string;
}

export interface RunResult {
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
  timedOut: boolean;
  durationMs: number;
  /** Processes of the run that were alive `graceMs` after its end. */
  strays: Stray[];
  /** After a timeout: what each process of the run was doing. */
  hung: string[];
}

/** How many times longer everything may take: under an emulator. */
const SLOWNESS = Number(process.env['MP_TEST_SLOWNESS'] ?? 1);

/** Variables of the test runner that would change what a fixture does. */
const RUNNER_VARIABLES =
  /^(VITEST|VITE_|NODE_ENV$|TEST$|DEV$|PROD$|SSR$|MODE$|BASE_URL$|NODE_CHANNEL)/;

function environment(marker: string, extra: RunOptions['env'] = {}): NodeJS.ProcessEnv {
  const env: NodeJS.ProcessEnv = {};
  for (const [name, value] of Object.entries(process.env)) {
    if (!RUNNER_VARIABLES.test(name)) env[name] = value;
  }
  for (const [name, value] of Object.entries(extra)) {
    if (value === undefined) delete env[name];
    else env[name] = value;
  }
  env[MARKER] = marker;
  return env;
}

/** The program's file, and how to remove it when it was made for this run. */
function materialise(program: Program, marker: string): { file: string; remove: () => void } {
  if (typeof program === 'string') return { file: path.resolve(fixtures, program), remove() {} };
  const [extension, text] =
    'mjs' in program ? (['mjs', program.mjs] as const) : (['cjs', program.cjs] as const);
  mkdirSync(temporary, { recursive: true });
  const file = path.join(temporary, `${marker}.${extension}`);
  writeFileSync(file, text);
  return { file, remove: () => rmSync(file, { force: true }) };
}

function killGroup(pid: number): void {
  try {
    process.kill(process.platform === 'win32' ? pid : -pid, 'SIGKILL');
  } catch {
    // Every process of the group has ended.
  }
}

async function straysAfter(marker: string, graceMs: number): Promise<Stray[]> {
  const deadline = performance.now() + graceMs;
  for (;;) {
    const strays = strayProcesses(marker);
    if (strays.length === 0 || performance.now() >= deadline) return strays;
    await delay(20);
  }
}

/** Runs `program` to its end and tells how it ended. Throws when it left processes behind. */
export async function runFixture(program: Program, options: RunOptions = {}): Promise<RunResult> {
  const marker = randomUUID();
  const { file, remove } = materialise(program, marker);
  try {
    const result = await execute(file, marker, options);
    if (result.strays.length > 0 && !options.allowStrays && !result.timedOut) {
      throw new Error(`processes left behind by ${path.basename(file)}:\n${report(result)}`);
    }
    return result;
  } finally {
    remove();
  }
}

async function execute(file: string, marker: string, options: RunOptions): Promise<RunResult> {
  const started = performance.now();
  const child = spawn(
    options.node ?? process.env['MP_TEST_NODE'] ?? process.execPath,
    [...(options.execArgv ?? []), file, ...(options.args ?? [])],
    {
      cwd: options.cwd ?? root,
      env: environment(marker, options.env),
      stdio: ['pipe', 'pipe', 'pipe'],
      detached: process.platform !== 'win32',
    },
  );
  const stdout: Buffer[] = [];
  const stderr: Buffer[] = [];
  child.stdout.on('data', (chunk: Buffer) => {
    stdout.push(chunk);
    if (options.onOutput?.(Buffer.concat(stdout).toString())) limit.refresh();
  });
  child.stderr.on('data', (chunk: Buffer) => stderr.push(chunk));
  child.stdin.on('error', () => {}); // A program need not read what it is given.
  child.stdin.end(options.stdin ?? '');

  // 'exit' and 'close' are apart: a process left behind keeps the pipes open after the fixture has ended.
  const closed = new Promise<void>((resolve) => child.once('close', () => resolve()));
  const exited = new Promise<{ code: number | null; signal: NodeJS.Signals | null }>(
    (resolve, reject) => {
      child.once('error', reject);
      child.once('exit', (code, signal) => resolve({ code, signal }));
    },
  );

  const hung: string[] = [];
  let timedOut = false;
  const limit = setTimeout(
    () => {
      timedOut = true;
      const known = strayProcesses(marker).map(({ pid }) => pid);
      hung.push(...(known.length > 0 ? known : [child.pid ?? 0]).map(describeProcess));
      if (child.pid !== undefined) killGroup(child.pid);
      void killStrays(marker);
    },
    (options.timeoutMs ?? 30_000) * SLOWNESS,
  );

  try {
    const { code, signal } = await exited;
    clearTimeout(limit);
    const durationMs = performance.now() - started;
    const strays = timedOut ? [] : await straysAfter(marker, (options.graceMs ?? 2000) * SLOWNESS);
    await killStrays(marker);
    await closed;
    return {
      code,
      signal,
      stdout: Buffer.concat(stdout).toString(),
      stderr: Buffer.concat(stderr).toString(),
      timedOut,
      durationMs,
      strays,
      hung,
    };
  } finally {
    clearTimeout(limit);
  }
}

/** Everything about a run, for a failing test's message. */
export function report(result: RunResult): string {
  return [
    `code ${result.code}, signal ${result.signal}, ${Math.round(result.durationMs)} ms` +
      (result.timedOut ? ', TIMED OUT' : ''),
    ...result.hung.map((line) => `hung: ${line}`),
    ...result.strays.map(
      ({ pid, ppid, state, command }) => `stray: ${pid} (parent ${ppid}, ${state}) ${command}`,
    ),
    `--- stdout\n${result.stdout}`,
    `--- stderr\n${result.stderr}`,
  ].join('\n');
}

/** Runs a program that must succeed: exit code 0, in time, nothing left behind. Answers the run. */
export async function runOk(program: Program, options: RunOptions = {}): Promise<RunResult> {
  const result = await runFixture(program, options);
  if (result.code !== 0 || result.timedOut)
    throw new Error(`the fixture failed: ${report(result)}`);
  return result;
}

/** As runOk, for a program that prints one JSON value on stdout. */
export async function runJson<T = unknown>(program: Program, options: RunOptions = {}): Promise<T> {
  const result = await runOk(program, options);
  try {
    return JSON.parse(result.stdout) as T;
  } catch {
    throw new Error(`the fixture did not print JSON: ${report(result)}`);
  }
}
