/**
 * Finding the processes that a fixture left behind.
 *
 * The fixture runner puts `MP_TEST_RUN=<uuid>` into the fixture's environment. Whatever descends from it, by
 * fork, spawn or exec, and to whatever parent or session it moved, carries the marker in
 * /proc/<pid>/environ. So strays are known by what they are, never by a name, and nothing else is ever
 * killed. Linux only: elsewhere nothing is found.
 */

import { readFileSync, readdirSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';

/** The environment variable that marks a fixture's processes. */
export const MARKER = 'MP_TEST_RUN';

export interface Stray {
  pid: number;
  ppid: number;
  /** One letter as in /proc/<pid>/stat: S sleeping, R running, D in a system call. */
  state: string;
  command: string;
}

function readProc(pid: string, file: string): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'latin1');
  } catch {
    return undefined; // Ended meanwhile, or not ours.
  }
}

/** State and parent, from the fields after the command name, which may itself hold spaces and brackets. */
function readStat(pid: string): { state: string; ppid: number } | undefined {
  const stat = readProc(pid, 'stat');
  if (stat === undefined) return undefined;
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return { state: fields[0] ?? '?', ppid: Number(fields[1]) };
}

/** The living processes marked with `marker`. A zombie is not one: it only waits for its parent's wait. */
export function strayProcesses(marker: string): Stray[] {
  const needle = `${MARKER}=${marker}`;
  const strays: Stray[] = [];
  for (const pid of processIds()) {
    const environment = readProc(pid, 'environ');
    if (environment === undefined || !environment.split('\0').includes(needle)) continue;
    const stat = readStat(pid);
    if (stat === undefined || stat.state === 'Z' || stat.state === 'X') continue;
    const command = (readProc(pid, 'cmdline') ?? '').replaceAll('\0', ' ').trim();
    strays.push({ pid: Number(pid), ...stat, command });
  }
  return strays;
}

/** True while `pid` runs; a zombie has ended. */
export function isRunning(pid: number): boolean {
  const stat = readStat(String(pid));
  return stat !== undefined && stat.state !== 'Z' && stat.state !== 'X';
}

/** Kills the processes marked with `marker`, and those they fork meanwhile; returns when they have ended. */
export async function killStrays(marker: string): Promise<void> {
  for (let round = 0; round < 100; round++) {
    const strays = strayProcesses(marker);
    if (strays.length === 0) return;
    for (const { pid } of strays) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // Ended meanwhile.
      }
    }
    await delay(10);
  }
}

/** Every process id of this machine that /proc shows. */
export function processIds(): string[] {
  if (process.platform !== 'linux') return [];
  return readdirSync('/proc').filter((name) => /^\d+$/.test(name));
}

/** What a hung process is doing, as far as /proc tells: for the message of a test that timed out. */
export function describeProcess(pid: number): string {
  const id = String(pid);
  const stat = readStat(id);
  if (stat === undefined) return `${pid}: gone`;
  const wchan = readProc(id, 'wchan') || '?';
  const threads = /^Threads:\s+(\d+)/m.exec(readProc(id, 'status') ?? '')?.[1] ?? '?';
  return `${pid}: state ${stat.state}, parent ${stat.ppid}, ${threads} threads, waits in ${wchan}`;
}
