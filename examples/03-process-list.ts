/**
 * Processes in a list: a process prints as what it is, with name, pid, parent and state.
 *
 * After test/fixtures/python/03_process_list.py (seed 000).
 */

import { Process, sleep } from 'node-multiprocessing';

function foo(x: number): void {
  console.log(`process${x},start`);
  sleep(x * 0.3);
  console.log(`process${x},end`);
}

const start = performance.now();
const pList: Process[] = [];
for (let i = 1; i < 4; i++) {
  const p = new Process({ target: foo, args: [i] });
  p.start();
  pList.push(p);
}
console.log(`[${pList.join(', ')}]`);
for (const p of pList) p.join();
const end = performance.now();
console.log((end - start) / 1000);
console.log('主进程');
