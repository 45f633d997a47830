/**
 * A Pool of two workers does five tasks; who is free takes the next one.
 *
 * After test/fixtures/python/23_pool.py (seed 002).
 */

import { currentProcess, Pool, sleep } from 'node-multiprocessing';

function func(message: number): void {
  sleep(0.2);
  console.log(`PID-${currentProcess().pid}: `, message);
}

const p = new Pool(2);

for (let i = 0; i < 5; i++) {
  p.applyAsync(func, [i]);
}

p.close(); // From here on it takes no more tasks,
p.join(); // and ends when those it has are done.
