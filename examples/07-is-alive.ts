/**
 * `isAlive()` tells whether the child still runs, without waiting for it.
 *
 * After test/fixtures/python/07_is_alive.py (seed 000).
 */

import { Process, sleep } from 'node-multiprocessing';

function foo(): void {
  console.log('process start');
  sleep(0.2);
  console.log('process end');
}

const p = new Process({ target: foo });
p.start();
console.log(p.isAlive());
sleep(0.7);
console.log(p.isAlive());
console.log('主进程');
