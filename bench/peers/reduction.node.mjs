// Taking values apart and putting them together, by the peer that the first argument names.
import v8 from 'node:v8';
import { isDeepStrictEqual } from 'node:util';
import { reduction } from 'node-multiprocessing';
import { serve } from './serve.mjs';

const PEERS = {
  ours: reduction,
  v8: { dumps: (value) => v8.serialize(value), loads: (bytes) => v8.deserialize(bytes) },
  json: {
    dumps: (value) => Buffer.from(JSON.stringify(value)),
    loads: (bytes) => JSON.parse(bytes.toString()),
  },
};
const { dumps, loads } = PEERS[process.argv[2]];

const records = Array.from({ length: 100 }, (_, i) => ({
  id: i,
  name: `name ${i}`,
  active: i % 2 === 0,
  score: i * 1.5,
  tags: ['a', 'b'],
}));
const VALUES = {
  number: 42,
  small: { id: 1, name: 'x', values: [1, 2, 3] },
  text: 'x'.repeat(1024),
  records,
  integers: Array.from({ length: 1000 }, (_, i) => i * 7),
  doubles: Array.from({ length: 1000 }, (_, i) => i * 0.7),
  map: new Map(records.map(({ id, name }) => [name, id])),
  kilobyte: Buffer.alloc(1024, 1),
  megabyte: Buffer.alloc(2 ** 20, 1),
};

function timed(count, once) {
  const begin = performance.now();
  for (let i = 0; i < count; i++) once();
  return { ms: performance.now() - begin };
}

await serve({
  dumps({ value, count }) {
    const bytes = dumps(VALUES[value]);
    if (!isDeepStrictEqual(loads(bytes), VALUES[value])) throw new Error('another value');
    return timed(count, () => dumps(VALUES[value]));
  },
  loads({ value, count }) {
    const bytes = dumps(VALUES[value]);
    return timed(count, () => loads(bytes));
  },
});
