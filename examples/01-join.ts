/**
 * `join()` waits until the child has ended, and returns at once when it has ended before.
 *
 * After test/fixtures/python/01_join.py (seed 000).
 */

import { Process, sleep } from 'node-multiprocessing';

function foo(): void {
  console.log('process start');
  sleep(0.2);
  console.log('process end');
}

const p = new Process({ target: foo });
p.start();
sleep(0.5);
p.join();
console.log('主进程');
