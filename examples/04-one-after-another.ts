/**
 * Started and joined one after another, processes take as long as all of them together.
 *
 * After test/fixtures/python/04_one_after_another.py (seed 000).
 */

import { Process, sleep } from 'node-multiprocessing';

function foo(x: number): void {
  console.log(`process${x},start`);
  sleep(x * 0.1);
  console.log(`process${x},end`);
}

const p1 = new Process({ target: foo, args: [1] });
const p2 = new Process({ target: foo, args: [2] });
const p3 = new Process({ target: foo, args: [3] });
const start = performance.now();
p1.start();
p1.join();
p2.start();
p2.join();
p3.start();
p3.join();
const end = performance.now();
console.log((end - start) / 1000);
console.log('主进程结束');
