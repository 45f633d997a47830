/** What the soaks share: options, failures, what must not be left behind, the last word. */

import { readdirSync } from 'node:fs';
import { isBell, openFds } from '../support/fds.mjs';

/** An option as it stands on the command line. */
export const given = (name) => process.argv.find((o) => o.startsWith(`--${name}=`));

/** The number in `--name=number`. */
export const option = (name, otherwise) => Number(given(name)?.split('=')[1] ?? otherwise);

export const delay = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Whatever is in here at the end, a text or an object, has gone wrong. */
export const failures = [];

const started = performance.now();

/** Seconds since `start`, by default the beginning of the program. */
export const secondsSince = (start = started) => (performance.now() - start) / 1000;

/** Median, 90 %, 99 % and the longest of some milliseconds, as text. */
export function percentiles(times) {
  const sorted = times.toSorted((a, b) => a - b);
  const at = (part) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? 0;
  return [0.5, 0.9, 0.99, 1].map((part) => `${at(part).toFixed(0)} ms`).join(', ');
}

/** Of some of the bytes: what is wrong with a message is wrong with pieces of it, not with one bit. */
export function checksum(sender, number, bytes) {
  let sum = Math.imul(sender + 1, 0x9e37_79b1) ^ number;
  const step = Math.max(1, bytes.length >> 6);
  for (let i = 0; i < bytes.length; i += step) sum = Math.imul(sum ^ bytes[i], 0x0100_0193);
  return sum >>> 0;
}

/** Bytes to send pieces of. */
export const pattern = (size) =>
  Buffer.from(Uint8Array.from({ length: size }, (_, i) => Math.imul(i, 40_503) >> 3));

function shmNames() {
  try {
    return readdirSync('/dev/shm');
  } catch {
    return [];
  }
}

const namesBefore = shmNames();

/** Fails when there are more than `fds` descriptors, or names of shared memory. Collects before, under --expose-gc. */
export async function checkNothingLeft(fds) {
  for (let i = 0; i < 10 && globalThis.gc; i++) {
    globalThis.gc();
    await delay(5);
  }
  const left = openFds().filter(
    (fd) => !/inotify|memfd:node-multiprocessing/.test(fd) && !isBell(fd),
  );
  if (left.length > fds) failures.push({ fds: left, before: fds });
  const names = shmNames().filter(
    (name) => !namesBefore.includes(name) && /^(psm_|mp-|node-)/.test(name),
  );
  if (names.length > 0) failures.push({ names });
}

/** Says what has failed, also by the exit code. */
export function conclude() {
  console.log(`${failures.length} failures in ${secondsSince().toFixed(0)} s`);
  for (const failure of failures.slice(0, 10)) console.log('  ', JSON.stringify(failure));
  process.exitCode = failures.length > 0 ? 1 : 0;
}
