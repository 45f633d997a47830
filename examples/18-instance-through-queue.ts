/**
 * An instance of a class travels through a Queue, and its methods work in the child.
 *
 * After test/fixtures/python/18_instance_through_queue.py (seed 001).
 */

import { currentProcess, Process, Queue, reduction } from 'node-multiprocessing';

class MyFancyClass {
  readonly name: string;

  constructor(name: string) {
    this.name = name;
  }

  doSomething(): void {
    const procName = currentProcess().name;
    console.log(`Doing something fancy in ${procName} for ${this.name}!`);
  }
}
reduction.register(MyFancyClass);

function worker(q: Queue<MyFancyClass>): void {
  const obj = q.get();
  obj.doSomething();
}

const queue = new Queue<MyFancyClass>();

const p = new Process({ target: worker, args: [queue] });
p.start();

queue.put(new MyFancyClass('Fancy Dan'));

// Wait for the worker to finish
queue.close();
queue.joinThread();
p.join();
