/**
 * Three processes run at the same time: together they take as long as the longest.
 *
 * After test/fixtures/python/02_three_at_once.py (seed 000).
 */

import { Process, sleep } from 'node-multiprocessing';

function foo(x: number): void {
  console.log('Process start');
  sleep(x * 0.3);
  console.log('Process end');
}

const p1 = new Process({ target: foo, args: [1] });
const p2 = new Process({ target: foo, args: [2] });
const p3 = new Process({ target: foo, args: [3] });
const start = performance.now();
p1.start();
p2.start();
p3.start();
p1.join();
p2.join();
p3.join();
const end = performance.now();
console.log((end - start) / 1000);
console.log('主进程');
