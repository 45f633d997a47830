/** Driver of bench/pipe.mjs: a Worker's MessagePort. A thread of the same process, not a process. */

import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { expectExit, serve } from './serve.mjs';

const now = () => process.hrtime.bigint();
const ECHO = `
  const { parentPort } = require('node:worker_threads');
  parentPort.on('message', (message) => {
    if (message === 'end') parentPort.close();
    else parentPort.postMessage(message);
  });
`;

async function roundTrips(count, make, check) {
  const worker = new Worker(ECHO, { eval: true });
  worker.postMessage('warm');
  await once(worker, 'message');
  const ns = await new Promise((resolve) => {
    let i = 0;
    const begin = now();
    worker.on('message', (message) => {
      if (!check(message, i)) throw new Error('another message came back');
      if (++i === count) resolve(Number(now() - begin) / count);
      else worker.postMessage(make(i));
    });
    worker.postMessage(make(0));
  });
  worker.postMessage('end');
  const [code] = await once(worker, 'exit');
  expectExit(code, 0);
  return { ns };
}

const value = ({ count }) =>
  roundTrips(
    count,
    (id) => ({ id, name: 'item' }),
    (message, i) => message.id === i,
  );

await serve({
  bytes({ count, size }) {
    const bytes = Buffer.alloc(size, 7);
    return roundTrips(
      count,
      () => bytes,
      (message) => message.length === size,
    );
  },
  value,
  loop: value,
});
