/**
 * What locks and their like promise, whatever the start method: CPython's `_TestLock` to `_TestBarrier`, and
 * what is beyond Python.
 */

import { describe, expect, test } from 'vitest';
import { report, runFixture } from '../support/fixture.js';
import { testCases, type Variant } from './cases.js';

const OBJECTS = ['lock', 'semaphore', 'condition', 'event', 'barrier'];

export function synchronizeConformance(method: string, { env, how = method }: Variant = {}): void {
  describe.each(OBJECTS)(`Synchronisation (${how}): %s`, (object) => {
    testCases(`synchronize/${object}.mjs`, { method, env });
  });

  describe(`Synchronisation (${how}): tasks`, () => {
    testCases('synchronize/tasks.mjs', { method, env });
  });

  describe(`Synchronisation (${how}): memory, threads, descriptors`, () => {
    testCases('synchronize/resources.mjs', { method, env, execArgv: ['--expose-gc'] });
  });

  describe(`Synchronisation (${how}): Ctrl-C`, () => {
    const WAITS = ['lock', 'rlock', 'semaphore', 'condition', 'event', 'barrier'];
    test.each(WAITS)('a blocked wait dies of it: %s', async (wait) => {
      const result = await runFixture('synchronize/interrupted.mjs', { args: [wait, method], env });
      expect(result.signal, report(result)).toBe('SIGINT');
      expect(result.stdout, report(result)).toBe('waiting\n');
    });

    test.each(WAITS)(
      'with a listener it goes on, and the listener runs after it: %s',
      async (wait) => {
        const result = await runFixture('synchronize/interrupted.mjs', {
          args: [wait, method, 'listener'],
          env,
        });
        expect(result.code, report(result)).toBe(0);
        expect(result.stdout, report(result)).toBe('waiting\nwaited\nheard\n');
      },
    );
  });
}
