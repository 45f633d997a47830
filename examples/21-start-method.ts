/**
 * A program chooses how its processes are started, once: by fork, or as its argument says. Four processes in turn.
 *
 * After test/fixtures/python/21_start_method.py (seed 002). Under `spawn` and `forkserver` children import this module to
 * find `func`: so it is exported, and what only the program itself shall do stands behind a guard.
 */

import {
  Process,
  currentProcess,
  parentProcess,
  setStartMethod,
  sleep,
} from 'node-multiprocessing';

export function func(message: string): void {
  sleep(0.1);
  console.log(`PID-${currentProcess().pid}: `, message);
}

if (parentProcess() === null) {
  setStartMethod(process.argv[2] ?? 'fork');
  for (const item of ['A', 'B', 'C', 'D']) {
    const p = new Process({ target: func, args: [item] });
    p.start();
    p.join();
  }
}
