/**
 * `npm run test:soak:executors [-- --seconds=60]`: executors are made, given calls, and broken, shut down, terminated or
 * dropped at random moments, and waited for in every way. Each future must be done in time: with its result, cancelled,
 * or, where a worker was killed, with a BrokenProcessPool.
 */

import { asCompleted, ProcessPoolExecutor, wait } from 'node-multiprocessing/concurrent';
import { option } from './support.mjs';

const seconds = option('seconds', 60);
const CALLS = 60;
const HUNG_S = 30;
const chance = (probability) => Math.random() < probability;
const count = { rounds: 0, returned: 0, broken: 0, cancelled: 0 };

function work(x) {
  const end = performance.now() + 2 * Math.random();
  while (performance.now() < end);
  return 3 * x;
}

function submit(executor) {
  const futures = [];
  const closures = chance(0.2);
  try {
    for (let i = 0; i < CALLS; i++) {
      const object = { i };
      const fn = closures && i % 15 === 0 ? () => work(object.i) : work;
      futures.push(executor.submit(fn, i));
    }
  } catch (error) {
    // A worker may have been killed by then.
    if (error.name !== 'BrokenProcessPool') throw error;
  }
  for (const future of futures) if (chance(0.1)) future.cancel();
  return futures;
}

/** @returns whether it may break. */
function disturb(executor, futures) {
  const what = Math.random();
  if (what < 0.4) {
    const end = performance.now() + 40 * Math.random();
    while (performance.now() < end) futures[0].done();
    const workers = executor._processes;
    const victim = workers[Math.trunc(Math.random() * workers.length)];
    if (victim?.exitcode === null) process.kill(victim.pid, chance(0.5) ? 'SIGKILL' : 'SIGTERM');
    return true;
  }
  if (what < 0.5) executor.terminateWorkers();
  else if (what < 0.6) executor.killWorkers();
  else if (what < 0.7) executor.shutdown({ wait: false, cancelFutures: chance(0.5) });
  return what < 0.6;
}

async function settle(futures) {
  switch (Math.trunc(4 * Math.random())) {
    case 0:
      wait(futures, { timeout: HUNG_S });
      break;
    case 1:
      for (const _ of asCompleted(futures, HUNG_S));
      break;
    case 2:
      for await (const _ of asCompleted(futures, HUNG_S));
      break;
    default:
      await Promise.allSettled(futures.map((future) => future.resultAsync(HUNG_S)));
  }
}

function judge(futures, mayBreak) {
  for (const [i, future] of futures.entries()) {
    if (!future.done()) throw new Error(`hung: ${future}`);
    if (future.cancelled()) {
      count.cancelled++;
    } else if (future.exception() === null) {
      if (future.result() !== 3 * i) throw new Error(`${future.result()} of ${i}`);
      count.returned++;
    } else {
      if (!mayBreak || future.exception().name !== 'BrokenProcessPool') throw future.exception();
      count.broken++;
    }
  }
}

const end = performance.now() + 1000 * seconds;
while (performance.now() < end) {
  const maxWorkers = 1 + Math.trunc(4 * Math.random());
  const maxTasksPerChild = chance(0.3) ? 5 : null;
  const executor = new ProcessPoolExecutor({ maxWorkers, maxTasksPerChild });
  const futures = submit(executor);
  const mayBreak = disturb(executor, futures);
  await settle(futures);
  judge(futures, mayBreak);
  count.rounds++;
  if (chance(0.5)) executor.shutdown();
  else if (chance(0.6)) await executor.shutdownAsync();
}
console.log(JSON.stringify(count));
