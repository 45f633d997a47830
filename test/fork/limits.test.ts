/** Running out of descriptors and processes, and what a fork refuses. */

import { spawnSync } from 'node:child_process';
import { describe, expect, test } from 'vitest';
import { report, runFixture, runOk, type RunOptions } from '../support/fixture.js';

/** Runs node below a shell's limit. */
function limited(limit: string, shell = '/bin/sh'): RunOptions {
  const node = process.env['MP_TEST_NODE'] ?? process.execPath;
  return { node: shell, execArgv: ['-c', `${limit} && exec "$@"`, 'sh', node] };
}

describe('descriptors run out', () => {
  const PROGRAM = {
    mjs: `
      import mp from 'node-multiprocessing';
      import * as posix from 'node-multiprocessing/posix';
      import assert from 'node:assert';
      import fs from 'node:fs';
      const count = () => fs.readdirSync('/proc/self/fd').length;
      const run = (target) => { const p = new mp.Process({ target }); p.start(); p.join(); const { exitcode } = p; p.close(); return exitcode; };
      assert.equal(run(() => {}), 0);
      const kept = [];
      // Filled to the brim, and then given back one by one: a start must fail cleanly or work, at each step.
      for (;;) { try { kept.push(posix.dup(0)); } catch (error) { assert.equal(error.code, 'EMFILE'); break; } }
      const outcomes = [];
      for (;;) {
        let outcome;
        const child = new mp.Process({ target: async () => { await new Promise((r) => setTimeout(r, 1)); process.exit(5); } });
        try {
          child.start();
          child.join();
          outcome = child.exitcode;
          child.close();
        } catch (error) {
          outcome = error.code ?? String(error);
          assert.equal(child.pid, null);
          assert.equal(mp.activeChildren().length, 0);
        }
        outcomes.push(outcome);
        assert.throws(() => posix.waitpid(-1, posix.WNOHANG), { code: 'ECHILD' }, 'a child is left after ' + outcome);
        // Full again but for what was freed: nothing leaked.
        if (outcome === 5 && outcomes.filter((o) => o === 5).length > 3) break;
        posix.close(kept.pop());
      }
      for (const fd of kept) posix.close(fd);
      const before = count();
      assert.equal(run(() => {}), 0);
      assert.equal(count(), before);
      console.log(JSON.stringify(outcomes));
    `,
  };

  test('start() throws EMFILE, leaks nothing, and works again', async () => {
    const result = await runOk(PROGRAM, limited('ulimit -n 60'));
    const outcomes = JSON.parse(result.stdout) as (string | number)[];
    expect(outcomes[0], report(result)).toBe('EMFILE');
    expect(new Set(outcomes), report(result)).toEqual(new Set(['EMFILE', 5]));
    expect(outcomes.lastIndexOf('EMFILE'), report(result)).toBe(outcomes.indexOf(5) - 1);
  });

  test('at the very first fork', async () => {
    const result = await runOk(
      {
        mjs: `
          import mp from 'node-multiprocessing';
          import * as posix from 'node-multiprocessing/posix';
          const kept = [];
          for (;;) { try { kept.push(posix.dup(0)); } catch { break; } }
          const seen = [];
          const p = new mp.Process({ target: () => {} });
          try { p.start(); seen.push('started'); } catch (error) { seen.push(error.code ?? String(error)); }
          for (const fd of kept) posix.close(fd);
          p.start(); p.join(); seen.push(p.exitcode);
          console.log(JSON.stringify(seen));`,
      },
      limited('ulimit -n 60'),
    );
    expect(JSON.parse(result.stdout), report(result)).toEqual(['EMFILE', 0]);
  });

  test('posix.fork()', async () => {
    const result = await runOk(
      {
        mjs: `
          import * as posix from 'node-multiprocessing/posix';
          const kept = [];
          for (;;) { try { kept.push(posix.dup(0)); } catch { break; } }
          const seen = [];
          try { posix.fork(); seen.push('forked'); } catch (error) { seen.push([error.code, error.syscall === undefined]); }
          for (const fd of kept) posix.close(fd);
          const pid = posix.fork();
          if (pid === 0) process.exit(4);
          seen.push(posix.waitpid(pid)[1] >> 8);
          console.log(JSON.stringify(seen));`,
      },
      limited('ulimit -n 60'),
    );
    expect(JSON.parse(result.stdout), report(result)).toEqual([['EMFILE', false], 4]);
  });
});

