/**
 * What is promised of processes that are not forked from their parent's memory: their targets are found by name, and
 * what they share travels by reference.
 */

import { describe, test } from 'vitest';
import { runCase, titlesOf } from './cases.js';

export function freshConformance(method: string): void {
  // Every child is a node that starts.
  const options = { method, timeoutMs: 55_000 };
  const testFresh = (fixture: string): void =>
    test.each(titlesOf(fixture))('%s', (title) => runCase(fixture, title, options));

  describe(`Process (${method}): targets by name`, () => testFresh('fresh/process.mjs'));
  describe(`Process (${method}): shared objects`, () => testFresh('fresh/objects.mjs'));
  describe(`Pool and executor (${method}): by name`, () => testFresh('fresh/pool.mjs'));
}
