/**
 * What is promised of processes that are not forked from their parent's memory: their targets are found by name, and
 * what they share travels by reference.
 */

import { describe } from 'vitest';
import { testCases } from './cases.js';

export function freshConformance(method: string): void {
  // Processes are counted: each case is the first.
  const options = { method, apart: true };
  describe(`Process (${method}): targets by name`, () => testCases('fresh/process.mjs', options));
  describe(`Process (${method}): shared objects`, () => testCases('fresh/objects.mjs', { method }));
  describe(`Pool and executor (${method}): by name`, () =>
    testCases('fresh/pool.mjs', { ...options, timeoutMs: 55_000 }));
}
