/** Driver of bench/synchronize.mjs: this package. Each call answers the nanoseconds of one operation. */

import { Barrier, Event, Lock, Process, Value } from 'node-multiprocessing';
import { expectExit, serve } from './serve.mjs';

const now = () => process.hrtime.bigint();
const per = (begin, count) => Number(now() - begin) / count;

function children(count, target) {
  const started = Array.from({ length: count }, () => new Process({ target }));
  for (const child of started) child.start();
  return () => {
    for (const child of started) {
      child.join();
      expectExit(child.exitcode, 0);
      child.close();
    }
  };
}

await serve({
  lock({ count }) {
    const lock = new Lock();
    const begin = now();
    for (let i = 0; i < count; i++) {
      lock.acquire();
      lock.release();
    }
    return { ns: per(begin, count) };
  },
  contended({ processes, count }) {
    const lock = new Lock();
    const ready = new Barrier(processes + 1);
    const join = children(processes, () => {
      ready.wait();
      for (let i = 0; i < count; i++) {
        lock.acquire();
        lock.release();
      }
    });
    ready.wait();
    const begin = now();
    join();
    return { ns: per(begin, processes * count) };
  },
  event({ count }) {
    const there = new Event();
    const back = new Event();
    const join = children(1, () => {
      for (let i = 0; i < count; i++) {
        there.wait();
        there.clear();
        back.set();
      }
    });
    const begin = now();
    for (let i = 0; i < count; i++) {
      there.set();
      back.wait();
      back.clear();
    }
    const ns = per(begin, 2 * count);
    join();
    return { ns };
  },
  barrier({ parties, count }) {
    const barrier = new Barrier(parties);
    const join = children(parties - 1, () => {
      for (let i = 0; i <= count; i++) barrier.wait();
    });
    barrier.wait();
    const begin = now();
    for (let i = 0; i < count; i++) barrier.wait();
    const ns = per(begin, count);
    join();
    return { ns };
  },
  valueLocked({ count }) {
    const value = Value('i', 0);
    const begin = now();
    for (let i = 0; i < count; i++) {
      const lock = value.getLock();
      lock.acquire();
      value.value += 1;
      lock.release();
    }
    const ns = per(begin, count);
    if (value.value !== count) throw new Error(`counted ${value.value}`);
    return { ns };
  },
  valueAtomic({ count }) {
    const value = Value('i', 0);
    const begin = now();
    for (let i = 0; i < count; i++) value.add(1);
    const ns = per(begin, count);
    if (value.value !== count) throw new Error(`counted ${value.value}`);
    return { ns };
  },
  create({ count }) {
    const before = process.memoryUsage.rss();
    const begin = now();
    const locks = Array.from({ length: count }, () => new Lock());
    return { ns: per(begin, 1), bytes: process.memoryUsage.rss() - before, count: locks.length };
  },
});
