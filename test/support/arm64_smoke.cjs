/**
 * The package in an emulated Node (scripts/test-arm64.mjs): the addon that was built for it is loaded, a process is
 * forked where that is possible, and locks, values, shared memory and messages work. Prints what it has done.
 */

'use strict';

const assert = require('node:assert/strict');
const mp = require('node-multiprocessing');
const { SharedMemory } = require('node-multiprocessing/sharedMemory');

const loaded = Object.keys(require.cache).filter((file) => file.endsWith('.node'));
assert.deepEqual(loaded, [process.env.MP_SMOKE_ADDON]);
assert.equal(process.arch, 'arm64');
console.log(`${process.version} ${process.arch}: the addon is loaded`);

const lock = new mp.Lock();
assert.equal(lock.acquire(), true);
assert.equal(lock.acquire(true, 0.01), false);
lock.release();
const value = mp.Value('i', 41);
value.value += 1;
assert.equal(value.value, 42);
console.log('locks and values');

const memory = new SharedMemory({ create: true, size: 4096 });
const again = new SharedMemory({ name: memory.name });
memory.buf[7] = 9;
assert.equal(again.buf[7], 9);
again.close();
memory.close();
memory.unlink();
console.log('shared memory');

const [left, right] = mp.Pipe();
left.send({ text: 'hello', bytes: Buffer.alloc(100_000, 7) });
assert.equal(right.recv().text, 'hello');
const queue = new mp.Queue();
queue.put([1, 2, 3]);
assert.deepEqual(queue.get(), [1, 2, 3]);
console.log('pipes and queues');

const child = new mp.Process({
  target() {
    for (let i = 0; i < 100; i++) lock.with(() => (value.value += 1));
    queue.put({ pid: process.pid });
  },
});
child.start();
const { pid } = queue.get(true, 60);
child.join(60);
assert.equal(pid, child.pid);
assert.equal(child.exitcode, 0);
assert.equal(value.value, 142);
console.log('a forked process');
