/**
 * What shared memory promises, whatever the start method: CPython's `_TestSharedMemory`, Python on the other
 * side, and what becomes of a block that its process forgets.
 */

import { existsSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { report, runFixture } from '../support/fixture.js';
import { removeShm, shmLeftovers, shmSnapshot } from '../support/shm.js';
import { testCases } from './cases.js';

interface End {
  code?: number;
  /** Whether the end of the process warns, and unlinks. By default it does. */
  leaked?: boolean;
  /** Whether the block is there afterwards. */
  stays?: boolean;
  prints?: RegExp;
  stderr?: RegExp;
}

/** The ways of fixtures/shared_memory/ends.mjs, and what comes of them. */
const ENDS: Record<string, End> = {
  natural: {},
  closed: {},
  exit: { code: 3 },
  throw: { code: 1, stderr: /Error: uncaught/ },
  rejection: { code: 1, stderr: /Error: unhandled/ },
  'throw-in-listener': { code: 1, stderr: /Error: in a listener/ },
  'exit-in-listener': { code: 4 },
  'exit-in-listener-of-child': { prints: /exitcode 4/ },
  'first-in-listener': {},
  'first-in-listener-exits': { code: 4 },
  'emitted-by-hand': { prints: /still there: true\nstill there: true/ },
  untracked: { leaked: false, stays: true },
  attached: {},
  'attached-untracked': { leaked: false, stays: true },
  unlinked: { leaked: false },
  'unlinked-in-listener': { leaked: false },
  'unlinked-elsewhere': { leaked: false },
  replaced: { leaked: false, stays: true },
  'unlinked-by-child': { leaked: false },
  'late-child': { prints: /the child finds it: true/ },
  'child-forgets': { prints: /exitcode 0/ },
  'child-exits': { prints: /exitcode 3/ },
  'child-throws': { prints: /exitcode 1/, stderr: /Process-1:\n/ },
  'both-forget': { prints: /exitcode 0; the parent's is there: true/ },
  'grandchild-late': { prints: /the grandchild finds it: true/ },
  'grandchild-late-with-listeners': {
    prints: /its listener finds it: true\nthe grandchild finds it: true/,
  },
  'os-fork': { prints: /the parent's is there: true/ },
  worker: {},
  'worker-first-in-listener': {},
};

/** The names in each of the warnings. */
function leaksIn(stderr: string): Set<string>[] {
  const warning =
    /resource_tracker: There appear to be (\d+) leaked shared_memory objects to clean up at shutdown: \{(.*)\}$/gm;
  return [...stderr.matchAll(warning)].map(([, count, names]) => {
    const leaked = names!.split(', ');
    expect(leaked).toHaveLength(Number(count));
    return new Set(leaked);
  });
}

export function sharedMemoryConformance(method: string): void {
  describe(`shared memory (${method})`, () => {
    let before: Set<string>;
    beforeEach(() => {
      before = shmSnapshot();
    });
    afterEach(async () => {
      expect(await shmLeftovers(before)).toEqual([]);
    });

    describe('SharedMemory', () => {
      testCases('shared_memory/block.mjs', { method });
    });

    describe('SharedMemory, by Node-API', () => {
      testCases('shared_memory/block.mjs', { method, env: { MP_TEST_NODE_API: '1' } });
    });

    describe('ShareableList', () => {
      testCases('shared_memory/list.mjs', { method });
    });

    describe('a process that forgets a block ends:', () => {
      test.each(Object.entries(ENDS))('%s', async (way, end) => {
        const { code = 0, leaked = true, stays = false, prints, stderr } = end;
        const result = await runFixture('shared_memory/ends.mjs', { args: [way] });
        expect({ code: result.code, signal: result.signal }, report(result)).toEqual({
          code,
          signal: null,
        });
        const names = [...result.stdout.matchAll(/^block (psm_\w{8})$/gm)].map(([, name]) => name!);
        expect(names.length, report(result)).toBeGreaterThan(0);
        for (const name of names) {
          expect(existsSync(`/dev/shm/${name}`), name).toBe(stays);
          removeShm(name);
        }
        const all = new Set(names.map((name) => `'/${name}'`));
        expect(leaksIn(result.stderr), report(result)).toEqual(leaked ? [all] : []);
        if (prints !== undefined) expect(result.stdout).toMatch(prints);
        if (stderr !== undefined) expect(result.stderr).toMatch(stderr);
        else if (!leaked) expect(result.stderr).toBe('');
      });
    });
  });
}
