/**
 * What is decided by `process.platform` on macOS, by a program that takes itself to be there. The native side of it
 * is what `npm run test:portable` runs.
 */

import { describe, expect, test } from 'vitest';
import { runJson } from './support/fixture.js';

/** Before anything of the package is loaded. */
const ON_MACOS = `Object.defineProperty(process, 'platform', { value: 'darwin' });`;

describe.skipIf(process.platform === 'win32')('on macOS', () => {
  test('processes are spawned by default', async () => {
    const answer = await runJson<Record<string, unknown>>({
      mjs: `
        ${ON_MACOS}
        const { default: mp } = await import('node-multiprocessing');
        export function twice(queue, n) {
          queue.put([n * 2, mp.getStartMethod()]);
        }
        if (mp.parentProcess() === null) {
          const byDefault = mp.getStartMethod();
          const queue = new mp.Queue();
          const child = new mp.Process({ target: twice, args: [queue, 21] });
          child.start();
          const got = queue.get();
          child.join();
          const name = child.name;
          console.log(JSON.stringify({ byDefault, got, name, first: mp.getAllStartMethods()[0] }));
        }`,
    });
    expect(answer).toMatchObject({
      byDefault: 'spawn',
      first: 'spawn',
      got: [42, 'spawn'],
      name: 'Process-1',
    });
  });

  test('names are short enough, slash and all', async () => {
    const names = await runJson<string[]>({
      mjs: `
        ${ON_MACOS}
        const { SharedMemory, ShareableList } = await import('node-multiprocessing/sharedMemory');
        const block = new SharedMemory({ create: true, size: 1 });
        const list = new ShareableList([1]);
        console.log(JSON.stringify([block.name, list.shm.name]));
        for (const shm of [block, list.shm]) {
          shm.close();
          shm.unlink();
        }`,
    });
    for (const name of names) expect(`/${name}`.length).toBeLessThanOrEqual(31);
  });

  test('CPUs are counted without /proc', async () => {
    const [count, theirs] = await runJson<number[]>({
      mjs: `
        import os from 'node:os';
        ${ON_MACOS}
        const { cpuCount } = await import('node-multiprocessing');
        console.log(JSON.stringify([cpuCount(), os.availableParallelism()]));`,
    });
    expect(count).toBe(theirs);
  });
});
