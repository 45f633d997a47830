/** Driver of bench/pool.mjs: this package. Times in nanoseconds. */

import { getContext, parentProcess, Pool } from 'node-multiprocessing';
import { memoryOf } from '../support/memory.mjs';
import { busy, trivial } from './pool.tasks.mjs';
import { serve } from './serve.mjs';

const now = () => process.hrtime.bigint();
const SIZE = 4;

let pool;
function warm() {
  if (pool === undefined) {
    pool = new Pool(SIZE);
    pool.map(
      trivial,
      Array.from({ length: 2000 }, (_, i) => i),
      1,
    );
  }
  return pool;
}

function check(results, count) {
  if (results.length !== count || results[count - 1] !== count - 1)
    throw new Error('wrong results');
}

function start(context) {
  const begin = now();
  const fresh = new context.Pool(SIZE);
  check(fresh.map(trivial, [0, 1, 2, 3], 1), SIZE);
  const ns = Number(now() - begin);
  fresh.terminate();
  return { ns };
}

const CALLS = {
  start: () => start({ Pool }),
  spawn: () => start(getContext('spawn')),
  chunks({ count }) {
    const items = Array.from({ length: count }, (_, i) => i);
    const { map } = { map: (list) => warm().map(trivial, list) };
    map(items);
    const begin = now();
    const results = map(items);
    const ns = Number(now() - begin) / count;
    check(results, count);
    return { ns };
  },
  each({ count }) {
    const items = Array.from({ length: count }, (_, i) => i);
    warm();
    const begin = now();
    const results = pool.map(trivial, items, 1);
    const ns = Number(now() - begin) / count;
    check(results, count);
    return { ns };
  },
  apply({ count }) {
    warm();
    const begin = now();
    for (let i = 0; i < count; i++) {
      if (pool.apply(trivial, [i]) !== i) throw new Error('a wrong result');
    }
    return { ns: Number(now() - begin) / count };
  },
  async applyAsync({ count }) {
    warm();
    const begin = now();
    for (let i = 0; i < count; i++) {
      if ((await pool.applyAsync(trivial, [i])) !== i) throw new Error('a wrong result');
    }
    return { ns: Number(now() - begin) / count };
  },
  busy({ count, milliseconds }) {
    warm();
    const begin = now();
    pool.map(busy, Array(count).fill(milliseconds), 1);
    return { ns: Number(now() - begin) / count };
  },
  /** A new closure for each task. */
  closures({ count }) {
    warm();
    const begin = now();
    for (let i = 0; i < count; i++) {
      const box = { i };
      if (pool.apply(() => box.i) !== i) throw new Error('a wrong result');
    }
    return { ns: Number(now() - begin) / count };
  },
  /** An arrow in a loop, that closes over nothing but numbers. */
  arrows({ count }) {
    warm();
    const begin = now();
    for (let i = 0; i < count; i++) {
      if (pool.apply((x) => x + 1, [i]) !== i + 1) throw new Error('a wrong result');
    }
    return { ns: Number(now() - begin) / count };
  },
  memory() {
    warm();
    const bytes = pool._pool.map(({ pid }) => memoryOf(pid).private);
    return { bytes: bytes.reduce((sum, one) => sum + one, 0) / bytes.length };
  },
  end() {
    pool?.terminate();
    pool = undefined;
  },
};

if (parentProcess() === null) await serve(CALLS);
