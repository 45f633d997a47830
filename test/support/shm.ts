/**
 * What is left in /dev/shm.
 *
 * Test files run side by side, so a plain difference of before and after would blame one test for the
 * segments another is using. Left over is what appeared since the snapshot and no living process has
 * mapped or open. Linux only: elsewhere there is no directory to look into, and nothing is found.
 */

import { readFileSync, readdirSync, readlinkSync, rmSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { processIds } from './processes.js';

const DIRECTORY = '/dev/shm';

/** The names in /dev/shm now. */
export function shmSnapshot(): Set<string> {
  try {
    return new Set(readdirSync(DIRECTORY));
  } catch {
    return new Set();
  }
}

function isInUse(name: string): boolean {
  const file = `${DIRECTORY}/${name}`;
  return processIds().some((pid) => {
    try {
      if (readFileSync(`/proc/${pid}/maps`, 'latin1').includes(`${file}\n`)) return true;
      return readdirSync(`/proc/${pid}/fd`).some((fd) => {
        try {
          return readlinkSync(`/proc/${pid}/fd/${fd}`) === file;
        } catch {
          return false;
        }
      });
    } catch {
      return false; // Ended meanwhile, or not ours.
    }
  });
}

function unused(before: ReadonlySet<string>): string[] {
  return [...shmSnapshot()].filter((name) => !before.has(name) && !isInUse(name));
}

/**
 * Names that appeared since `before` and belong to nobody, looked at twice: between its creation and its
 * mapping a segment belongs to nobody either.
 */
export async function shmLeftovers(before: ReadonlySet<string>): Promise<string[]> {
  const first = unused(before);
  if (first.length === 0) return [];
  await delay(300);
  const second = new Set(unused(before));
  return first.filter((name) => second.has(name));
}

/** Removes a name that a fixture has left on purpose. */
export function removeShm(name: string): void {
  rmSync(`${DIRECTORY}/${name}`, { force: true });
}
