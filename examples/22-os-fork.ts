/**
 * The bare fork(2) of the running program: both sides go on after the call.
 *
 * After test/fixtures/python/22_os_fork.py (seed 002).
 */

import { fork, waitpid } from 'node-multiprocessing/posix';

const pid = fork();
if (pid === 0) {
  console.log(`child:${process.pid} parent:${process.ppid}`);
} else {
  console.log(`parent:${process.pid} child ${pid}`);
  waitpid(pid);
}
