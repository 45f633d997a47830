/**
 * A process has a name: Process-1, Process-2 and so on, or the one it is given.
 *
 * After test/fixtures/python/06_names.py (seed 000).
 */

import { Process, currentProcess, sleep } from 'node-multiprocessing';

function foo(): void {
  console.log('process start');
  console.log('子进程的名字', currentProcess().name);
  sleep(0.3);
  console.log('process end');
}

const p = new Process({ target: foo });
const p2 = new Process({ target: foo });
const p3 = new Process({ target: foo, name: 'ocean' });

p.start();
p2.start();
p3.start();
console.log(p.name);
console.log(p2.name);
console.log(p3.name);
console.log('主进程');
