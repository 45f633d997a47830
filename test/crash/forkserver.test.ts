/** Whoever is killed among a parent, its fork server and a child of it: what the others do, and that nothing is left. */

import { mkdtempSync, readdirSync, rmdirSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { report, runFixture, runOk } from '../support/fixture.js';
import { shmLeftovers, shmSnapshot } from '../support/shm.js';

const WHO = ['parent', 'server', 'child'];
const ORDERS = WHO.flatMap((first) => {
  const others = WHO.filter((who) => who !== first);
  return [
    [first],
    ...others.map((second) => [first, second, ...others.filter((w) => w !== second)]),
  ];
});

interface Seen {
  /** Whether the child lived on where nobody has killed it. */
  lives?: boolean;
  /** Of the child, and of another one that was started afterwards. */
  codes?: number[];
}

describe.each(['daemon', 'child'])('SIGKILL, one after the other, with a %s', (kind) => {
  test.each(ORDERS.map((order) => [order.join(', '), order] as const))('%s', async (_, order) => {
    const shm = shmSnapshot();
    const folder = mkdtempSync(path.join(os.tmpdir(), 'kills-'));
    // Nothing of it may be alive two seconds later.
    const result = await runFixture('process/forkserver_kills.mjs', {
      args: [kind, ...order],
      env: { TMPDIR: folder },
      graceMs: 2000,
    });
    expect(result.code, report(result)).toBe(0);
    const seen = JSON.parse(result.stdout) as Seen;
    if (!order.includes('parent')) {
      // What the server knew has gone with it, in CPython, too.
      const [code, next] = seen.codes!;
      expect(next, report(result)).toBe(0);
      expect(code).toBe(order[0] === 'server' ? 255 : -9);
    } else if (!order.includes('child')) {
      expect(seen.lives, report(result)).toBe(kind === 'child');
    }
    expect(readdirSync(folder)).toEqual([]);
    rmdirSync(folder);
    expect(await shmLeftovers(shm)).toEqual([]);
  });
});

describe('in the middle of a request', () => {
  const run = async (what: string): Promise<void> => {
    const result = await runOk('process/forkserver_kills.mjs', { args: [what], timeoutMs: 60_000 });
    expect(result.stdout.trim(), report(result)).toBe('done');
  };

  test('a client is killed: the server serves the others', () => run('clients'));
  test('the server is killed: nobody waits for ever', () => run('servers'));
  test('the server is stopped, and killed: whoever waits gets a new one', () => run('stopped'));
  test('a child is killed as it begins', () => run('newborn'));
});

test('the exit of a child that the server did not live to see is seen when it ends, not before', () =>
  runOk('process/forkserver_kills.mjs', { args: ['sentinel'] }));
