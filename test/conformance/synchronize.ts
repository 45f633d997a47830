/**
 * What locks and their like promise, whatever the start method: CPython's `_TestLock` to `_TestBarrier`, and
 * what is beyond Python.
 */

import { describe } from 'vitest';
import { testCases, testCtrlC, type Variant } from './cases.js';

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
    testCtrlC('synchronize/interrupted.mjs', method, WAITS, env);
  });
}
