import { describe, expect, test } from 'vitest';
import { testCases } from '../conformance/cases.js';
import { report, runOk } from '../support/fixture.js';

describe('the heap of a forked child', () => {
  testCases('fork/heap.mjs');
});

test('a compiler in the background that waits for a garbage collection gets it', async () => {
  const program = {
    mjs: `
      import { Process } from 'node-multiprocessing';
      const kept = [];
      const codes = new Set();
      for (let i = 0; i < 40; i++) {
        for (let k = 0; k < 20; k++) kept[k] = Array.from({ length: 5000 }, (_, j) => ({ j }));
        const child = new Process({ target() {} });
        child.start();
        child.join();
        codes.add(child.exitcode);
      }
      console.log([...codes].join());`,
  };
  // Allocations of V8's background threads fail at random.
  const result = await runOk(program, { execArgv: ['--stress-concurrent-allocation'] });
  expect(result.stdout, report(result)).toBe('0\n');
});
