/**
 * A program does not wait for its daemons: they are terminated when it ends. `join()` takes a timeout.
 *
 * After test/fixtures/python/13_daemon.py (seed 001).
 */

import { Process, currentProcess, sleep } from 'node-multiprocessing';

function daemon(): void {
  const { name } = currentProcess();
  console.log('Starting:', name);
  sleep(2);
  console.log('Exiting :', name);
}

function nonDaemon(): void {
  const { name } = currentProcess();
  console.log('Starting:', name);
  console.log('Exiting :', name);
}

const d = new Process({ name: 'daemon', target: daemon });
d.daemon = true;

const n = new Process({ name: 'non-daemon', target: nonDaemon });
n.daemon = false;

d.start();
n.start();

d.join(0.5);
console.log('d.is_alive()', d.isAlive());
n.join();
