/**
 * `applyAsync` does not wait: all tasks are given out before the first one is done, and three run at a time.
 *
 * After test/fixtures/python/40_pool_apply_async.py (seed 004).
 */

import { Pool, sleep } from 'node-multiprocessing';

function task(index: number): void {
  console.log('Start process: ', index);
  sleep(0.5);
  console.log('End process', index);
}

const pool = new Pool({ processes: 3 });
for (let i = 0; i < 4; i++) {
  pool.applyAsync(task, [i]);
}

console.log('Started processes');
pool.close();
pool.join();
console.log('Subprocess done.');
