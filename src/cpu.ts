/**
 * How many CPUs this process can use at once.
 *
 * Three limits count, and the tightest wins: the CPUs the machine has, those the process may run on
 * (affinity, which includes cpusets), and the share of CPU time its control group is given (a
 * container started with `--cpus=1.5`). Python's `cpu_count()` knows only the first,
 * `process_cpu_count()` of 3.13 the first two.
 *
 * A quota may stand on any level of the control group tree, version 1 or 2, and holds for
 * everything below it: all levels from the process's own group up to the top that is visible here
 * are read.
 */

import { readFileSync } from 'node:fs';
import { posix as posixPath } from 'node:path';
import { lazyBuiltin } from './lazy_builtin.js';
import { native } from './native.js';

/** Reads a text file; null when it is not there or not for us. */
export type ReadText = (file: string) => string | null;

function readText(file: string): string | null {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return null;
  }
}

interface Mount {
  /** The directory of the control group tree that is seen at `point`. */
  root: string;
  point: string;
  type: string;
  /** Of a version 1 tree: its controllers, among other options. */
  options: string[];
}

/** /proc/self/mountinfo writes blanks, tabs, newlines and backslashes in names as \ooo. */
function unescape(field: string): string {
  return field.replace(/\\([0-7]{3})/g, (_, octal: string) =>
    String.fromCharCode(parseInt(octal, 8)),
  );
}

/** `36 35 0:30 / /sys/fs/cgroup/cpu rw,relatime shared:9 - cgroup cgroup rw,cpu` */
function parseMount(line: string): Mount | null {
  const [before, after] = line.split(' - ');
  const [, , , root, point] = before?.split(' ') ?? [];
  const [type, , options] = after?.split(' ') ?? [];
  if (root === undefined || point === undefined || type === undefined) return null;
  return { root: unescape(root), point: unescape(point), type, options: options?.split(',') ?? [] };
}

/**
 * The process's group, from a line `4:cpu,cpuacct:/a/b` of /proc/self/cgroup; version 2 has no
 * controllers.
 */
function parseGroup(line: string): { controllers: string[]; group: string } | null {
  const match = /^\d+:([^:]*):(\/.*)$/.exec(line);
  return match && { controllers: match[1]!.split(','), group: match[2]! };
}

/**
 * The directories of `group` and of all its ancestors that `mount` shows. Inside a container the
 * group may be given from the host's point of view, or lie outside of what is mounted: then only
 * the top is ours to see.
 */
function visibleLevels(mount: Mount, group: string): string[] {
  const relative = posixPath.relative(mount.root, group);
  const outside = relative === '..' || relative.startsWith('../');
  const names = outside ? [] : relative.split('/').filter((name) => name !== '');
  return [
    mount.point,
    ...names.map((_, i) => posixPath.join(mount.point, ...names.slice(0, i + 1))),
  ];
}

function quotient(quota: string | undefined, period: string | undefined): number {
  const cpus = Number(quota) / Number(period);
  // 'max' and an absent file give NaN, version 1 writes -1 for no limit.
  return cpus > 0 ? cpus : Infinity;
}

/** `50000 100000`, or `max 100000` */
function quotaOfV2(directory: string, read: ReadText): number {
  const [quota, period] = read(posixPath.join(directory, 'cpu.max'))?.trim().split(' ') ?? [];
  return quotient(quota, period);
}

function quotaOfV1(directory: string, read: ReadText): number {
  const value = (file: string) => read(posixPath.join(directory, file))?.trim();
  return quotient(value('cpu.cfs_quota_us'), value('cpu.cfs_period_us'));
}

/**
 * The CPU quota of this process's control groups, in CPUs (1.5 is one and a half); Infinity when
 * there is none. Everything it knows comes through `read`.
 */
export function cgroupQuota(read: ReadText): number {
  const lines = (file: string) => (read(file) ?? '').split('\n');
  const groups = lines('/proc/self/cgroup').map(parseGroup);
  const mounts = lines('/proc/self/mountinfo').map(parseMount);

  let least = Infinity;
  for (const mount of mounts) {
    if (mount === null) continue;
    const isV2 = mount.type === 'cgroup2';
    if (!isV2 && !(mount.type === 'cgroup' && mount.options.includes('cpu'))) continue;
    const entry = groups.find((line) => line?.controllers.includes(isV2 ? '' : 'cpu'));
    if (!entry) continue;
    const quotaOf = isV2 ? quotaOfV2 : quotaOfV1;
    for (const directory of visibleLevels(mount, entry.group)) {
      least = Math.min(least, quotaOf(directory, read));
    }
  }
  return least;
}

/**
 * What counts when both are known: the quota rounded up, since half a CPU still runs one process;
 * at least 1.
 */
export function usableCpus(allowed: number, quota: number): number {
  return Math.max(1, Math.min(allowed, Math.ceil(quota)));
}

/** How many CPUs this thread may run on. */
function allowedCpus(): number {
  if (process.platform !== 'linux') return lazyBuiltin('node:os').availableParallelism();
  try {
    return native.schedGetaffinity(0).length;
  } catch {
    return lazyBuiltin('node:os').availableParallelism(); // A sandbox that forbids asking.
  }
}

/**
 * The number of CPUs this process can use: at least 1, honouring CPU affinity and the CPU quota of
 * control groups (rounded up), on Linux. Asked anew at each call, since both may change. Mirrors
 * `multiprocessing.cpu_count()`, which ignores both limits.
 */
export function cpuCount(): number {
  const quota = process.platform === 'linux' ? cgroupQuota(readText) : Infinity;
  return usableCpus(allowedCpus(), quota);
}
