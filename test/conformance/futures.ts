/**
 * What `ProcessPoolExecutor`, `Future`, `wait` and `asCompleted` promise, whatever the start method: CPython's
 * test_concurrent_futures, its process pools' part, and what is beyond Python.
 */

import { describe, expect, test } from 'vitest';
import { report, runFixture, runOk } from '../support/fixture.js';
import { testCases, testCtrlC } from './cases.js';

export function futuresConformance(method: string): void {
  describe(`Futures (${method})`, () => {
    testCases('concurrent/future.mjs', { method });
  });

  describe(`Futures (${method}): wait and asCompleted`, () => {
    testCases('concurrent/waiting.mjs', { method });
  });

  describe(`Futures (${method}): executors`, () => {
    testCases('concurrent/executor.mjs', { method });
  });

  describe(`Futures (${method}): processes`, () => {
    testCases('concurrent/process_pool.mjs', { method });
  });

  describe(`Futures (${method}): shutdown`, () => {
    testCases('concurrent/shutdown.mjs', { method });
  });

  describe(`Futures (${method}): the end of the program`, () => {
    const program = (end: string): string[] => [end, method];

    test.each([
      'by itself',
      'by exit',
      'by exit in a callback',
      'in a blocked callback',
      'without waiting',
      'in the event loop',
      'twice',
    ])('what is pending is done, and the workers end: %s', async (end) => {
      const { stdout } = await runOk('concurrent/ends.mjs', { args: program(end) });
      expect(stdout).toBe('apple\npear\n');
    });

    test('by an uncaught error', async () => {
      const result = await runFixture('concurrent/ends.mjs', { args: program('by an error') });
      expect(result.code, report(result)).toBe(1);
      expect(result.stderr).toContain('Error: uncaught');
      expect(result.stdout).toBe('apple\npear\n');
    });

    test('a submission at the end', async () => {
      const { stdout } = await runOk('concurrent/ends.mjs', { args: program('submission') });
      expect(stdout).toBe('RuntimeError: cannot schedule new futures after interpreter shutdown\n');
    });

    test.each(['SIGKILL', 'SIGTERM', 'SIGINT'] as const)(
      'workers do not outlive a parent that dies of %s',
      async (signal) => {
        const result = await runFixture('concurrent/ends.mjs', {
          args: program(signal),
          graceMs: 1000,
        });
        expect(result.signal, report(result)).toBe(signal);
      },
    );
  });

  describe(`Futures (${method}): Ctrl-C`, () => {
    const CALLS = ['result', 'wait', 'asCompleted', 'map', 'shutdown'];
    testCtrlC('concurrent/interrupted.mjs', method, CALLS);
  });
}
