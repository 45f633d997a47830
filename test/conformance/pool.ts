/**
 * What `Pool` promises: CPython's `_TestPool`, `_TestPoolWorkerErrors` and `_TestPoolWorkerLifetime`, and what is beyond
 * Python.
 */

import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { runOk } from '../support/fixture.js';
import { fixtures } from '../support/paths.js';
import { testCases, testCtrlC } from './cases.js';

const python = spawnSync('python3', ['--version']).status === 0;

export function poolConformance(method: string): void {
  describe(`Pool (${method})`, () => {
    testCases('pool/pool.mjs', { method, timeoutMs: 120_000 });
  });

  describe(`Pool (${method}): functions`, () => {
    testCases('pool/functions.mjs', { method, timeoutMs: 120_000 });
  });

  describe(`Pool (${method}): failures, limits, aborts`, () => {
    testCases('pool/failures.mjs', { method, timeoutMs: 120_000 });
  });

  describe(`Pool (${method}): ends, callbacks, blocking calls`, () => {
    testCases('pool/ends.mjs', { method, timeoutMs: 120_000 });
  });

  describe(`Pool (${method}): memory, descriptors, processes`, () => {
    const execArgv = ['--expose-gc', '--max-old-space-size=300'];
    testCases('pool/resources.mjs', { method, execArgv, timeoutMs: 120_000 });
  });

  describe.runIf(python)(`Pool (${method}): beside CPython`, () => {
    test('calls answer and throw the same', async () => {
      const ours = await runOk('pool/outcomes.mjs', { args: [method] });
      const original = path.join(fixtures, 'pool/outcomes.py');
      const theirs = await runOk(original, {
        node: 'python3',
        args: [method],
        env: { PYTHONUTF8: '1' },
      });
      expect(ours.stdout).toBe(theirs.stdout);
    });
  });

  describe(`Pool (${method}): Ctrl-C`, () => {
    const CALLS = ['apply', 'map', 'get with a timeout', 'imap', 'join'];
    testCtrlC('pool/interrupted.mjs', method, CALLS);
  });
}
