/**
 * Driver of bench/process.mjs: a Worker of worker_threads, for orientation. It is a thread: it shares the
 * process, its memory limits and its fate.
 */

import { Worker } from 'node:worker_threads';
import { expectExit, fill, serve } from './serve.mjs';

const MODULE = new URL('noop.mjs', import.meta.url);

const exit = (worker) =>
  new Promise((resolve, reject) => {
    worker.once('error', reject);
    worker.once('exit', resolve);
  });

async function run() {
  const begin = performance.now();
  const code = await exit(new Worker(MODULE, { argv: [] }));
  const ms = performance.now() - begin;
  expectExit(code, 0);
  return { ms };
}

async function prove() {
  const secret = 1 + Math.floor(Math.random() * 250);
  expectExit(await exit(new Worker(MODULE, { argv: ['exit', secret] })), secret);
}

await serve({ fill, run, prove });
