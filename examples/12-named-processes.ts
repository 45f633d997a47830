/**
 * Names tell processes apart; a default name counts all the processes made before.
 *
 * After test/fixtures/python/12_named_processes.py (seed 001).
 */

import { Process, currentProcess, sleep } from 'node-multiprocessing';

function worker(): void {
  const { name } = currentProcess();
  console.log(name, 'Starting');
  sleep(0.2);
  console.log(name, 'Exiting');
}

function myService(): void {
  const { name } = currentProcess();
  console.log(name, 'Starting');
  sleep(0.3);
  console.log(name, 'Exiting');
}

const service = new Process({ name: 'my_service', target: myService });
const worker1 = new Process({ name: 'worker 1', target: worker });
const worker2 = new Process({ target: worker }); // default name

worker1.start();
worker2.start();
service.start();
