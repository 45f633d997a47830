/**
 * Turns a fixture made of cases (test/fixtures/process/cases.mjs) into tests: one test, one process per
 * case. The names are read from the fixture's text, so that nothing of the library runs in the test runner.
 */

import { readFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { report, runFixture, runOk, type RunOptions } from '../support/fixture.js';
import { fixtures } from '../support/paths.js';
import { differencesOf } from './differences.js';

/** The titles of the cases in a fixture. */
export function titlesOf(fixture: string): string[] {
  const text = readFileSync(path.join(fixtures, fixture), 'utf8');
  return [...text.matchAll(/^(?:check(?:With)?|site)\(\s*(['"])(.*?)\1,/gm)].map(
    ([, , title]) => title!,
  );
}

export interface CaseOptions extends RunOptions {
  /** The start method; by default the program does not choose one. */
  method?: string;
  /** A process for each case also where children take long to start. */
  apart?: boolean;
}

/** The same promises under other circumstances: their name in titles, and the environment that brings them about. */
export interface Variant {
  how?: string;
  env?: RunOptions['env'];
}

/** As in a runtime whose V8 has a sandbox. */
export const withoutExternalBuffers = (method: string): Variant => ({
  how: `${method}, no external ArrayBuffers`,
  env: { NODE_MULTIPROCESSING_EXTERNAL_BUFFERS: 'forbidden' },
});

/** How many cases the program has ended. */
const doneIn = (stdout: string): number => stdout.match(/^done$/gm)?.length ?? 0;

/** As on a system where processes do not open each other's descriptors. */
export const withoutProc = (method: string): Variant => ({
  how: `${method}, descriptors fetched`,
  env: { NODE_MULTIPROCESSING_PROC: 'hidden' },
});

/** Runs one case. */
export async function runCase(
  fixture: string,
  title: string,
  { method, ...options }: CaseOptions = {},
): Promise<void> {
  const args = [title, ...(method === undefined ? [] : [method])];
  const result = await runOk(fixture, { ...options, args });
  expect(doneIn(result.stdout), report(result)).toBe(1);
}

/**
 * Runs cases in turn, in one process for as long as they pass: where children are not forked, what a process and its
 * first child cost is most of the time.
 *
 * @param ended told of each case, with the error of one that has failed.
 */
async function runInTurn(
  fixture: string,
  titles: readonly string[],
  { method, ...options }: CaseOptions,
  ended: (title: string, error?: Error) => void,
): Promise<void> {
  for (let next = 0; next < titles.length;) {
    const rest = titles.slice(next);
    let done = 0;
    const onOutput = (stdout: string): boolean => {
      const before = done;
      for (; done < doneIn(stdout); done++) if (done < rest.length - 1) ended(rest[done]!);
      return done > before;
    };
    const args = [rest.join('\n'), ...(method === undefined ? [] : [method])];
    const result = await runFixture(fixture, { ...options, args, onOutput });
    // The last one to run has to leave nothing behind.
    const passed = result.code === 0 && done === rest.length;
    const last = Math.min(done, rest.length - 1);
    ended(rest[last]!, passed ? undefined : new Error(report(result)));
    next += last + 1;
  }
}

/** A test for each case, and one process for those that are to run. */
function testInTurn(fixture: string, titles: readonly string[], options: CaseOptions): void {
  const outcomes = new Map<string, Error | undefined>();
  const waiting = new Map<string, () => void>();
  const ended = (title: string, error?: Error): void => {
    if (!outcomes.has(title)) outcomes.set(title, error);
    waiting.get(title)?.();
  };
  let begun = false;
  const begin = (suite: { tasks: { name: string; mode: string }[] } | undefined): void => {
    begun = true;
    const left = new Set(
      suite?.tasks.filter(({ mode }) => mode === 'skip').map(({ name }) => name),
    );
    const chosen = titles.filter((title) => !left.has(title));
    runInTurn(fixture, chosen, options, ended).catch((error: Error) => {
      for (const title of chosen) ended(title, error);
    });
  };
  test.for(titles)('%s', async (title, { task }) => {
    if (!begun) begin(task.suite);
    if (!outcomes.has(title)) await new Promise<void>((go) => waiting.set(title, go));
    const error = outcomes.get(title);
    if (error !== undefined) throw error;
  });
}

/** A test for each case of the fixture that its start method has. @param skipped those that the machine has no room for. */
export function testCases(
  fixture: string,
  given: CaseOptions = {},
  skipped: readonly string[] = [],
): void {
  const { method = 'fork' } = given;
  // Children that are not forked are nodes that start.
  const options = method === 'fork' ? given : { timeoutMs: 55_000, ...given };
  const titles = titlesOf(fixture);
  const reasons = differencesOf(method, fixture, titles);
  for (const title of titles) if (skipped.includes(title)) test.skip(title);
  for (const [title, reason] of reasons) test.skip(`${title} (not with ${method}: ${reason})`);
  const chosen = titles.filter((title) => !skipped.includes(title) && !reasons.has(title));
  if (method !== 'fork' && options.apart !== true) testInTurn(fixture, chosen, options);
  else test.each(chosen)('%s', (title) => runCase(fixture, title, options));
}

/**
 * Ctrl-C in calls that wait: tests of a fixture that says `waiting`, gets a SIGINT, and with the argument `listener`
 * says `waited` when the call returns and `heard` when its listener runs.
 */
export function testCtrlC(
  fixture: string,
  method: string,
  calls: readonly string[],
  env?: RunOptions['env'],
): void {
  test.each(calls)('a blocked call dies of it: %s', async (call) => {
    const result = await runFixture(fixture, { args: [call, method], env });
    expect(result.signal, report(result)).toBe('SIGINT');
    expect(result.stdout, report(result)).toBe('waiting\n');
  });

  test.each(calls)(
    'with a listener it goes on, and the listener runs after it: %s',
    async (call) => {
      const result = await runFixture(fixture, { args: [call, method, 'listener'], env });
      expect(result.code, report(result)).toBe(0);
      expect(result.stdout, report(result)).toBe('waiting\nwaited\nheard\n');
    },
  );
}
