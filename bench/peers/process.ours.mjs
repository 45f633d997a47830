/** Driver of bench/process.mjs: `Process` of this package, start method fork. */

import { getContext } from 'node-multiprocessing';
import * as posix from 'node-multiprocessing/posix';
import { memoryOf } from '../support/memory.mjs';
import { expectExit, fill, serve } from './serve.mjs';

const { Process } = getContext('fork');

function noop() {}

/** Start and join, and of that the time of `start()`. */
function run() {
  const begin = performance.now();
  const child = new Process({ target: noop });
  child.start();
  const started = performance.now();
  child.join();
  const end = performance.now();
  expectExit(child.exitcode, 0);
  child.close();
  return { ms: end - begin, startMs: started - begin };
}

/** Children do run their target, in a process of their own, and on the parent's data. */
function prove() {
  const secret = 1 + Math.floor(Math.random() * 250);
  const parent = process.pid;
  const child = new Process({ target: () => process.exit(process.pid === parent ? 0 : secret) });
  child.start();
  child.join();
  expectExit(child.exitcode, secret);
}

/** The memory of a child that is alive and idle; with `collect`, after a full collection of its own. */
async function idle({ collect = false }) {
  const [read, write] = posix.pipe();
  const child = new Process({
    target() {
      if (collect) globalThis.gc();
      setTimeout(() => {}, 60_000);
      posix.write(write, 'ready');
    },
  });
  child.start();
  posix.read(read, 5);
  await new Promise((resolve) => setTimeout(resolve, 300));
  const memory = memoryOf(child.pid);
  child.kill();
  child.join();
  expectExit(child.exitcode, -9);
  posix.close(read);
  posix.close(write);
  return { memory };
}

await serve({ fill, run, prove, idle });
