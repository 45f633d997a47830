/**
 * Consumers take tasks, which are objects that can be called, from a JoinableQueue until they get a poison pill, and
 * put the results into a Queue.
 *
 * After test/fixtures/python/19_consumers.py (seed 001).
 */

import { cpuCount, JoinableQueue, Process, Queue, reduction, sleep } from 'node-multiprocessing';

class Task {
  readonly a: number;
  readonly b: number;

  constructor(a: number, b: number) {
    this.a = a;
    this.b = b;
  }

  call(): string {
    sleep(0.1); // pretend to take some time to do the work
    return `${this.a} * ${this.b} = ${this.a * this.b}`;
  }

  toString(): string {
    return `${this.a} * ${this.b}`;
  }
}
reduction.register(Task);

class Consumer extends Process {
  readonly taskQueue: JoinableQueue<Task | null>;
  readonly resultQueue: Queue<string>;

  constructor(taskQueue: JoinableQueue<Task | null>, resultQueue: Queue<string>) {
    super();
    this.taskQueue = taskQueue;
    this.resultQueue = resultQueue;
  }

  override run(): void {
    const procName = this.name;
    for (;;) {
      const nextTask = this.taskQueue.get();
      if (nextTask === null) {
        // Poison pill means shutdown
        console.log(`${procName}: Exiting`);
        this.taskQueue.taskDone();
        break;
      }
      console.log(`${procName}: ${nextTask}`);
      const answer = nextTask.call();
      this.taskQueue.taskDone();
      this.resultQueue.put(answer);
    }
  }
}

// Establish communication queues
const tasks = new JoinableQueue<Task | null>();
const results = new Queue<string>();

// Start consumers
const numConsumers = cpuCount() * 2;
console.log(`Creating ${numConsumers} consumers`);
const consumers = Array.from({ length: numConsumers }, () => new Consumer(tasks, results));
for (const w of consumers) w.start();

// Enqueue jobs
const numJobs = 10;
for (let i = 0; i < numJobs; i++) tasks.put(new Task(i, i));

// Add a poison pill for each consumer
for (let i = 0; i < numConsumers; i++) tasks.put(null);

// Wait for all of the tasks to finish
tasks.join();

// Start printing results
for (let left = numJobs; left > 0; left--) console.log('Result:', results.get());
