/**
 * A block of memory with a name: the child opens it by the name and writes, the parent reads.
 *
 * After test/fixtures/python/27_shared_memory.py (seed 002).
 */

import { Process } from 'node-multiprocessing';
import { SharedMemory } from 'node-multiprocessing/sharedMemory';

const name = `shm_${process.pid}`;

function func(args: number[]): void {
  const shm = new SharedMemory({ name });
  shm.buf.set(args);
}

const shm = new SharedMemory({ name, create: true, size: 4096 });

const p = new Process({ target: func, args: [[1, 2, 3, 4, 5]] });
p.start();
p.join();

for (const item of shm.buf.subarray(0, 10)) process.stdout.write(`${item} `);
console.log();

shm.close();
shm.unlink();
