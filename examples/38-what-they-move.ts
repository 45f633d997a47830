/**
 * Producer and Consumer again, with what they move: what the one puts into the Queue the other gets, in that order.
 *
 * After test/fixtures/python/38_what_they_move.py (seed 004).
 */

import { Lock, Process, Queue, Semaphore, sleep } from 'node-multiprocessing';

const ELEMENTS = 8;

const buffer = new Queue<number>(10);
const empty = new Semaphore(2);
const full = new Semaphore(0);
const lock = new Lock();

class Consumer extends Process {
  override run(): void {
    for (let i = 0; i < ELEMENTS; i++) {
      full.acquire();
      lock.acquire();
      console.log('Consumer get', buffer.get());
      sleep(0.05);
      lock.release();
      empty.release();
    }
  }
}

class Producer extends Process {
  override run(): void {
    for (let i = 0; i < ELEMENTS; i++) {
      empty.acquire();
      lock.acquire();
      const num = Math.random();
      console.log('Producer put ', num);
      buffer.put(num);
      sleep(0.05);
      lock.release();
      full.release();
    }
  }
}

const p = new Producer();
const c = new Consumer();
p.daemon = c.daemon = true;
p.start();
c.start();
p.join();
c.join();
console.log('Ended!');