describe('descriptors beyond the limit', () => {
  test.each(['fork', 'spawn', 'forkserver'])('are no obstacle: %s', async (method) => {
    const result = await runOk(
      {
        mjs: `
          import mp from 'node-multiprocessing';
          import fs from 'node:fs';
          const has = () => fs.readdirSync('/proc/self/fd').includes('251');
          export const tell = (answers) => answers.put(has());
          if (mp.parentProcess() === null) {
            const { Process, SimpleQueue } = mp.getContext('${method}');
            const answers = new SimpleQueue();
            const child = new Process({ target: tell, args: [answers] });
            child.start();
            child.join();
            console.log(JSON.stringify([child.exitcode, has(), answers.get()]));
          }`,
      },
      // Other shells have descriptors of one digit.
      limited('exec 251</dev/null && ulimit -n 200', '/bin/bash'),
    );
    expect(JSON.parse(result.stdout), report(result)).toEqual([0, true, method === 'fork']);
  });
});

describe('without /proc', () => {
  const hide = ['-mpf', 'sh', '-c'];
  const mayHide = spawnSync('unshare', [...hide, 'umount -l /proc']).status === 0;

  test.skipIf(!mayHide)('a fork is refused, again and again', async () => {
    const node = process.env['MP_TEST_NODE'] ?? process.execPath;
    const result = await runOk(
      {
        mjs: `
          import mp from 'node-multiprocessing';
          const messages = [1, 2, 3].map(() => {
            try { new mp.Process({ target() {} }).start(); } catch (error) { return error.message; }
          });
          console.log(JSON.stringify(messages));`,
      },
      { node: 'unshare', execArgv: [...hide, 'umount -l /proc && exec "$@"', 'sh', node] },
    );
    const messages = JSON.parse(result.stdout) as string[];
    expect(messages[0]).toMatch(/cannot read \/proc\/self\/smaps/);
    expect(new Set(messages).size).toBe(1);
  });
});

describe('processes run out', () => {
  // RLIMIT_NPROC does not bind root: the program becomes somebody else.
  test('start() throws EAGAIN, leaks nothing, and works again', async (context) => {
    const result = await runFixture(
      {
        mjs: `
          import mp from 'node-multiprocessing';
          import * as posix from 'node-multiprocessing/posix';
          import assert from 'node:assert';
          import fs from 'node:fs';
          const run = (target) => { const p = new mp.Process({ target }); p.start(); p.join(); const { exitcode } = p; p.close(); return exitcode; };
          if (process.getuid() === 0) { process.setgid(47_111); process.setuid(47_111); }
          assert.equal(run(() => {}), 0);
          const fds = fs.readdirSync('/proc/self/fd').length;
          const gate = posix.pipe();
          const children = [];
          let failure;
          for (let i = 0; i < 400 && !failure; i++) {
            const child = new mp.Process({ target: () => { posix.close(gate[1]); posix.read(gate[0], 1); } });
            try { child.start(); children.push(child); } catch (error) { failure = error; assert.equal(child.pid, null); }
          }
          posix.close(gate[1]);
          // A child that cannot have the threads it needs says so and ends; it must not hang.
          for (const child of children) { child.join(); assert([0, 1].includes(child.exitcode), String(child)); child.close(); }
          posix.close(gate[0]);
          assert.equal(run(() => process.exit(6)), 6);
          assert.equal(fs.readdirSync('/proc/self/fd').length, fds);
          console.log(JSON.stringify([failure?.code ?? null, failure?.syscall ?? null]));`,
      },
      {
        ...limited('{ (ulimit -u 40) 2>/dev/null && ulimit -u 40 || ulimit -p 40; }'),
        timeoutMs: 40_000,
      },
    );
    expect(result.code, report(result)).toBe(0);
    const seen = JSON.parse(result.stdout) as [string | null, string | null];
    if (seen[0] === null) context.skip('this system does not limit the number of processes');
    // The last process there was room for may be the child, whose first thread there is none for.
    expect(seen[0]).toBe('EAGAIN');
    expect(['fork', 'pthread_create']).toContain(seen[1]);
  });
});

test('--permission: refused with a reason, or works', async (context) => {
  const [major] = process.versions.node.split('.');
  const version = process.env['MP_TEST_NODE'];
  if (version === undefined && Number(major) < 22) context.skip('this node has no --permission');
  const result = await runFixture(
    {
      mjs: `
        import mp from 'node-multiprocessing';
        const child = new mp.Process({ target: () => {} });
        try { child.start(); child.join(); console.log(child.exitcode); } catch (error) { console.log(error.name, error.message); }`,
    },
    { execArgv: ['--permission', '--allow-fs-read=*', '--allow-addons'] },
  );
  if (result.code === 9) context.skip('this node has no --permission');
  expect(result.stdout, report(result)).toMatch(/^(0|RuntimeError .*--permission.*)\n$/s);
});
