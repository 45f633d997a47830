import { execFileSync, spawnSync } from 'node:child_process';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { runJson } from '../support/fixture.js';
import { fixtures } from '../support/paths.js';
import { testCases } from './cases.js';

const hasPython = spawnSync('python3', ['--version']).status === 0;

/** What travels by reference, whatever the start method. */
export function reductionConformance(method: string): void {
  describe(`reduction (${method})`, () => {
    testCases('reduction/references.mjs', { method });

    test.runIf(hasPython)('does with classes and functions what pickle does', async () => {
      const script = path.join(fixtures, 'reduction/reference.py');
      const reference = JSON.parse(execFileSync('python3', [script], { encoding: 'utf8' }));
      expect(await runJson('reduction/reference.mjs')).toEqual(reference);
    });
  });
}
