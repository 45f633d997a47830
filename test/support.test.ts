/**
 * The tests' own tools, tested: a leak that goes unnoticed makes every other test's silence worthless.
 */

import { rmSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { runFixture, runJson, runOk } from './support/fixture.js';
import { isRunning } from './support/processes.js';
import { shmLeftovers, shmSnapshot } from './support/shm.js';

const onLinux = it.skipIf(process.platform !== 'linux');

/** A fixture that leaves a process behind, in a session of its own. */
const LEAVES_A_STRAY = `
  import { spawn } from 'node:child_process';
  const child = spawn(process.execPath, ['-e', 'setTimeout(() => {}, 60000)'], { detached: true, stdio: 'inherit' });
  child.unref();
  console.log(child.pid);
`;

describe('runFixture', () => {
  it('passes arguments, environment and stdin, and returns what came out', async () => {
    const result = await runFixture(
      {
        cjs: `
          process.stdin.on('data', (data) => process.stdout.write(data));
          process.stdin.on('end', () => {
            console.error(process.argv[2], process.env.COLOUR, process.execArgv[0]);
            process.exitCode = 7;
          });
        `,
      },
      { args: ['one'], env: { COLOUR: 'red' }, execArgv: ['--no-warnings'], stdin: 'typed' },
    );
    expect(result).toMatchObject({
      code: 7,
      signal: null,
      stdout: 'typed',
      stderr: 'one red --no-warnings\n',
      timedOut: false,
      strays: [],
    });
  });

  it('kills at the limit and says what hung', async () => {
    const result = await runFixture({ mjs: 'for (;;);' }, { timeoutMs: 500 });
    expect(result).toMatchObject({ timedOut: true, code: null, signal: 'SIGKILL' });
    if (process.platform === 'linux') expect(result.hung[0]).toMatch(/state R/);
  });

  it('reports a signal', async () => {
    const result = await runFixture({
      mjs: "process.kill(process.pid, 'SIGTERM'); setTimeout(() => {}, 9e3);",
    });
    expect(result).toMatchObject({ code: null, signal: 'SIGTERM' });
  });

  onLinux('finds a process left behind in another session, kills it and fails', async () => {
    await expect(runFixture({ mjs: LEAVES_A_STRAY }, { graceMs: 300 })).rejects.toThrow(
      /processes left behind[^]*stray: \d+/,
    );
  });

  onLinux('returns the strays to a caller who expects them', async () => {
    const result = await runFixture({ mjs: LEAVES_A_STRAY }, { graceMs: 300, allowStrays: true });
    const pid = Number(result.stdout);
    expect(result.strays.map((stray) => stray.pid)).toEqual([pid]);
    expect(isRunning(pid)).toBe(false);
  });
});

describe('the leak checks', () => {
  onLinux('see a file in /dev/shm that nobody uses', async () => {
    const before = shmSnapshot();
    const name = `mp-test-${process.pid}`;
    writeFileSync(`/dev/shm/${name}`, 'x');
    try {
      expect(await shmLeftovers(before)).toContain(name);
    } finally {
      rmSync(`/dev/shm/${name}`);
    }
    expect(await shmLeftovers(before)).not.toContain(name);
  });

  onLinux('see an open descriptor', async () => {
    const leaked = await runJson<string[]>('support/fds.mjs');
    expect(leaked).toEqual([expect.stringMatching(/ \/dev\/null$/)]);
  });

  it('give a fixture an environment without the test runner', async () => {
    const { stdout } = await runOk({
      mjs: "console.log(Object.keys(process.env).filter((name) => name.startsWith('VITEST')).join());",
    });
    expect(stdout).toBe('\n');
  });
});
