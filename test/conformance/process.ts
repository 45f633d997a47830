/**
 * What `Process` promises, whatever the start method: CPython's `_TestProcess` and its neighbours.
 */

import { describe, expect, test } from 'vitest';
import { report, runFixture } from '../support/fixture.js';
import { testCases } from './cases.js';

/** How a parent may end, and with what it must: an exit code or a signal. */
const ENDS: Record<string, number | NodeJS.Signals> = {
  natural: 0,
  'natural-async': 0,
  exit: 3,
  'exit-in-timer': 3,
  exitCode: 3,
  throw: 1,
  'throw-in-timer': 1,
  rejection: 1,
  'exit-listener-first': 0,
  SIGINT: 'SIGINT',
  SIGTERM: 'SIGTERM',
  'SIGINT-in-join': 'SIGINT',
  'SIGTERM-in-join': 'SIGTERM',
  'SIGTERM-on-loop': 'SIGTERM',
  'SIGTERM-with-listener': 4,
  'SIGTERM-with-listener-before': 4,
};

export function processConformance(method: string): void {
  describe(`Process (${method}): the object`, () => {
    // Processes are counted: each case is the first.
    testCases('process/attributes.mjs', { method, apart: true });
  });

  describe(`Process (${method}): its life`, () => {
    testCases('process/lifecycle.mjs', { method, apart: true });
  });

  describe(`Process (${method}): start methods`, () => {
    testCases('process/methods.mjs', { method });
  });

  parentEndsConformance(method);
}

export function parentEndsConformance(method: string): void {
  describe(`Process (${method}): the parent ends`, () => {
    // A fork server leaves when it sees that nobody is left.
    const grace = method === 'forkserver' ? 500 : 0;
    const run = (way: string, kind = 'blocked', graceMs = grace) =>
      runFixture('process/at_end.mjs', { args: [way, method, kind], graceMs });

    describe.each(Object.entries(ENDS))('by %s', (way, expected) => {
      test.each(['blocked', 'turning'])('with a daemon that is %s', async (kind) => {
        // Every child ends before the parent: no grace.
        const result = await run(way, kind);
        const { code, signal, stdout } = result;
        expect(signal ?? code, report(result)).toBe(expected);
        expect(stdout, report(result)).toContain('the child finished\n');
        expect(stdout, report(result)).not.toContain('the daemon left by itself');
        expect(stdout.match(/^daemon \d+$/gm)?.length, report(result)).toBe(1);
      });
    });

    test('by Ctrl-C: SIGINT to the whole group', async () => {
      const result = await run('SIGINT-to-group', 'turning');
      expect(result.signal, report(result)).toBe('SIGINT');
      expect(result.stdout).not.toContain('finished');
    });

    test.each(['SIGKILL', 'abort'])('by %s: the daemon is gone within a second', async (way) => {
      for (const kind of ['blocked', 'turning']) {
        const result = await run(way, kind, 1000);
        expect(result.signal, report(result)).toBe(way === 'abort' ? 'SIGABRT' : 'SIGKILL');
        expect(result.stdout).toMatch(/^daemon \d+$/m);
      }
    });
  });
}
