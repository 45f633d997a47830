/**
 * What `Queue`, `JoinableQueue` and `SimpleQueue` promise, whatever the start method: CPython's `_TestQueue` and
 * `_TestSimpleQueue`, and what is beyond Python.
 */

import { spawnSync } from 'node:child_process';
import os from 'node:os';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { runOk } from '../support/fixture.js';
import { fixtures } from '../support/paths.js';
import { testCases, testCtrlC } from './cases.js';

const python = spawnSync('python3', ['--version']).status === 0;

/** The queue and both processes hold such a message. */
const LARGE = 'one GiB';
const roomForLarge = os.freemem() > 8 * 2 ** 30 && process.env['MP_TEST_LARGE'] === '1';

export function queuesConformance(method: string): void {
  describe(`Queues (${method})`, () => {
    testCases('queues/queue.mjs', { method });
  });

  describe(`Queues (${method}): tasks`, () => {
    testCases('queues/tasks.mjs', { method });
  });

  describe(`Queues (${method}): wait`, () => {
    testCases('queues/wait.mjs', { method });
  });

  describe(`Queues (${method}): messages`, () => {
    testCases('queues/messages.mjs', { method }, roomForLarge ? [] : [LARGE]);
  });

  describe(`Queues (${method}): memory, descriptors, limits, Workers`, () => {
    testCases('queues/resources.mjs', { method, execArgv: ['--expose-gc'] });
  });

  describe.runIf(python)(`Queues (${method}): beside CPython`, () => {
    test('calls answer and throw the same', async () => {
      const ours = await runOk('queues/outcomes.mjs', { args: ['', method] });
      const original = path.join(fixtures, 'queues/outcomes.py');
      const theirs = await runOk(original, { node: 'python3', env: { PYTHONUTF8: '1' } });
      expect(ours.stdout).toBe(theirs.stdout);
    });
  });

  describe(`Queues (${method}): Ctrl-C`, () => {
    const CALLS = [
      'get',
      'get with a timeout',
      'SimpleQueue.get',
      'put',
      'put of a large item',
      'join',
    ];
    testCtrlC('queues/interrupted.mjs', method, CALLS);
  });
}
