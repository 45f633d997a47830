/**
 * The states of a process: initial, started, and stopped with an exit code.
 *
 * After test/fixtures/python/14_states.py (seed 001).
 */

import { Process, sleep } from 'node-multiprocessing';

function slowWorker(): void {
  console.log('Starting worker');
  sleep(1);
  console.log('Finished worker');
}

const p = new Process({ target: slowWorker });
console.log('BEFORE:', p, p.isAlive());

p.start();
console.log('DURING:', p, p.isAlive());

p.terminate();
console.log('TERMINATED:', p, p.isAlive());

p.join();
console.log('JOINED:', p, p.isAlive());
