/**
 * A daemon that is joined does all it has to do.
 *
 * After test/fixtures/python/35_daemons_joined.py (seed 004).
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
      sleep(0.1);
      console.log(`Pid: ${this.pid} LoopCount: ${count}`);
    }
  }
}

for (let i = 2; i < 5; i++) {
  const p = new MyProcess(i);
  p.daemon = true;
  p.start();
  p.join();
}

console.log('Main process Ended!');
