/**
 * A Queue of at most four items between a writer and a reader that never ends, and so is terminated.
 *
 * After test/fixtures/python/26_bounded_queue.py (seed 002).
 */

import { Process, Queue, sleep } from 'node-multiprocessing';

function write(q: Queue<string>): void {
  for (const value of ['A', 'B', 'C', 'D']) {
    console.log(`Process ${process.pid} put ${value} to queue.`);
    q.put(value);
  }
}

function read(q: Queue<string>): void {
  for (;;) {
    const value = q.get(true);
    console.log(`Process ${process.pid} get ${value} from queue.`);
  }
}

const q = new Queue<string>(4); // made by the parent, passed to the children

const pw = new Process({ target: write, args: [q] });
const pr = new Process({ target: read, args: [q] });
pw.start();
pr.start();

pw.join(); // the writer has ended
sleep(0.5); // and the reader has read
pr.terminate(); // what loops for ever is ended by force
