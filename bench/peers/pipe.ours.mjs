/** Driver of bench/pipe.mjs: this package. Each call answers the nanoseconds of one operation. */

import { Pipe, Process, sleep } from 'node-multiprocessing';
import { expectExit, serve } from './serve.mjs';

const now = () => process.hrtime.bigint();

/** Runs `body(conn)` while a child runs `target(conn)` at the other end; answers what the body does. */
async function between(target, body) {
  const [conn, other] = Pipe();
  const child = new Process({
    target: () => {
      conn.close();
      return target(other);
    },
  });
  child.start();
  other.close();
  const ns = await body(conn);
  conn.close();
  child.join();
  expectExit(child.exitcode, 0);
  child.close();
  return { ns };
}

function echoBytes(count) {
  return (conn) => {
    for (let i = 0; i < count; i++) conn.sendBytes(conn.recvBytes());
  };
}

await serve({
  bytes: ({ count, size }) =>
    between(echoBytes(count), (conn) => {
      const message = Buffer.alloc(size, 7);
      const begin = now();
      for (let i = 0; i < count; i++) {
        conn.sendBytes(message);
        if (conn.recvBytes().length !== size) throw new Error('another message came back');
      }
      return Number(now() - begin) / count;
    }),
  value: ({ count }) =>
    between(
      (conn) => {
        for (let i = 0; i < count; i++) conn.send(conn.recv());
      },
      (conn) => {
        const begin = now();
        for (let i = 0; i < count; i++) {
          conn.send({ id: i, name: 'item' });
          if (conn.recv().id !== i) throw new Error('another value came back');
        }
        return Number(now() - begin) / count;
      },
    ),
  /** Both sides have been asleep when a message comes. */
  parked: ({ count }) =>
    between(echoBytes(count), (conn) => {
      const message = Buffer.alloc(8, 7);
      let total = 0n;
      for (let i = 0; i < count; i++) {
        sleep(0.002);
        const begin = now();
        conn.sendBytes(message);
        conn.recvBytes();
        total += now() - begin;
      }
      return Number(total) / count;
    }),
  loop: ({ count }) =>
    between(
      async (conn) => {
        for (let i = 0; i < count; i++) await conn.sendAsync(await conn.recvAsync());
      },
      async (conn) => {
        const begin = now();
        for (let i = 0; i < count; i++) {
          await conn.sendAsync({ id: i, name: 'item' });
          if ((await conn.recvAsync()).id !== i) throw new Error('another value came back');
        }
        return Number(now() - begin) / count;
      },
    ),
});
