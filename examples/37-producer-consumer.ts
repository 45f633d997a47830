/**
 * Producer and Consumer: two Semaphores count what is free and what is full, a Lock makes them take turns.
 *
 * After test/fixtures/python/37_producer_consumer.py (seed 004).
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
      buffer.get();
      console.log('Consumer pop an element');
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
      buffer.put(1);
      console.log('Producer append an element');
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
