import { execFileSync, spawnSync } from 'node:child_process';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { runJson, runOk } from '../support/fixture.js';
import { fixtures } from '../support/paths.js';
import { testCases } from './cases.js';

const hasPython = spawnSync('python3', ['--version']).status === 0;

/** What travels by reference, whatever the start method. */
export function reductionConformance(method: string): void {
  describe(`reduction (${method})`, () => {
    // What one of them loads or names the next would have.
    testCases('reduction/references.mjs', { method, apart: true });

    test('a block arrives in a program that never named the sub-path', async () => {
      await runOk({
        mjs: `
          import { strictEqual } from 'node:assert';
          import { execFileSync } from 'node:child_process';
          import { reduction } from 'node-multiprocessing';
          const script = \`
            const { SharedMemory } = require('node-multiprocessing/sharedMemory');
            const { reduction } = require('node-multiprocessing');
            const shm = new SharedMemory({ create: true, size: 10, track: false });
            shm.buf[3] = 7;
            console.log(reduction.dumps(shm).toString('hex'));
          \`;
          const hex = execFileSync(process.execPath, ['-e', script], { encoding: 'utf8' }).trim();
          const shm = reduction.loads(Buffer.from(hex, 'hex'));
          strictEqual(shm.buf[3], 7);
          shm.close();
          shm.unlink();
        `,
      });
    });

    test.runIf(hasPython)('does with classes and functions what pickle does', async () => {
      const script = path.join(fixtures, 'reduction/reference.py');
      const reference = JSON.parse(execFileSync('python3', [script], { encoding: 'utf8' }));
      expect(await runJson('reduction/reference.mjs')).toEqual(reference);
    });
  });
}
