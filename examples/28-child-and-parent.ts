/**
 * Ten children, each with its own pid and the same parent, compute a square.
 *
 * After test/fixtures/python/28_child_and_parent.py (seed 003).
 */

import { Process } from 'node-multiprocessing';

function pro(n: number): void {
  const childPid = process.pid;
  const parentPid = process.ppid;
  console.log(`子进程id:${childPid};父进程id:${parentPid}`);
  console.log(`我是子进程,输出的结果为:${n * n}`);
}

console.log('主进程id :', process.pid);
for (let i = 0; i < 10; i++) {
  const p = new Process({ target: pro, args: [1] });
  p.start();
}
