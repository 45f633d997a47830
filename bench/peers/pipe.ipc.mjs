/** Driver of bench/pipe.mjs: the channel of child_process.fork, with structured clone. */

import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { expectExit, serve } from './serve.mjs';

const now = () => process.hrtime.bigint();

async function roundTrips(count, make, check) {
  const child = fork(fileURLToPath(new URL('pipe.echo.mjs', import.meta.url)), {
    serialization: 'advanced',
  });
  child.send('warm');
  await once(child, 'message');
  const ns = await new Promise((resolve) => {
    let i = 0;
    const begin = now();
    child.on('message', (message) => {
      if (!check(message, i)) throw new Error('another message came back');
      if (++i === count) resolve(Number(now() - begin) / count);
      else child.send(make(i));
    });
    child.send(make(0));
  });
  child.disconnect();
  const [code] = await once(child, 'exit');
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
