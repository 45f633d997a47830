/** Pools of programs whose main module is not fit to be imported by a worker: an error says so, and nothing hangs. */

import { expect, describe, test } from 'vitest';
import { report, runFixture, type Program } from '../support/fixture.js';

const mjs = (method: string, text: string): Program => ({
  mjs: `import mp from 'node-multiprocessing';
    import { ProcessPoolExecutor } from 'node-multiprocessing/concurrent';
    export const square = (x) => x * x;
    const context = mp.getContext('${method}');
    ${text}`,
});

const GUARD =
  /the pool is broken: its workers end before they can work, again and again \(exit code 1\).*parentProcess\(\) === null/s;
const BOOTSTRAPPING =
  /An attempt has been made to start a new process before the\s+current process/;

export function poolMainConformance(method: string): void {
  const fails = async (text: string): Promise<string> => {
    const result = await runFixture(mjs(method, text), { timeoutMs: 50_000 });
    expect(result.timedOut, report(result)).toBe(false);
    expect(result.code, report(result)).toBe(1);
    expect(result.stdout, report(result)).toBe('');
    return result.stderr;
  };

  describe(`the main module of a pool (${method})`, () => {
    test('without a guard: the error of Python in the workers, and one in the program', async () => {
      const stderr = await fails('console.log(new context.Pool(2).map(square, [1, 2]));');
      expect(stderr).toMatch(BOOTSTRAPPING);
      expect(stderr).toMatch(GUARD);
      // So many workers are not enough to know, and no more of them are started.
      expect(stderr.match(new RegExp(BOOTSTRAPPING, 'g'))!.length).toBeLessThanOrEqual(8);
    });

    test('without a guard, on the event loop', async () => {
      const stderr = await fails(
        'console.log(await new context.Pool(2).mapAsync(square, [1, 2]));',
      );
      expect(stderr).toMatch(GUARD);
    });

    test('an executor without a guard', async () => {
      const stderr = await fails(
        'console.log(new ProcessPoolExecutor({ mpContext: context }).submit(square, 2).result());',
      );
      expect(stderr).toMatch(BOOTSTRAPPING);
      expect(stderr).toMatch(
        /BrokenProcessPool.*before it could work; .*parentProcess\(\) === null/s,
      );
    });

    test('that throws in a worker', async () => {
      const stderr = await fails(
        `if (mp.parentProcess() !== null) throw new Error('not for workers');
         console.log(new context.Pool(3).apply(square, [2]));`,
      );
      expect(stderr).toContain('not for workers');
      expect(stderr).toMatch(GUARD);
    });

    test('whose import never ends in a worker', async () => {
      const stderr = await fails(
        `if (mp.parentProcess() !== null) await new Promise(() => {});
         console.log(new context.Pool(2).apply(square, [2]));`,
      );
      expect(stderr).toMatch(/again and again \(exit code 13\)/);
    });

    test('an initializer that throws: its error is the cause', async () => {
      const stderr = await fails(
        `export function initialize() { throw new RangeError('no such thing'); }
         if (mp.parentProcess() === null) {
           console.log(new context.Pool(2, initialize).apply(square, [2]));
         }`,
      );
      expect(stderr).toMatch(/what their initializer threw.*\[cause\]: RangeError: no such thing/s);
    });
  });
}
