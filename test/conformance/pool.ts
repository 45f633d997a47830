/**
 * What `Pool` promises: CPython's `_TestPool`, `_TestPoolWorkerErrors` and `_TestPoolWorkerLifetime`, and what is beyond
 * Python.
 */

import { describe } from 'vitest';
import { testCases } from './cases.js';

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
}
