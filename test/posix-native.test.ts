/**
 * What native/binding/posix.cc offers the package itself, beyond `/posix`: waiting with a timeout, sleeping, knowing
 * a process again. Fixtures reach it through support/native.mjs.
 */

import { describe, expect, it } from 'vitest';
import { sleep, timeoutMs } from '../src/clock.js';
import { report, runFixture, runOk } from './support/fixture.js';

const onPosix = describe.skipIf(process.platform === 'win32');
/** And not with what macOS takes in its place (npm run test:portable). */
const onLinux = it.skipIf(process.platform !== 'linux' || process.env['MP_TEST_PORTABLE'] === '1');

async function check(body: string): Promise<void> {
  await runOk({
    mjs: `
      import assert from 'node:assert/strict';
      import * as posix from 'node-multiprocessing/posix';
      import { native } from '../support/native.mjs';
      import { newFds, openFds } from '../support/fds.mjs';
      const sh = (script) => posix.spawn('/bin/sh', ['sh', '-c', script]);
      const timed = (call) => {
        const start = performance.now();
        const answer = call();
        return [answer, performance.now() - start];
      };
      const fdsBefore = openFds();
      ${body}
      assert.deepEqual(newFds(fdsBefore), []);
    `,
  });
}

onPosix('waitPidTimeout', () => {
  it('answers the status when the child ends, at once', async () => {
    await check(`
      for (const timeout of [-1, 20_000, 0.5]) {
        const pid = sh('exit 3');
        if (timeout === 0.5) native.sleepMs(200);
        const [status, took] = timed(() => native.waitPidTimeout(pid, timeout));
        assert.equal(posix.waitstatusToExitcode(status), 3);
        assert.ok(took < 10_000, String(took));
      }
      const [status] = timed(() => native.waitPidTimeout(sh('kill -9 $$'), 20_000));
      assert.equal(posix.waitstatusToExitcode(status), -9);
    `);
  });

  it('answers null when the time is up, and reaps nobody', async () => {
    await check(`
      const other = sh('exit 4');
      const pid = sh('exec sleep 30');
      assert.equal(native.waitPidTimeout(pid, 0), null);
      const [status, took] = timed(() => native.waitPidTimeout(pid, 50.5));
      assert.equal(status, null);
      assert.ok(took >= 50 && took < 5000, String(took));
      posix.kill(pid, 'SIGKILL');
      assert.equal(posix.waitstatusToExitcode(native.waitPidTimeout(pid, -1)), -9);
      assert.equal(posix.waitstatusToExitcode(posix.waitpid(other)[1]), 4);
    `);
  });

  it('answers -1 when the child is not ours or was reaped by somebody else', async () => {
    await check(`
      const pid = sh('exit 0');
      posix.waitpid(pid);
      for (const timeout of [-1, 0, 1000]) assert.equal(native.waitPidTimeout(pid, timeout), -1);
      assert.equal(native.waitPidTimeout(posix.getppid(), 1000), -1);
    `);
  });

  it('leaves the children of child_process to it', async () => {
    await check(`
      import { spawn } from 'node:child_process';
      import { once } from 'node:events';
      const theirs = spawn('/bin/sh', ['-c', 'exit 6'], { stdio: 'ignore' });
      assert.equal(native.waitPidTimeout(sh('sleep 0.2; exit 1'), 20_000) >> 8, 1);
      assert.deepEqual(await once(theirs, 'exit'), [6, null]);
    `);
  });

  it('goes on after a signal, to its deadline', async () => {
    await check(`
      process.on('SIGUSR2', () => {});
      const pid = sh(\`for i in 1 2 3 4 5; do kill -USR2 \${process.pid}; sleep 0.02; done; exec sleep 30\`);
      const [status, took] = timed(() => native.waitPidTimeout(pid, 300));
      assert.equal(status, null);
      assert.ok(took >= 300 && took < 5000, String(took));
      posix.kill(pid, 'SIGKILL');
      native.waitPidTimeout(pid, -1);
    `);
  });

  it('does not keep Ctrl-C from ending the process', async () => {
    for (const timeout of [-1, 20_000]) {
      const result = await runFixture({
        mjs: `
          import { spawn } from 'node-multiprocessing/posix';
          import { native } from '../support/native.mjs';
          const pid = spawn('/bin/sh', ['sh', '-c', \`sleep 0.2; kill -INT \${process.pid}; sleep 0.3\`]);
          native.waitPidTimeout(pid, ${timeout});
        `,
      });
      expect(result, report(result)).toMatchObject({ signal: 'SIGINT' });
    }
  });
});

