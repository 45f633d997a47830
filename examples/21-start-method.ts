/**
 * A program chooses how its processes are started, once; here by fork. Four processes in turn.
 *
 * After test/fixtures/python/21_start_method.py (seed 002).
 */

import { Process, currentProcess, setStartMethod, sleep } from 'node-multiprocessing';

setStartMethod('fork');

function func(message: string): void {
  sleep(0.1);
  console.log(`PID-${currentProcess().pid}: `, message);
}

for (const item of ['A', 'B', 'C', 'D']) {
  const p = new Process({ target: func, args: [item] });
  p.start();
  p.join();
}
