/**
 * What a process's memory is made of, by the kernel's count (Linux). Private is what would be free if that
 * process ended; the rest of its Rss it shares with others: with the parent it was forked from, with every
 * process that runs the same binary.
 */

import { readFileSync } from 'node:fs';

/** `{ rss, private, shared }` in bytes of process `pid`; null where the system does not tell. */
export function memoryOf(pid = 'self') {
  let text;
  try {
    text = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
  } catch {
    return null;
  }
  const bytes = (field) =>
    Number(new RegExp(`^${field}:\\s*(\\d+) kB`, 'm').exec(text)?.[1]) * 1024;
  return {
    rss: bytes('Rss'),
    private: bytes('Private_Clean') + bytes('Private_Dirty'),
    shared: bytes('Shared_Clean') + bytes('Shared_Dirty'),
  };
}

/** Bytes that can be used without swapping; Infinity where the system does not tell. */
export function availableMemory() {
  try {
    const line = /^MemAvailable:\s*(\d+) kB/m.exec(readFileSync('/proc/meminfo', 'utf8'));
    return line ? Number(line[1]) * 1024 : Infinity;
  } catch {
    return Infinity;
  }
}
