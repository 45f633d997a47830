/**
 * The child's pid and the parent's, seen from both sides.
 *
 * After test/fixtures/python/05_pids.py (seed 000).
 */

import { Process, currentProcess, sleep } from 'node-multiprocessing';

function task(): void {
  console.log('子进程 start');
  console.log('在子进程中查询自己的pid>', currentProcess().pid);
  console.log('在子进程中查询父进程的pid>', process.ppid);
  sleep(0.2);
  console.log('子进程end');
}

const p = new Process({ target: task });
p.start();
console.log('在主进程中查看子进程的pid>', p.pid);
console.log('主进程的pid>', process.pid);
console.log('主进程的父进程的pid>', process.ppid);
console.log('主进程');
