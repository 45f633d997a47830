/**
 * `npm run test:soak:pools [-- --tasks=1000000 --kills=100 --pools=1000]`: tasks go through a pool while a worker chosen at
 * random is killed every so many milliseconds. Each task must end exactly once: with its result, or with a
 * WorkerLostError, and there are no more of those than kills. Then pools are made and closed, or terminated, one
 * after another: descriptors, memory and children stay as they are.
 */

import { Pool } from 'node-multiprocessing';
import { openFds } from '../support/fds.mjs';
import { conclude, delay, failures, option, secondsSince } from './support.mjs';

const tasks = option('tasks', 1_000_000);
const interval = option('kills', 100);
const pools = option('pools', 1000);
const WINDOW = 2000;
const HUNG_S = 30;

function spin(microseconds) {
  const end = performance.now() + microseconds / 1000;
  while (performance.now() < end);
}

/** Mostly short, some long, some large. */
const work = (number) => {
  if (number % 64 === 0) spin(200);
  return number % 1000 === 0 ? Buffer.alloc(100_000, number & 0xff) : number * 3;
};
const isRight = (number, result) =>
  number % 1000 === 0
    ? result.length === 100_000 && result[99_999] === (number & 0xff)
    : result === number * 3;

async function chaos() {
  const began = performance.now();
  const pool = new Pool(4);
  await pool.applyAsync(work, [1]);
  const outcomes = new Uint8Array(tasks);
  let [lost, done, kills, started] = [0, 0, 0, 0];
  let lastProgress = performance.now();
  const killer = setInterval(() => {
    const workers = pool._pool.filter((worker) => worker.exitcode === null);
    const victim = workers[Math.trunc(Math.random() * workers.length)];
    if (victim === undefined) return;
    try {
      process.kill(victim.pid, 'SIGKILL');
      kills++;
    } catch {
      // It has ended by itself.
    }
  }, interval);
  const watchdog = setInterval(() => {
    if (performance.now() - lastProgress < HUNG_S * 1000) return;
    console.error(`hung: ${done} of ${tasks} tasks`, pool.stats());
    process.exit(1);
  }, 1000);
  const settle = (number, problem) => {
    if (outcomes[number]++ > 0) failures.push(`task ${number} ended more than once`);
    if (problem) failures.push(`task ${number}: ${problem}`);
    lastProgress = performance.now();
    done++;
  };
  await new Promise((resolve) => {
    const feed = () => {
      while (started < tasks && started - done < WINDOW) {
        const number = started++;
        pool.applyAsync(work, [number], null, {
          callback(result) {
            settle(number, isRight(number, result) ? undefined : `has the result ${result}`);
            next();
          },
          errorCallback(error) {
            if (error.name === 'WorkerLostError') lost++;
            settle(number, error.name === 'WorkerLostError' ? undefined : String(error));
            next();
          },
        });
      }
    };
    const next = () => {
      if (done === tasks) resolve();
      else if (started - done < WINDOW / 2) queueMicrotask(feed);
    };
    feed();
  });
  clearInterval(killer);
  clearInterval(watchdog);
  pool.close();
  pool.join();
  const never = outcomes.indexOf(0);
  if (never >= 0) failures.push(`task ${never} never ended`);
  if (lost > kills) failures.push(`${lost} tasks were lost by ${kills} kills`);
  console.log(
    `${tasks} tasks, ${kills} kills: ${lost} lost, each task ended once, ${secondsSince(began).toFixed(1)} s ` +
      `(${Math.trunc(tasks / (performance.now() - began))} k/s)`,
  );
}

async function many() {
  const began = performance.now();
  const resident = () => process.memoryUsage().rss / 2 ** 20;
  let before;
  for (let i = 0; i < pools; i++) {
    const pool = new Pool(2);
    if (i % 2 === 0) {
      const [two] = pool.map((x) => x + i, [2]);
      if (two !== 2 + i) failures.push(`a pool answered ${two}`);
      pool.close();
    } else {
      void pool.mapAsync((x) => x, [1, 2, 3]);
      pool.terminate();
    }
    pool.join();
    if (i === Math.trunc(pools / 10)) before = { fds: openFds().length, rss: resident() };
    // Descriptors of memory go when the collector comes, which does so between two turns of the loop, too.
    if (i % 10 === 0) await new Promise(setImmediate);
  }
  globalThis.gc?.();
  await delay(50);
  const after = { fds: openFds().length, rss: resident() };
  console.log(
    `${pools} pools: ${before.fds} → ${after.fds} descriptors, ${before.rss.toFixed(0)} → ${after.rss.toFixed(0)} MiB, ${secondsSince(began).toFixed(1)} s`,
  );
  if (after.fds > before.fds + 8) failures.push(`descriptors: ${before.fds} → ${after.fds}`);
  if (after.rss > before.rss + 40) failures.push(`memory: ${before.rss} → ${after.rss} MiB`);
}

if (tasks > 0) await chaos();
if (pools > 0) await many();
conclude();
