/**
 * Processes share no variables: what the child assigns stays in the child.
 *
 * After test/fixtures/python/10_isolation.py (seed 000).
 */

import { Process } from 'node-multiprocessing';

let n = 100;

function work(): void {
  n = 0;
  console.log('子进程内：', n);
}

const p = new Process({ target: work });
p.start();
console.log('主进程内：', n);
