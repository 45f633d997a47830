/**
 * Driver of bench/process.mjs: `Process` of this package, with the start method that is its argument. A spawned child
 * imports this module, too, as any program's: what a child runs is exported, and what only the driver needs is loaded
 * under the guard.
 */

import { getContext, parentProcess } from 'node-multiprocessing';

export function noop() {}

/** Children do run their target, and in a process of their own. */
export function exit(code, parent) {
  process.exit(process.pid === parent ? 0 : code);
}

export function idle(ready, collect) {
  if (collect) globalThis.gc();
  setTimeout(() => {}, 60_000);
  ready.put('ready');
}

if (parentProcess() === null) {
  const { Process, SimpleQueue } = getContext(process.argv[2]);
  const { memoryOf } = await import('../support/memory.mjs');
  const { expectExit, fill, serve } = await import('./serve.mjs');

  await serve({
    fill,
    /** Start and join, and of that the time of `start()`. */
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
      const child = new Process({ target: exit, args: [secret, process.pid] });
      child.start();
      child.join();
      expectExit(child.exitcode, secret);
    },
    /** The memory of a child that is alive and idle; with `collect`, after a full collection of its own. */
    async idle({ collect = false }) {
      const ready = new SimpleQueue();
      const child = new Process({ target: idle, args: [ready, collect] });
      child.start();
      ready.get();
      await new Promise((resolve) => setTimeout(resolve, 300));
      const memory = memoryOf(child.pid);
      child.kill();
      child.join();
      expectExit(child.exitcode, -9);
      return { memory };
    },
  });
}
