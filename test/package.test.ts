/**
 * The package as its users meet it: `import` and `require` find the same one implementation, with every name,
 * and a load failure says what to do.
 */

import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { runFixture, runJson, runOk } from './support/fixture.js';
import { root } from './support/paths.js';

const ERROR_CLASSES = [
  'ProcessError',
  'TimeoutError',
  'BufferTooShort',
  'AuthenticationError',
  'Empty',
  'Full',
  'ValueError',
  'AssertionError',
  'RuntimeError',
  'EOFError',
  'BrokenBarrierError',
  'BrokenExecutor',
  'BrokenProcessPool',
  'MaybeEncodingError',
  'RemoteError',
  'PicklingError',
  'UnpicklingError',
  'CancelledError',
  'InvalidStateError',
  'OwnerDiedError',
  'WorkerLostError',
];

describe('import and require', () => {
  it('give the same classes, functions and default export', async () => {
    const differing = await runJson<string[]>('package/dual.mjs', {
      args: ['node-multiprocessing'],
    });
    expect(differing).toEqual([]);
  });

  it.each(['posix', 'sharedMemory', 'connection', 'concurrent'])(
    'do so for the sub-path %s',
    async (subPath) => {
      const differing = await runJson<string[]>('package/dual.mjs', {
        args: [`node-multiprocessing/${subPath}`],
      });
      expect(differing).toEqual([]);
    },
  );

  it('work from a CommonJS program, by name and by default', async () => {
    const { stdout } = await runOk({
      cjs: `
        const { TimeoutError } = require('node-multiprocessing');
        const mp = require('node-multiprocessing').default;
        console.log(mp.TimeoutError === TimeoutError, require('node-multiprocessing/package.json').name);
      `,
    });
    expect(stdout).toBe('true node-multiprocessing\n');
  });

  it('work from an ES module, by name and by default', async () => {
    const { stdout } = await runOk({
      mjs: `
        import mp, { TimeoutError } from 'node-multiprocessing';
        console.log(mp.TimeoutError === TimeoutError, 'default' in mp);
      `,
    });
    expect(stdout).toBe('true false\n');
  });
});

describe('the error classes', () => {
  it('are all exported, each with its name on the prototype', async () => {
    const found = await runJson<Record<string, unknown>>('package/errors.mjs', {
      args: ERROR_CLASSES,
    });
    for (const name of ERROR_CLASSES) {
      expect(found[name], name).toEqual({
        className: name,
        name,
        ownName: false,
        isError: true,
        message: 'why',
        cause: 'because',
        stack: `${name}: why`,
      });
    }
  });

  it('have the hierarchy of Python', async () => {
    const { stdout } = await runOk({
      mjs: `
        import * as mp from 'node-multiprocessing';
        const parents = Object.entries(mp)
          .filter(([, value]) => typeof value === 'function' && value.prototype instanceof Error)
          .map(([name, value]) => [name, Object.getPrototypeOf(value).name])
          .filter(([, parent]) => parent !== 'Error');
        console.log(parents.map((pair) => pair.join(' < ')).sort().join('\\n'));
      `,
    });
    expect(stdout.trim().split('\n')).toEqual([
      'AuthenticationError < ProcessError',
      'BrokenBarrierError < RuntimeError',
      'BrokenExecutor < RuntimeError',
      'BrokenProcessPool < BrokenExecutor',
      'BufferTooShort < ProcessError',
      'OwnerDiedError < ProcessError',
      'TimeoutError < ProcessError',
      'WorkerLostError < ProcessError',
    ]);
  });

  it('carry their details', async () => {
    const { stdout } = await runOk({
      mjs: `
        import { BufferTooShort, WorkerLostError } from 'node-multiprocessing';
        const lost = new WorkerLostError('gone', { pid: 7, exitcode: -9, signal: 'SIGKILL' });
        const short = new BufferTooShort('short', new Uint8Array([1, 2]));
        console.log(lost.pid, lost.exitcode, lost.signal, short.data.length);
      `,
    });
    expect(stdout).toBe('7 -9 SIGKILL 2\n');
  });
});

describe('an addon that cannot be loaded', () => {
  it('is reported with the cause and the remedy', async () => {
    // A copy of the package without its binary.
    const directory = mkdtempSync(path.join(os.tmpdir(), 'mp-package-'));
    try {
      const copy = path.join(directory, 'node_modules/node-multiprocessing');
      mkdirSync(copy, { recursive: true });
      cpSync(path.join(root, 'lib'), path.join(copy, 'lib'), { recursive: true });
      cpSync(path.join(root, 'package.json'), path.join(copy, 'package.json'));
      symlinkSync(path.join(root, 'node_modules'), path.join(copy, 'node_modules'), 'junction');
      const { code, stderr } = await runFixture('package/dual.mjs', {
        args: [path.join(copy, 'lib/index.cjs')],
      });
      expect(code).toBe(1);
      expect(stderr).toContain('cannot load its native addon');
      expect(stderr).toContain('npm rebuild node-multiprocessing');
      expect(stderr).toMatch(/Cause: .*No native build was found/);
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  });
});
