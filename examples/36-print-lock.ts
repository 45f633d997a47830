/**
 * Five processes print at the same time, first without a Lock, then with one around each line.
 *
 * After test/fixtures/python/36_print_lock.py (seed 004).
 */

import { Lock, Process, sleep } from 'node-multiprocessing';

class MyProcess extends Process {
  readonly loop: number;
  readonly lock: Lock | null;

  constructor(loop: number, lock: Lock | null) {
    super();
    this.loop = loop;
    this.lock = lock;
  }

  override run(): void {
    for (let count = 0; count < this.loop; count++) {
      sleep(0.1);
      this.lock?.acquire();
      console.log(`Pid: ${this.pid} LoopCount: ${count}`);
      this.lock?.release();
    }
  }
}

for (const lock of [null, new Lock()]) {
  const processes = [10, 11, 12, 13, 14].map((loop) => new MyProcess(loop, lock));
  for (const p of processes) p.start();
  for (const p of processes) p.join();
}
