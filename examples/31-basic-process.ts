/**
 * The least there is: a function, its arguments, `start()`.
 *
 * After test/fixtures/python/31_basic_process.py (seed 004).
 */

import { Process } from 'node-multiprocessing';

function process(num: number): void {
  console.log('Process:', num);
}

for (let i = 0; i < 5; i++) {
  const p = new Process({ target: process, args: [i] });
  p.start();
}
