/** Driver of bench/pool.mjs: the pools of npm, driven with a window of 256 tasks. Times in nanoseconds. */

import { once } from 'node:events';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { Piscina } from 'piscina';
import { Tinypool } from 'tinypool';
import { memoryOf } from '../support/memory.mjs';
import { serve } from './serve.mjs';

const require = createRequire(import.meta.url);
const { Worker: JestWorker } = require('jest-worker');
const workerpool = require('workerpool');
const file = (name) => fileURLToPath(new URL(`pool.${name}`, import.meta.url));
const now = () => process.hrtime.bigint();
const WINDOW = 256;
const SIZE = 4;

/** How a task is given, and how the pool is ended. */
const POOLS = {
  piscina() {
    const pool = new Piscina({
      filename: file('dispatch.mjs'),
      minThreads: SIZE,
      maxThreads: SIZE,
    });
    return { run: (name, x) => pool.run([name, x]), end: () => pool.destroy() };
  },
  tinypool() {
    const pool = new Tinypool({
      filename: file('dispatch.mjs'),
      minThreads: SIZE,
      maxThreads: SIZE,
    });
    return { run: (name, x) => pool.run([name, x]), end: () => pool.destroy() };
  },
  workerpool() {
    const options = { minWorkers: SIZE, maxWorkers: SIZE, workerType: 'thread' };
    const pool = workerpool.pool(file('workerpool.cjs'), options);
    return { run: (name, x) => pool.exec(name, [x]), end: () => pool.terminate() };
  },
  jest() {
    const options = {
      numWorkers: SIZE,
      enableWorkerThreads: true,
      exposedMethods: ['trivial', 'busy'],
    };
    const pool = new JestWorker(file('tasks.cjs'), options);
    return { run: (name, x) => pool[name](x), end: () => pool.end() };
  },
};

async function windowed({ run }, name, count, argument) {
  let next = 0;
  const lane = async () => {
    while (next < count) {
      const x = argument ?? next;
      next++;
      if ((await run(name, x)) !== x) throw new Error('a wrong result');
    }
  };
  await Promise.all(Array.from({ length: Math.min(WINDOW, count) }, lane));
}

const pools = {};
async function warm(peer) {
  if (pools[peer] === undefined) {
    pools[peer] = POOLS[peer]();
    await windowed(pools[peer], 'trivial', 2000);
  }
  return pools[peer];
}

await serve({
  async start({ peer }) {
    const begin = now();
    const pool = POOLS[peer]();
    await Promise.all(Array.from({ length: SIZE }, (_, i) => pool.run('trivial', i)));
    const ns = Number(now() - begin);
    await pool.end();
    return { ns };
  },
  async each({ peer, count }) {
    const pool = await warm(peer);
    const begin = now();
    await windowed(pool, 'trivial', count);
    return { ns: Number(now() - begin) / count };
  },
  async apply({ peer, count }) {
    const pool = await warm(peer);
    const begin = now();
    for (let i = 0; i < count; i++) await pool.run('trivial', i);
    return { ns: Number(now() - begin) / count };
  },
  async busy({ peer, count, milliseconds }) {
    const pool = await warm(peer);
    const begin = now();
    await windowed(pool, 'busy', count, milliseconds);
    return { ns: Number(now() - begin) / count };
  },
  /** What an idle worker_thread costs: the least that a pool of threads does. */
  async memory() {
    const before = memoryOf().private;
    const threads = Array.from(
      { length: SIZE },
      () => new Worker('setInterval(() => {}, 1e6)', { eval: true }),
    );
    await Promise.all(threads.map((thread) => once(thread, 'online')));
    await new Promise((resolve) => setTimeout(resolve, 200));
    const bytes = (memoryOf().private - before) / SIZE;
    await Promise.all(threads.map((thread) => thread.terminate()));
    return { bytes };
  },
  async end({ peer }) {
    await pools[peer]?.end();
    delete pools[peer];
  },
});
process.exit(0);
