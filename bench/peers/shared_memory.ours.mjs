/** Driver of bench/shared_memory.mjs: this package. */

import { ShareableList, SharedMemory } from 'node-multiprocessing/sharedMemory';
import { serve } from './serve.mjs';

const SIZE = 4096;

function timed(count, once) {
  const begin = performance.now();
  for (let i = 0; i < count; i++) once(i);
  return { ms: performance.now() - begin };
}

function oneLife(i) {
  const made = new SharedMemory({ create: true, size: SIZE });
  const opened = new SharedMemory({ name: made.name });
  made.buf[0] = i & 255;
  if (opened.buf[0] !== (i & 255)) throw new Error('not the same memory');
  opened.close();
  made.close();
  made.unlink();
}

function attach({ count }) {
  const made = new SharedMemory({ create: true, size: SIZE });
  const answer = timed(count, () => new SharedMemory({ name: made.name }).close());
  made.close();
  made.unlink();
  return answer;
}

const LARGE = 2 ** 24;
const data = new Uint8Array(LARGE).fill(1);

function createLarge() {
  const made = new SharedMemory({ create: true, size: LARGE });
  made.close();
  made.unlink();
}

function fillLarge() {
  const made = new SharedMemory({ create: true, size: LARGE });
  made.buf.set(data);
  made.close();
  made.unlink();
}

function withList(use) {
  const list = new ShareableList([0, 1.5, 'text']);
  const answer = use(list);
  list.shm.close();
  list.shm.unlink();
  return answer;
}

function get({ count }) {
  return withList((list) =>
    timed(count, () => {
      if (list[0] !== 0) throw new Error('another item');
    }),
  );
}

function set({ count }) {
  return withList((list) => {
    const answer = timed(count, (i) => {
      list[0] = i;
    });
    if (list[0] !== count - 1) throw new Error('not written');
    return answer;
  });
}

await serve({
  life: ({ count }) => timed(count, oneLife),
  attach,
  create: ({ count }) => timed(count, createLarge),
  fill: ({ count }) => timed(count, fillLarge),
  get,
  set,
});
