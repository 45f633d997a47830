/**
 * Spawned children hand on what they have compiled of this package (src/compiled.ts): who writes it, who has it, and
 * that it makes no difference otherwise.
 */

import { describe, expect, it } from 'vitest';
import { runJson, runOk } from '../support/fixture.js';

/** `uses()` starts a child that runs `tell`: what it has to do with the code, and what `tell` answered. */
const PRELUDE = `
  import assert from 'node:assert/strict';
  import { readFileSync, readdirSync, readlinkSync, writeSync } from 'node:fs';
  import mp, { parentProcess } from 'node-multiprocessing';
  import vm from 'node:vm';
  const { Process, SimpleQueue, setExecutable } = mp.getContext('spawn');
  export function tell(queue) {
    let stack;
    try {
      new mp.Semaphore(-1);
    } catch (error) {
      stack = error.stack;
    }
    const fds = readdirSync('/proc/self/fd').map((fd) => {
      try {
        return readlinkSync('/proc/self/fd/' + fd);
      } catch {
        return '';
      }
    });
    queue.put({ stack, fds: fds.filter((name) => name.includes('multiprocessing-code')) });
  }
  function useOf({ pid }) {
    let args;
    // Empty for a moment yet.
    do args = readFileSync('/proc/' + pid + '/cmdline', 'utf8').split('\\0');
    while (args.length < 2);
    return args.find((arg) => /^(writes|has)-code$/.test(arg)) ?? null;
  }
  function child() {
    const queue = new SimpleQueue();
    const process = new Process({ target: tell, args: [queue] });
    process.start();
    const use = useOf(process);
    const told = queue.get();
    process.join();
    assert.equal(process.exitcode, 0);
    return { use, ...told };
  }
  if (parentProcess() !== null && process.env.STUCK) mp.sleep(60);
  /** Killed while it imports this module. */
  function killed() {
    process.env.STUCK = '1';
    const child = new Process({ target: tell, args: [null] });
    child.start();
    const use = useOf(child);
    child.kill();
    child.join();
    delete process.env.STUCK;
    return use;
  }
`;

const guarded = (body: string): string => `${PRELUDE}
  if (parentProcess() === null) {
    ${body}
  }
`;

describe.skipIf(process.platform !== 'linux')('the code of spawned children', () => {
  it('is written by the second, and what those after it begin with', async () => {
    const uses = await runJson({
      mjs: guarded(`
        const children = [child(), child(), child(), child()];
        for (const { stack, fds } of children) {
          assert.match(stack, /shared\\.cjs:\\d+:\\d+/);
          assert.equal(stack, children[0].stack);
          assert.deepEqual(fds, []);
        }
        console.log(JSON.stringify(children.map(({ use }) => use)));
      `),
    });
    expect(uses).toEqual([null, 'writes-code', 'has-code', 'has-code']);
  });

  it('is what V8 accepts, with the source that it is of, and nobody can change it', async () => {
    const names = await runJson({
      mjs: guarded(`
        for (let i = 0; i < 3; i++) child();
        const fd = readdirSync('/proc/self/fd').map(Number).find((fd) => {
          try {
            return readlinkSync('/proc/self/fd/' + fd).includes('multiprocessing-code');
          } catch {
            return false;
          }
        });
        assert.throws(() => writeSync(fd, 'x', 0), { code: 'EPERM' });
        const bytes = readFileSync('/proc/self/fd/' + fd);
        let at = 4 + bytes.readUInt32LE(0);
        const head = JSON.parse(bytes.toString('utf8', 4, at));
        for (const [filename, sourceBytes, codeBytes] of head) {
          const source = bytes.toString('latin1', at, (at += sourceBytes));
          assert.equal(source, readFileSync(filename, 'utf8'));
          const cachedData = bytes.subarray(at, (at += codeBytes));
          const before = '(function (exports, require, module, __filename, __dirname) { ';
          const script = new vm.Script(before + source + '\\n})', { filename, cachedData });
          assert.equal(script.cachedDataRejected, false, filename);
        }
        assert.equal(at, bytes.length);
        console.log(JSON.stringify(head.map(([name]) => name.split('/lib/')[1])));
      `),
    });
    expect(names).toEqual(expect.arrayContaining(['shared.cjs', 'codec.cjs', 'spawnChild.cjs']));
  });

  it('is written by another one when the second has died', async () => {
    const uses = await runJson<(string | null)[]>({
      mjs: guarded(`
        const uses = [];
        for (let i = 0; i < 17; i++) uses.push(killed());
        for (let i = 0; i < 2; i++) uses.push(child().use);
        console.log(JSON.stringify(uses));
      `),
    });
    expect(uses.slice(0, 3)).toEqual([null, 'writes-code', null]);
    expect(uses.slice(-3)).toEqual([null, 'writes-code', 'has-code']);
  });

  it('is not given to another node, and not used where coverage is counted', async () => {
    await runOk({
      mjs: guarded(`
        assert.deepEqual([child().use, child().use], [null, 'writes-code']);
        setExecutable(process.execPath);
        assert.deepEqual([child().use, child().use], [null, 'writes-code']);
        process.env.NODE_V8_COVERAGE = '/dev/null/nowhere';
        assert.equal(child().use, null);
        delete process.env.NODE_V8_COVERAGE;
        assert.equal(child().use, 'has-code');
      `),
    });
  });
});
