/**
 * Driver of bench/process.mjs: `Process` of this package, start method spawn or the one that is named. The child imports this module, too, as any
 * program's: what only the driver needs is loaded under the guard.
 */

import { getContext, parentProcess } from 'node-multiprocessing';

export function noop() {}

export function exit(code) {
  process.exit(code);
}

export function idle(ready) {
  setTimeout(() => {}, 60_000);
  ready.put('ready');
}

if (parentProcess() === null) {
  const { Process, SimpleQueue } = getContext(process.argv[2] ?? 'spawn');
  const { memoryOf } = await import('../support/memory.mjs');
  const { expectExit, fill, serve } = await import('./serve.mjs');

  const calls = {
    fill,
    run() {
      const begin = performance.now();
      const child = new Process({ target: noop });
      child.start();
      const started = performance.now();
      child.join();
      const end = performance.now();
      expectExit(child.exitcode, 0);
      child.close();
      return { ms: end - begin, startMs: started - begin };
    },
    prove() {
      const secret = 1 + Math.floor(Math.random() * 250);
      const child = new Process({ target: exit, args: [secret] });
      child.start();
      child.join();
      expectExit(child.exitcode, secret);
    },
    async idle() {
      const ready = new SimpleQueue();
      const child = new Process({ target: idle, args: [ready] });
      child.start();
      ready.get();
      await new Promise((resolve) => setTimeout(resolve, 300));
      const memory = memoryOf(child.pid);
      child.kill();
      child.join();
      expectExit(child.exitcode, -9);
      return { memory };
    },
  };
  await serve(calls);
}
