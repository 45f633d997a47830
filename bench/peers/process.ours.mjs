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

if (parentProcess() === null) {
  const { Process } = getContext(process.argv[2]);
  const posix = await import('node-multiprocessing/posix');
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
    /**
     * The memory of a forked child that is alive and idle; with `collect`, after a full collection of its own. A queue
     * would cost it memory of its own.
     */
    async idle({ collect = false }) {
      const [read, write] = posix.pipe();
      const target = () => {
        if (collect) globalThis.gc();
        setTimeout(() => {}, 60_000);
        posix.write(write, 'ready');
      };
      const child = new Process({ target });
      child.start();
      posix.read(read, 5);
      await new Promise((resolve) => setTimeout(resolve, 300));
      const memory = memoryOf(child.pid);
      child.kill();
      child.join();
      expectExit(child.exitcode, -9);
      posix.close(read);
      posix.close(write);
      return { memory };
    },
  });
}
