/**
 * `terminate()` asks the system to end a child; after `join()` it has ended.
 *
 * After test/fixtures/python/08_terminate.py (seed 000).
 */

import { Process, sleep } from 'node-multiprocessing';

function foo(): void {
  console.log('process start');
  sleep(10);
  console.log('process end');
}

const p = new Process({ target: foo });
p.start();
p.terminate();
console.log(p.isAlive());
p.join();
console.log(p.isAlive());
console.log('主进程');
