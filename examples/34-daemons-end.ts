/**
 * Daemons end with their parent: nothing of what they would print is printed.
 *
 * After test/fixtures/python/34_daemons_end.py (seed 004).
 */

import { Process, sleep } from 'node-multiprocessing';

class MyProcess extends Process {
  readonly loop: number;

  constructor(loop: number) {
    super();
    this.loop = loop;
  }

  override run(): void {
    for (let count = 0; count < this.loop; count++) {
      sleep(1);
      console.log(`Pid: ${this.pid} LoopCount: ${count}`);
    }
  }
}

for (let i = 2; i < 5; i++) {
  const p = new MyProcess(i);
  p.daemon = true;
  p.start();
}

console.log('Main process Ended!');
