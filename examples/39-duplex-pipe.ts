/**
 * Two processes talk over the two ends of one Pipe, in both directions.
 *
 * After test/fixtures/python/39_duplex_pipe.py (seed 004).
 */

import { Pipe, Process, type Connection } from 'node-multiprocessing';

class Consumer extends Process {
  readonly pipe: Connection;

  constructor(pipe: Connection) {
    super();
    this.pipe = pipe;
  }

  override run(): void {
    this.pipe.send('Consumer Words');
    console.log('Consumer Received:', this.pipe.recv());
  }
}

class Producer extends Process {
  readonly pipe: Connection;

  constructor(pipe: Connection) {
    super();
    this.pipe = pipe;
  }

  override run(): void {
    console.log('Producer Received:', this.pipe.recv());
    this.pipe.send('Producer Words');
  }
}

const pipe = Pipe();
const p = new Producer(pipe[0]);
const c = new Consumer(pipe[1]);
p.daemon = c.daemon = true;
p.start();
c.start();
p.join();
c.join();
console.log('Ended!');
