/**
 * The resource tracker: CPython's test_resource_tracker.py, what of _test_multiprocessing.py is about it, and who is
 * killed when. Its tests of a Manager's server wait for Managers.
 */

import { existsSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect } from 'vitest';
import { testCases } from './conformance/cases.js';
import { shmLeftovers, shmSnapshot } from './support/shm.js';

let before: Set<string>;
beforeEach(() => {
  before = shmSnapshot();
});
afterEach(async () => {
  expect(await shmLeftovers(before)).toEqual([]);
});

// What is left behind can be seen on Linux alone.
describe.skipIf(!existsSync('/dev/shm'))('the resource tracker', () => {
  describe('cleans up', () => testCases('resource_tracker/kills.mjs', { method: 'fork' }));
  describe('is', () => testCases('resource_tracker/tracker.mjs', { method: 'fork' }));
});
