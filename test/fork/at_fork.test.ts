/** registerAtFork: Python's os.register_at_fork. */

import { expect, test } from 'vitest';
import { report, runOk } from '../support/fixture.js';

const HEAD = `
  import mp from 'node-multiprocessing';
  import * as posix from 'node-multiprocessing/posix';
  import fs from 'node:fs';
  import assert from 'node:assert';
  const parent = process.pid;
  const say = (text) => fs.writeSync(1, text + ' in ' + (posix.getpid() === parent ? 'parent' : 'child') + '\\n');
  const run = (target) => { const p = new mp.Process({ target }); p.start(); p.join(); return p.exitcode; };
`;

const HOOKS = `
  for (const n of [1, 2, 3]) {
    posix.registerAtFork({
      before: () => say('before ' + n),
      afterInParent: () => say('after ' + n),
      afterInChild: () => say('after ' + n),
    });
  }
`;

const AROUND = ['before 3 in parent', 'before 2 in parent', 'before 1 in parent'];
const AFTER = (who: string) => [1, 2, 3].map((n) => `after ${n} in ${who}`);

test('hooks run in the order of Python, around a Process', async () => {
  const { stdout } = await runOk({ mjs: `${HEAD}${HOOKS} run(() => say('target'));` });
  const lines = stdout.trimEnd().split('\n');
  expect(lines.slice(0, 3)).toEqual(AROUND);
  expect(lines.filter((line) => line.endsWith('child'))).toEqual([
    ...AFTER('child'),
    'target in child',
  ]);
  expect(lines.filter((line) => line.endsWith('parent'))).toEqual([...AROUND, ...AFTER('parent')]);
});

test('and around posix.fork()', async () => {
  const { stdout } = await runOk({
    mjs: `${HEAD}${HOOKS}
      const pid = posix.fork();
      say('on');
      if (pid === 0) process.exit(0);
      assert.deepEqual(posix.waitpid(pid), [pid, 0]);`,
  });
  const lines = stdout.trimEnd().split('\n');
  expect(lines.slice(0, 3)).toEqual(AROUND);
  expect(lines.filter((line) => line.endsWith('child'))).toEqual([
    ...AFTER('child'),
    'on in child',
  ]);
  expect(lines.filter((line) => line.endsWith('parent'))).toEqual([
    ...AROUND,
    ...AFTER('parent'),
    'on in parent',
  ]);
});

test('an error in a hook is shown and ignored', async () => {
  const result = await runOk({
    mjs: `${HEAD}
      const bad = (what) => () => { throw new TypeError('bad ' + what); };
      posix.registerAtFork({ before: bad('before'), afterInParent: bad('afterInParent'), afterInChild: bad('afterInChild') });
      posix.registerAtFork({ before: () => { throw undefined; }, afterInChild: () => say('good') });
      console.log(run(() => say('target')));`,
  });
  expect(result.stdout, report(result)).toBe('good in child\ntarget in child\n0\n');
  for (const what of ['before', 'afterInParent', 'afterInChild']) {
    expect(result.stderr.split(`TypeError: bad ${what}\n`).length, report(result)).toBe(2);
  }
});

test('hooks of the parent run in its children’s forks, too, and those of a child only there', async () => {
  const { stdout } = await runOk({
    mjs: `${HEAD}
      const name = () => mp.currentProcess().name;
      posix.registerAtFork({ before: () => fs.writeSync(1, name() + ' forks\\n') });
      run(() => {
        posix.registerAtFork({ before: () => fs.writeSync(1, 'own hook of ' + name() + '\\n') });
        run(() => {});
      });
      run(() => {});`,
  });
  expect(stdout).toBe(
    'MainProcess forks\nown hook of Process-1\nProcess-1 forks\nMainProcess forks\n',
  );
});

test('afterInParent runs after a fork that failed', async () => {
  const { stdout } = await runOk(
    {
      mjs: `${HEAD}${HOOKS}
        const kept = [];
        for (;;) { try { kept.push(posix.dup(1)); } catch { break; } }
        for (let i = 0; i < 4; i++) posix.close(kept.pop());
        let code;
        try { posix.fork(); } catch (error) { code = error.code; }
        for (const fd of kept) posix.close(fd);
        console.log(code);`,
    },
    {
      node: '/bin/sh',
      execArgv: [
        '-c',
        'ulimit -n 60 && exec "$@"',
        'sh',
        process.env['MP_TEST_NODE'] ?? process.execPath,
      ],
    },
  );
  expect(stdout.trimEnd().split('\n')).toEqual([...AROUND, ...AFTER('parent'), 'EMFILE']);
});

test('hooks see the right process, and what they change is there', async () => {
  const { stdout } = await runOk({
    mjs: `${HEAD}
      let connection = 'of the parent';
      let depth = 0;
      posix.registerAtFork({
        before: () => { depth++; },
        afterInParent: () => { depth--; },
        afterInChild: () => { connection = 'of ' + (process.pid === posix.getpid() && process.pid !== parent); Math.random(); },
      });
      run(() => console.log(connection, depth));
      console.log(connection, depth);`,
  });
  expect(stdout).toBe('of true 1\nof the parent 0\n');
});

test('timers and promises that afterInChild starts live in the child', async () => {
  const { stdout } = await runOk({
    mjs: `${HEAD}
      posix.registerAtFork({ afterInChild: () => {
        setTimeout(() => say('timer'), 5);
        process.nextTick(() => say('tick'));
        Promise.resolve().then(() => say('microtask'));
        setImmediate(() => say('immediate'));
      } });
      console.log(run(() => new Promise((resolve) => setTimeout(resolve, 30))));`,
  });
  const lines = stdout.trimEnd().split('\n');
  // Ticks and microtasks belong to the parent's turn, which does not exist in the child.
  expect(lines).toContain('timer in child');
  expect(lines).toContain('immediate in child');
  expect(lines.at(-1)).toBe('0');
  expect(lines.every((line) => !line.endsWith('in parent'))).toBe(true);
});

test('misuse is a TypeError', async () => {
  const { stdout } = await runOk({
    mjs: `${HEAD}
      for (const wrong of [undefined, {}, { before: 5 }, { afterInParent: 'x' }, { afterInChild: {} }, { before: null },
                           { before() {}, afterInChild: 1 }, { unknown() {} }]) {
        assert.throws(() => posix.registerAtFork(wrong), TypeError, JSON.stringify(wrong));
      }
      assert.throws(() => posix.registerAtFork(), { message: 'At least one argument is required.' });
      assert.throws(() => posix.registerAtFork(null), TypeError);
      assert.throws(() => posix.registerAtFork(() => {}), TypeError);
      console.log(run(() => {}));`,
  });
  expect(stdout).toBe('0\n');
});
