/**
 * `npm run demo`: on a small folder with everything in it that a real one may have. Nothing about its times
 * is asserted, only that all ways of doing the job agree, and that nothing is left behind.
 */

import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { report, runFixture, runOk } from './support/fixture.js';
import { root, temporary } from './support/paths.js';
import { shmLeftovers, shmSnapshot } from './support/shm.js';

const DEMO = path.join(root, 'examples/demo.mjs');

describe.skipIf(process.platform === 'win32')('the demo', () => {
  let folder: string;

  beforeAll(() => {
    folder = mkdtempSync(path.join(temporary, 'demo-'));
  });

  afterAll(() => {
    rmSync(folder, { recursive: true, force: true });
  });

  const below = (...names: string[]): string => path.join(folder, ...names);

  it('gives the same results all three ways, whatever is in the folder', async () => {
    mkdirSync(below('mixed/deep/er'), { recursive: true });
    for (let i = 0; i < 30; i++) {
      writeFileSync(below('mixed', `${i}.txt`), 'four words a line\n'.repeat(i + 1));
    }
    writeFileSync(
      below('mixed/deep/er/utf8.txt'),
      'grüße 漢字 🎉\r\n\ttwo\u00a0words? no, three\n',
    );
    writeFileSync(below('mixed/deep/invalid.txt'), Buffer.from([0x61, 0xff, 0xfe, 0x20, 0x62]));
    writeFileSync(below('mixed/deep/empty.txt'), '');
    writeFileSync(below('mixed/deep/binary.bin'), Buffer.from([0x7f, 0, 1, 2]));
    writeFileSync(below('mixed/secret.txt'), 'not for everybody');
    chmodSync(below('mixed/secret.txt'), 0o000);
    symlinkSync('..', below('mixed/deep/loop'));
    symlinkSync('nowhere', below('mixed/dangling'));
    execFileSync('mkfifo', [below('mixed/fifo')]);
    const files = readdirSync(folder, { recursive: true }).length;
    const shm = shmSnapshot();

    const { stdout, stderr } = await runOk(DEMO, { args: [below('mixed')] });

    expect(stderr).toBe('');
    // As root the secret one is readable, too.
    expect(stdout).toMatch(/: 3[23] texts, .*\(passed over: (?=.*\b1 empty\b)(?=.*\b1 binary\b)/);
    // 4 × (1 + … + 30), 6 in utf8.txt, 2 in invalid.txt, and perhaps 3 secret ones.
    expect(stdout).toMatch(
      /The same results all three ways: 1,8(68|71) words, .* digest [0-9a-f]{16}/,
    );
    expect(stdout.match(/^(one process|child_process\.fork|Pool, )/gm)).toHaveLength(3);
    expect(readdirSync(folder, { recursive: true })).toHaveLength(files);
    expect(await shmLeftovers(shm)).toEqual([]);
  });

  it('has nothing to do in an empty folder', async () => {
    mkdirSync(below('empty'));
    const { stdout } = await runOk(DEMO, { args: [below('empty')] });
    expect(stdout).toContain('nothing to do');
  });

  it.each(['nowhere', 'mixed/1.txt'])('refuses %s, which is no folder', async (name) => {
    const result = await runFixture(DEMO, { args: [below(name)] });
    expect(result.code, report(result)).toBe(1);
    expect(result.stderr).toBe(`demo: no such folder: ${below(name)}\n`);
  });
});
