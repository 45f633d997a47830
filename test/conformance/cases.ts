/**
 * Turns a fixture made of cases (test/fixtures/process/cases.mjs) into tests: one test, one process per
 * case. The names are read from the fixture's text, so that nothing of the library runs in the test runner.
 */

import { readFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { report, runFixture, runOk, type RunOptions } from '../support/fixture.js';
import { fixtures } from '../support/paths.js';

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
  const said = result.stdout.split('\n').filter((line) => line === 'done').length;
  expect(said, report(result)).toBe(1);
}

/** A test for each case of the fixture. */
export function testCases(fixture: string, options: CaseOptions = {}): void {
  test.each(titlesOf(fixture))('%s', (title) => runCase(fixture, title, options));
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
