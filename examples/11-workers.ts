/**
 * Five workers, each with an argument of its own; the program ends when all of them have.
 *
 * After test/fixtures/python/11_workers.py (seed 001).
 */

import { Process } from 'node-multiprocessing';

/** What each worker does. */
function worker(num: number): void {
  console.log('Worker:', num);
}

const jobs: Process[] = [];
for (let i = 0; i < 5; i++) {
  const p = new Process({ target: worker, args: [i] });
  jobs.push(p);
  p.start();
}
