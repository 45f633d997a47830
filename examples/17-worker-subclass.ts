/**
 * The processes of a subclass are named after it: Worker-1, Worker-2 and so on.
 *
 * After test/fixtures/python/17_worker_subclass.py (seed 001).
 */

import { Process } from 'node-multiprocessing';

class Worker extends Process {
  override run(): void {
    console.log(`In ${this.name}`);
  }
}

const jobs: Worker[] = [];
for (let i = 0; i < 5; i++) {
  const p = new Worker();
  jobs.push(p);
  p.start();
}
for (const j of jobs) j.join();
