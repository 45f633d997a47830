/**
 * A task's result: `get` waits for it, so these run one after another.
 *
 * After test/fixtures/python/42_apply_async_get.py (seed 004).
 */

import { Pool, sleep } from 'node-multiprocessing';

function task(index: number): number {
  console.log('Start process: ', index);
  sleep(0.1);
  console.log('End process', index);
  return index;
}

const pool = new Pool({ processes: 3 });
for (let i = 0; i < 4; i++) {
  const result = pool.applyAsync(task, [i]);
  console.log(result.get());
}
console.log('Started processes');
pool.close();
pool.join();
console.log('Subprocess done.');
