/** `cpuCount()`: the control group quota from made-up files, and the whole of it in a real process. */

import { describe, expect, it } from 'vitest';
import { cgroupQuota, usableCpus } from '../src/cpu.js';
import { runOk } from './support/fixture.js';

const onLinux = it.skipIf(process.platform !== 'linux');

const V2_MOUNT = '31 23 0:28 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n';
const V1_MOUNT =
  '32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n' +
  '35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n';

function quotaOf(files: Record<string, string>): number {
  return cgroupQuota((file) => files[file] ?? null);
}

describe('the quota of control groups, version 2', () => {
  const own = { '/proc/self/cgroup': '0::/a/b\n', '/proc/self/mountinfo': V2_MOUNT };

  it('is the quota divided by the period', () => {
    expect(quotaOf({ ...own, '/sys/fs/cgroup/a/b/cpu.max': '150000 100000\n' })).toBe(1.5);
    expect(quotaOf({ ...own, '/sys/fs/cgroup/a/b/cpu.max': '20000 10000\n' })).toBe(2);
  });

  it('is infinite without a limit', () => {
    expect(quotaOf({ ...own, '/sys/fs/cgroup/a/b/cpu.max': 'max 100000\n' })).toBe(Infinity);
    expect(quotaOf(own)).toBe(Infinity);
  });

  it('is the tightest of all levels', () => {
    expect(
      quotaOf({
        ...own,
        '/sys/fs/cgroup/cpu.max': '300000 100000\n',
        '/sys/fs/cgroup/a/cpu.max': '50000 100000\n',
        '/sys/fs/cgroup/a/b/cpu.max': '400000 100000\n',
      }),
    ).toBe(0.5);
  });

  it('is found in a container that sees only its own part of the tree', () => {
    const mountinfo = V2_MOUNT.replace(' / ', ' /docker/1f ');
    const files = {
      '/proc/self/mountinfo': mountinfo,
      '/sys/fs/cgroup/cpu.max': '250000 100000\n',
    };
    expect(quotaOf({ ...files, '/proc/self/cgroup': '0::/docker/1f\n' })).toBe(2.5);
    expect(quotaOf({ ...files, '/proc/self/cgroup': '0::/\n' })).toBe(2.5);
    expect(quotaOf({ ...files, '/proc/self/cgroup': '0::/../other\n' })).toBe(2.5);
    const inner = { '/sys/fs/cgroup/inner/cpu.max': '100000 100000\n' };
    expect(quotaOf({ ...files, ...inner, '/proc/self/cgroup': '0::/docker/1f/inner\n' })).toBe(1);
    // A neighbour whose name merely begins alike is no child.
    expect(quotaOf({ ...files, ...inner, '/proc/self/cgroup': '0::/docker/1f2/inner\n' })).toBe(
      2.5,
    );
  });

  it('is found under a mount point with blanks', () => {
    const mountinfo = V2_MOUNT.replace('/sys/fs/cgroup', '/mnt/c\\040group');
    const files = { '/mnt/c group/cpu.max': '100000 100000\n' };
    expect(
      quotaOf({ ...files, '/proc/self/mountinfo': mountinfo, '/proc/self/cgroup': '0::/\n' }),
    ).toBe(1);
  });
});

describe('the quota of control groups, version 1', () => {
  const own = {
    '/proc/self/cgroup': '5:memory:/a\n4:cpu,cpuacct:/a\n0::/\n',
    '/proc/self/mountinfo': V1_MOUNT,
  };
  const limit = (directory: string, quota: number, period: number) => ({
    [`${directory}/cpu.cfs_quota_us`]: `${quota}\n`,
    [`${directory}/cpu.cfs_period_us`]: `${period}\n`,
  });

  it('is the quota divided by the period, -1 being none', () => {
    const directory = '/sys/fs/cgroup/cpu,cpuacct/a';
    expect(quotaOf({ ...own, ...limit(directory, 250_000, 100_000) })).toBe(2.5);
    expect(quotaOf({ ...own, ...limit(directory, -1, 100_000) })).toBe(Infinity);
    expect(quotaOf({ ...own, ...limit(directory, 100_000, 0) })).toBe(Infinity);
  });

  it('counts on every level', () => {
    expect(quotaOf({ ...own, ...limit('/sys/fs/cgroup/cpu,cpuacct', 50_000, 100_000) })).toBe(0.5);
  });

  it('is looked for beside version 2 where both are mounted', () => {
    const unified = V2_MOUNT.replace('/sys/fs/cgroup', '/sys/fs/cgroup/unified');
    const files = { ...own, '/proc/self/mountinfo': V1_MOUNT + unified };
    expect(quotaOf({ ...files, ...limit('/sys/fs/cgroup/cpu,cpuacct/a', 150_000, 100_000) })).toBe(
      1.5,
    );
  });
});

describe('the quota', () => {
  it('is infinite where nothing can be read or understood', () => {
    expect(quotaOf({})).toBe(Infinity);
    expect(quotaOf({ '/proc/self/cgroup': 'gibberish', '/proc/self/mountinfo': 'x - y' })).toBe(
      Infinity,
    );
    expect(
      quotaOf({
        '/proc/self/cgroup': '0::/\n',
        '/proc/self/mountinfo': V2_MOUNT,
        '/sys/fs/cgroup/cpu.max': 'many of-them\n',
      }),
    ).toBe(Infinity);
  });

  it('is rounded up, and at least one CPU is usable', () => {
    expect(usableCpus(8, 1.5)).toBe(2);
    expect(usableCpus(8, 0.1)).toBe(1);
    expect(usableCpus(8, Infinity)).toBe(8);
    expect(usableCpus(2, 4)).toBe(2);
    expect(usableCpus(0, Infinity)).toBe(1);
  });
});

describe('cpuCount', () => {
  onLinux('follows the affinity of the process', async () => {
    await runOk({
      mjs: `
        import assert from 'node:assert/strict';
        import os from 'node:os';
        import { cpuCount } from 'node-multiprocessing';
        import { schedGetaffinity, schedSetaffinity } from 'node-multiprocessing/posix';
        assert.ok(Number.isInteger(cpuCount()) && cpuCount() >= 1 && cpuCount() <= os.cpus().length);
        schedSetaffinity(0, [...schedGetaffinity(0)].slice(0, 1));
        assert.equal(cpuCount(), 1);
      `,
    });
  });
});
