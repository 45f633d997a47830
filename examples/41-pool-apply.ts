/**
 * `apply` waits for each task: they run one after another, whatever the size of the pool.
 *
 * After test/fixtures/python/41_pool_apply.py (seed 004).
 */

import { Pool, sleep } from 'node-multiprocessing';

function task(index: number): void {
  console.log('Start process: ', index);
  sleep(0.1);
  console.log('End process', index);
}

const pool = new Pool({ processes: 3 });
for (let i = 0; i < 4; i++) {
  pool.apply(task, [i]);
}

console.log('Started processes');
pool.close();
pool.join();
console.log('Subprocess done.');
