/** A Worker (worker_threads) that blocks in one of our calls can still be ended. */

import { describe, expect, test } from 'vitest';
import { report, runOk } from './support/fixture.js';

const WAITS: Record<string, string> = {
  Lock: 'const lock = new mp.Lock(); lock.acquire(); said(); lock.acquire();',
  Semaphore: 'const semaphore = new mp.Semaphore(0); said(); semaphore.acquire();',
  Event: 'const event = new mp.Event(); said(); event.wait();',
  Barrier: 'const barrier = new mp.Barrier(2); said(); barrier.wait();',
  Condition: 'const condition = new mp.Condition(); condition.acquire(); said(); condition.wait();',
  sleep: 'said(); mp.sleep(1e6);',
  'posix sem.wait': `${semaphore()} said(); semaphore.wait();`,
  'posix sem.timedWait': `${semaphore()} said(); semaphore.timedWait(1e6);`,
  'posix read': 'const [r] = posix.pipe(); said(); posix.read(r, 10);',
  'posix read into a view': 'const [r] = posix.pipe(); said(); posix.read(r, new Uint8Array(5));',
  'posix write':
    "const [, w] = posix.pipe(); posix.write(w, 'x'.repeat(65_536)); said(); posix.write(w, 'y');",
  'posix recvFds': 'const [a] = posix.socketpair(); said(); posix.recvFds(a, 10, 1);',
  'posix poll': 'const [r] = posix.pipe(); said(); posix.poll([{ fd: r, events: posix.POLLIN }]);',
  'posix waitpid': `${child()} said(); posix.waitpid(pid);`,
  'posix waitpid of any': `${child()} said(); posix.waitpid(-1, posix.WUNTRACED);`,
};

function semaphore(): string {
  return `
    const name = '/mpt' + process.pid + '_worker';
    const semaphore = posix.semOpen(name, posix.O_CREAT | posix.O_EXCL);
    semaphore.unlink();`;
}

/** A child that ends when this process does: its stdin is a pipe that nobody else has. */
function child(): string {
  return `
    const [r, w] = posix.pipe();
    const pid = posix.spawn('/bin/cat', ['cat'], { fileActions: [[posix.POSIX_SPAWN_DUP2, r, 0]] });`;
}

describe.each(Object.entries(WAITS))('a Worker in %s', (_name, wait) => {
  test.each(['await worker.terminate()', 'process.exit(0)'])('%s', async (end) => {
    const result = await runOk({
      mjs: `
        import { Worker } from 'node:worker_threads';
        const body = ${JSON.stringify(wait)};
        const worker = new Worker(
          "const { parentPort } = require('node:worker_threads');" +
            "Promise.all([import('node-multiprocessing'), import('node-multiprocessing/posix')]).then(([{ default: mp }, posix]) => { const said = () => parentPort.postMessage(1); " + body + " });",
          { eval: true },
        );
        await new Promise((resolve) => worker.once('message', resolve));
        await new Promise((resolve) => setTimeout(resolve, 50));
        ${end};
        console.log('ended');`,
    });
    expect(result.code, report(result)).toBe(0);
  });
});

describe('a Worker ends that alone has loaded the package', () => {
  const KEEPS: Record<string, string> = {
    SharedMemory:
      "const { SharedMemory } = require('node-multiprocessing/sharedMemory');" +
      'globalThis.kept = new SharedMemory({ create: true, size: 4096 }); kept.unlink();',
    Lock: 'globalThis.kept = new mp.Lock();',
    Array: "globalThis.kept = mp.Array('i', 100_000);",
    Queue: 'globalThis.kept = new mp.Queue();',
  };
  test.each(Object.entries(KEEPS))('with a %s', async (_name, keeps) => {
    const result = await runOk({
      mjs: `
        import { Worker } from 'node:worker_threads';
        const worker = new Worker(
          "const mp = require('node-multiprocessing');" + ${JSON.stringify(keeps)} +
            "require('node:worker_threads').parentPort.postMessage(1); setInterval(() => {}, 1000);",
          { eval: true },
        );
        await new Promise((resolve) => worker.once('message', resolve));
        await worker.terminate();
        console.log('ended');`,
    });
    expect(result.stdout, report(result)).toBe('ended\n');
  });
});
