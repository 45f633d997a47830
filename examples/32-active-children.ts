/**
 * How many CPUs there are, and which children run at the moment.
 *
 * After test/fixtures/python/32_active_children.py (seed 004).
 */

import { Process, activeChildren, cpuCount, sleep } from 'node-multiprocessing';

function process(num: number): void {
  sleep(num * 0.3);
  console.log('Process:', num);
}

for (let i = 0; i < 5; i++) {
  const p = new Process({ target: process, args: [i] });
  p.start();
}

console.log(`CPU number:${cpuCount()}`);
for (const p of activeChildren()) {
  console.log(`Child process name: ${p.name} id: ${p.pid}`);
}

console.log('Process Ended');
