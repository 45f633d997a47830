/**
 * An executor of three workers computes ten squares; `asCompleted` gives each result as soon as it is there.
 *
 * After test/fixtures/python/24_executor.py (seed 002).
 */

import { sleep } from 'node-multiprocessing';
import { asCompleted, ProcessPoolExecutor } from 'node-multiprocessing/concurrent';

function square(n: number): number {
  sleep(0.2);
  return n * n;
}

const executor = new ProcessPoolExecutor({ maxWorkers: 3 });
const tasks = Array.from({ length: 10 }, (_, num) => executor.submit(square, num));
for (const future of asCompleted(tasks)) {
  console.log(future.result());
}
executor.shutdown();