describe('sleep', () => {
  it('lasts as long as asked, whatever signals arrive', async () => {
    await check(`
      const [, short] = timed(() => native.sleepMs(30.5));
      assert.ok(short >= 30.4 && short < 5000, String(short));
      assert.ok(timed(() => native.sleepMs(0))[1] < 1000);
      if (process.platform === 'win32') process.exit();
      process.on('SIGUSR2', () => {});
      const pid = sh(\`for i in 1 2 3 4 5; do kill -USR2 \${process.pid}; sleep 0.02; done\`);
      const [, interrupted] = timed(() => native.sleepMs(300));
      assert.ok(interrupted >= 300 && interrupted < 5000, String(interrupted));
      posix.waitpid(pid);
    `);
  });

  it('takes seconds, and no nonsense', () => {
    const begin = performance.now();
    sleep(0.05);
    expect(performance.now() - begin).toBeGreaterThanOrEqual(50);
    sleep(0);
    const negative = { name: 'ValueError', message: 'sleep length must be non-negative' };
    expect(() => sleep(-1)).toThrow(expect.objectContaining(negative));
    for (const [length, name] of [
      [Number.NaN, 'ValueError'],
      [Infinity, 'RangeError'],
      ['1', 'TypeError'],
      [undefined, 'TypeError'],
    ]) {
      expect(() => sleep(length as number), String(length)).toThrow(
        expect.objectContaining({ name }),
      );
    }
  });
});

describe('timeoutMs', () => {
  it.each([
    [undefined, -1],
    [null, -1],
    [Infinity, -1],
    [0, 0],
    [-0, 0],
    [-1, 0],
    [-Infinity, 0],
    [0.25, 250],
  ])('%s is %s', (timeout, expected) => {
    expect(timeoutMs(timeout)).toBe(expected);
  });

  it('takes no nonsense', () => {
    expect(() => timeoutMs(Number.NaN)).toThrow(expect.objectContaining({ name: 'ValueError' }));
    const named = { name: 'TypeError', message: expect.stringMatching(/^patience/) as string };
    expect(() => timeoutMs('1' as never, 'patience')).toThrow(expect.objectContaining(named));
  });
});

describe('processStartTime', () => {
  it('tells processes apart, and null for none', async () => {
    await check(`
      const own = native.processStartTime(process.pid);
      assert.ok(own > 0 && Number.isSafeInteger(own));
      assert.equal(native.processStartTime(process.pid), own);
      if (process.platform === 'win32') process.exit();
      native.sleepMs(50);
      const pid = sh('exec sleep 30');
      const childs = native.processStartTime(pid);
      assert.ok(childs > own);
      posix.kill(pid, 'SIGKILL');
      posix.poll([], 0.1);
      assert.equal(native.processStartTime(pid), childs); // A zombie now.
      posix.waitpid(pid);
      assert.equal(native.processStartTime(pid), null);
    `);
  });

  onLinux('is what /proc shows', async () => {
    await check(`
      import { readFileSync } from 'node:fs';
      process.title = 'a) (b 1 2 3';
      const stat = readFileSync('/proc/self/stat', 'utf8');
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      assert.equal(native.processStartTime(process.pid), Number(fields[22 - 3]));
    `);
  });
});

onPosix('setPdeathsig', () => {
  onLinux('ends the child with its parent', async () => {
    const { stdout } = await runOk('posix-pdeathsig.mjs');
    expect(stdout).toBe('the child was killed\n');
  });

  onLinux('takes signals only', async () => {
    await check(`
      native.setPdeathsig(15);
      native.setPdeathsig(0);
      assert.throws(() => native.setPdeathsig(12345), { code: 'EINVAL', syscall: 'prctl' });
    `);
  });
});

onPosix('writeAllSync', () => {
  it('writes everything, blocking or not', async () => {
    await check(`
      for (const blocking of [true, false]) {
        const [r, w] = posix.pipe();
        const [resultRead, resultWrite] = posix.pipe();
        const pid = posix.spawn('/bin/sh', ['sh', '-c', 'sleep 0.1; wc -c'], {
          fileActions: [[posix.POSIX_SPAWN_DUP2, r, 0], [posix.POSIX_SPAWN_DUP2, resultWrite, 1]],
        });
        posix.close(r);
        posix.close(resultWrite);
        posix.setBlocking(w, blocking);
        native.writeAllSync(w, Buffer.alloc(1_000_003));
        native.writeAllSync(w, new Uint8Array(0));
        posix.close(w);
        assert.equal(Number(posix.read(resultRead, 100)), 1_000_003);
        posix.close(resultRead);
        posix.waitpid(pid);
      }
    `);
  });

  it('throws EPIPE when nobody reads, also when the reader goes in the middle', async () => {
    await check(`
      const [r, w] = posix.pipe();
      const pid = posix.spawn('/bin/sh', ['sh', '-c', 'sleep 0.1; head -c 10 >/dev/null'], {
        fileActions: [[posix.POSIX_SPAWN_DUP2, r, 0]],
      });
      posix.close(r);
      assert.throws(() => native.writeAllSync(w, Buffer.alloc(1_000_000)), { code: 'EPIPE', syscall: 'write' });
      assert.throws(() => native.writeAllSync(w, Buffer.alloc(1)), { code: 'EPIPE' });
      posix.waitpid(pid);
      posix.close(w);
      assert.throws(() => native.writeAllSync(w, Buffer.alloc(1)), { code: 'EBADF' });
    `);
  });
});
