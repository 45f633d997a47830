/**
 * Driver of bench/queues.mjs: this package, with the start method that is its argument. Times in nanoseconds. A spawned
 * child imports this module, too: what a child runs is exported, and what only the driver does stands under the guard.
 */

import { fstatSync, readFileSync, readlinkSync, readdirSync } from 'node:fs';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { getContext, parentProcess, Queue, Semaphore, sleep } from 'node-multiprocessing';
import { bulkOf, checkBulk, checkItem, ITEMS, paced } from './queues.workload.mjs';
import { expectExit, serve } from './serve.mjs';

const now = () => process.hrtime.bigint();

export function whenTold(ready, start, target, ...args) {
  ready.release();
  start.acquire();
  return target(...args);
}

export function putItems(queue, kind, count) {
  const make = ITEMS[kind];
  for (let i = 0; i < count; i++) queue.put(make(i));
}

export function putBulk(queue, bytes, count) {
  const bulk = bulkOf(bytes);
  for (let i = 0; i < count; i++) queue.put(bulk);
}

export function answer(there, back, count) {
  for (let i = 0; i < count; i++) back.put(there.get());
}

export async function answerAsync(there, back, count) {
  for (let i = 0; i < count; i++) await back.putAsync(await there.getAsync());
}

export function putPaced(queue, rate, seconds) {
  paced(
    rate,
    seconds,
    () => sleep(0.001),
    (i) => queue.put(i),
  );
  queue.put(null);
}

/** A child that runs `target` once `go()` is called; it is there by then. */
function prepared(target, ...args) {
  const { Process } = getContext(process.argv[2]);
  const ready = new Semaphore(0);
  const start = new Semaphore(0);
  const child = new Process({ target: whenTold, args: [ready, start, target, ...args] });
  child.start();
  ready.acquire();
  return {
    go: () => start.release(),
    end() {
      child.join();
      expectExit(child.exitcode, 0);
      child.close();
    },
  };
}

const calls = {
  items({ kind, count }) {
    const queue = new Queue();
    const child = prepared(putItems, queue, kind, count);
    const begin = now();
    child.go();
    let got;
    for (let i = 0; i < count; i++) got = queue.get();
    const ns = Number(now() - begin) / count;
    checkItem(kind, count - 1, got);
    child.end();
    return { ns };
  },
  async itemsAsync({ kind, count }) {
    const queue = new Queue();
    const child = prepared(putItems, queue, kind, count);
    const begin = now();
    child.go();
    let left = count;
    let got;
    for await (got of queue) if (--left === 0) break;
    const ns = Number(now() - begin) / count;
    checkItem(kind, count - 1, got);
    child.end();
    return { ns };
  },
  bulk({ bytes, count }) {
    const queue = new Queue(16);
    const child = prepared(putBulk, queue, bytes, count);
    const begin = now();
    child.go();
    for (let i = 0; i < count; i++) checkBulk(bytes, queue.get());
    const ns = Number(now() - begin) / count;
    child.end();
    return { ns };
  },
  roundTrip({ count }) {
    const [there, back] = [new Queue(), new Queue()];
    const child = prepared(answer, there, back, count);
    child.go();
    const begin = now();
    for (let i = 0; i < count; i++) {
      there.put(i);
      if (back.get() !== i) throw new Error('out of order');
    }
    const ns = Number(now() - begin) / count;
    child.end();
    return { ns };
  },
  async roundTripAsync({ count }) {
    const [there, back] = [new Queue(), new Queue()];
    const child = prepared(answerAsync, there, back, count);
    child.go();
    const begin = now();
    for (let i = 0; i < count; i++) {
      await there.putAsync(i);
      if ((await back.getAsync()) !== i) throw new Error('out of order');
    }
    const ns = Number(now() - begin) / count;
    child.end();
    return { ns };
  },
  async serving({ rate, seconds }) {
    const queue = new Queue();
    const child = prepared(putPaced, queue, rate, seconds);
    const delays = monitorEventLoopDelay({ resolution: 1 });
    delays.enable();
    child.go();
    let count = 0;
    for await (const item of queue) {
      if (item === null) break;
      count++;
    }
    delays.disable();
    child.end();
    return { p99: delays.percentile(99), max: delays.max, count };
  },
  burst({ bytes, count }) {
    const queue = new Queue();
    const before = memory();
    const child = prepared(putBulk, queue, bytes, count);
    child.go();
    child.end();
    const queued = memory();
    // Each message is garbage once it is looked at.
    for (let i = 0; i < count; i++) checkBulk(bytes, queue.get());
    globalThis.gc();
    return { before, queued, after: memory() };
  },
};

/** What the shared memory of this package takes of the system, and this process's own memory. */
function memory() {
  let shared = 0;
  for (const name of readdirSync('/proc/self/fd')) {
    try {
      if (!readlinkSync(`/proc/self/fd/${name}`).includes('memfd:node-multiprocessing')) continue;
      shared += fstatSync(Number(name)).blocks * 512;
    } catch {
      // The descriptor that listed the directory.
    }
  }
  const status = readFileSync('/proc/self/status', 'utf8');
  return { shared, rss: Number(/^VmRSS:\s*(\d+)/m.exec(status)[1]) * 1024 };
}

if (parentProcess() === null) await serve(calls);
