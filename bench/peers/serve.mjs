/**
 * A driver's side of the dialogue (support/driver.mjs), for peers that run in Node. It reads blocking: between
 * two requests no handle of it is on the event loop, so that what is measured is the peer in a bare program.
 */

import { readSync, writeSync } from 'node:fs';

const REQUESTS = 0;
const ANSWERS = 3;

function* lines() {
  const room = Buffer.alloc(4096);
  let pending = '';
  for (;;) {
    const end = pending.indexOf('\n');
    if (end >= 0) {
      yield pending.slice(0, end);
      pending = pending.slice(end + 1);
      continue;
    }
    const got = readSync(REQUESTS, room);
    if (got === 0) return;
    pending += room.toString('utf8', 0, got);
  }
}

/** Answers each request `{ call, …arguments }` with what `calls[call](arguments)` returns or resolves to. */
export async function serve(calls) {
  for (const line of lines()) {
    const request = JSON.parse(line);
    let answer;
    try {
      answer = await calls[request.call](request);
    } catch (error) {
      answer = { error: String(error?.stack ?? error) };
    }
    writeSync(ANSWERS, `${JSON.stringify(answer ?? {})}\n`);
  }
}

/** What keeps the heap as large as it is. */
const live = [];

/**
 * Fills the heap with live objects, as a program's data would be: small objects with numbers, short arrays
 * and strings, in V8's old generation. Wants --expose-gc. Answers the bytes of live heap.
 */
export function fill({ bytes }) {
  const used = () => process.memoryUsage().heapUsed;
  const goal = used() + bytes;
  for (let n = 0; used() < goal; n++) {
    live.push(
      Array.from({ length: 1000 }, (_, i) => ({
        id: n * 1000 + i,
        label: `item ${n}/${i}`,
        position: [i, i + 0.5, n],
        next: null,
      })),
    );
  }
  globalThis.gc();
  return { heapUsed: used() };
}

/** Throws unless a child ended as it should: a crashed child gives plausible times. */
export function expectExit(got, wanted) {
  if (got !== wanted) throw new Error(`a child ended with ${got} instead of ${wanted}`);
}
