/** Rows 13 and 14: output is complete, comes once and in order; input is the parent's alone. */

import { describe, expect, test } from 'vitest';
import { report, runFixture, runOk } from '../support/fixture.js';

const HEAD = `
  import mp from 'node-multiprocessing';
  import * as posix from 'node-multiprocessing/posix';
  import fs from 'node:fs';
  const run = (target, options) => {
    const child = new mp.Process({ target, ...options });
    child.start();
    child.join();
    if (child.exitcode !== 0) console.log('exit code', child.exitcode);
    return child.exitcode;
  };
`;
const mjs = (body: string) => ({ mjs: HEAD + body });

async function outputOf(body: string): Promise<string> {
  const result = await runOk(mjs(body));
  expect(result.stderr, report(result)).toBe('');
  return result.stdout;
}

/** A program whose stdout is what `kind` says; what arrived there is printed as its length and hash. */
function through(kind: 'pipe' | 'socketpair' | 'file' | 'blocked pipe', body: string) {
  return {
    mjs: `
      import { spawn } from 'node:child_process';
      import { createHash } from 'node:crypto';
      import fs from 'node:fs';
      import * as posix from 'node-multiprocessing/posix';
      const kind = ${JSON.stringify(kind)};
      const program = import.meta.filename ?? new URL(import.meta.url).pathname;
      const inner = program + '.inner.mjs';
      fs.writeFileSync(inner, ${JSON.stringify(HEAD + body)});
      const chunks = [];
      let out;
      if (kind === 'file') out = fs.openSync(inner + '.out', 'w');
      else if (kind !== 'socketpair') out = posix.pipe();
      // child_process's own 'pipe' is a socketpair.
      const stdout = kind === 'file' ? out : kind === 'socketpair' ? 'pipe' : out[1];
      const child = spawn(process.execPath, [inner], { stdio: ['ignore', stdout, 'inherit'] });
      const ended = new Promise((resolve) => child.once('close', (code, signal) => resolve(signal ?? code)));
      if (kind === 'socketpair') child.stdout.on('data', (chunk) => chunks.push(chunk));
      else if (kind !== 'file') {
        posix.close(out[1]);
        const stream = fs.createReadStream('', { fd: out[0] });
        if (kind === 'blocked pipe') await new Promise((resolve) => setTimeout(resolve, 300));
        for await (const chunk of stream) chunks.push(chunk);
      }
      const code = await ended;
      if (kind === 'file') chunks.push(fs.readFileSync(inner + '.out'));
      const text = Buffer.concat(chunks).toString();
      for (const file of [inner, inner + '.out']) fs.rmSync(file, { force: true });
      console.log(JSON.stringify({ code, text }));
    `,
  };
}

async function textThrough(
  ...args: Parameters<typeof through>
): Promise<{ code: number; text: string }> {
  const result = await runOk(through(...args));
  expect(result.stderr, report(result)).toBe('');
  return JSON.parse(result.stdout) as { code: number; text: string };
}

describe.each(['pipe', 'socketpair', 'file'] as const)('stdout is a %s', (kind) => {
  test('a megabyte of console.log and then the end, by all ways', async () => {
    const { code, text } = await textThrough(
      kind,
      `for (const end of [() => {}, () => process.exit(), () => { process.exitCode = 0; }, async () => {},
                        async () => { await null; process.exit(0); }]) {
         run(() => {
           for (let i = 0; i < 10_000; i++) console.log(String(i).padStart(99, '.'));
           return end();
         });
         console.log('next');
       }`,
    );
    const block = `${Array.from({ length: 10_000 }, (_, i) => String(i).padStart(99, '.')).join('\n')}\nnext\n`;
    expect(code).toBe(0);
    expect(text.length).toBe(block.length * 5);
    expect(text === block.repeat(5)).toBe(true);
  });

  test('one large write, then the end', async () => {
    const { text } = await textThrough(
      kind,
      `run(() => { process.stdout.write('x'.repeat(3_000_000)); process.exit(0); });
       run(() => { process.stdout.write('y'.repeat(3_000_000), () => process.stdout.write('z')); });`,
    );
    expect(text.length).toBe(6_000_001);
    expect(/^x+y+z$/.test(text)).toBe(true);
  });

  test('what the parent printed comes once, before what the child prints', async () => {
    const { text } = await textThrough(
      kind,
      `console.log('parent 1');
       process.stdout.write('no newline,');
       run(() => console.log('child'));
       console.log('parent 2');
       run(() => { console.log('a'); console.error; process.stdout.write('b\\n'); fs.writeSync(1, 'c\\n'); });
       console.log('end');`,
    );
    expect(text).toBe('parent 1\nno newline,child\nparent 2\na\nb\nc\nend\n');
  });

  test('drain and callbacks of writes in the child', async () => {
    const { text } = await textThrough(
      kind,
      `console.log('x');
       run(async () => {
         for (let i = 0; i < 50; i++) {
           if (!process.stdout.write('y'.repeat(20_000))) {
             await new Promise((resolve) => process.stdout.once('drain', resolve));
           }
         }
         await new Promise((resolve) => process.stdout.write('\\n', resolve));
         console.log(process.stdout.writableLength);
       });`,
    );
    expect(text).toBe(`x\n${'y'.repeat(1_000_000)}\n0\n`);
  });

  test('grandchildren print, too', async () => {
    const { text } = await textThrough(
      kind,
      `run(() => { console.log(1); run(() => { console.log(2); run(async () => console.log(3)); }); console.log(4); });`,
    );
    expect(text).toBe('1\n2\n3\n4\n');
  });
});

test('output that waits in the parent, because nobody reads, is not printed twice', async () => {
  // A socketpair's stream is asynchronous: much of this is in the parent's queue at the fork.
  for (const kind of ['socketpair', 'blocked pipe'] as const) {
    const { text } = await textThrough(
      kind,
      `for (let i = 0; i < 4000; i++) console.log('parent ' + String(i).padStart(90, '.'));
       const child = new mp.Process({ target: async () => { console.log('child'); } });
       child.start();
       await child.joinAsync();
       console.log('end', child.exitcode);`,
    );
    const lines = text.trimEnd().split('\n');
    const unique = new Set(lines);
    expect(lines.length).toBe(4002);
    expect(unique.size).toBe(4002);
    expect(lines.at(-1)).toBe('end 0');
  }
});

test('other streams of the parent are not written by the child', async () => {
  const text = await outputOf(`
    import path from 'node:path';
    import os from 'node:os';
    const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'mp-'));
    const file = path.join(directory, 'log');
    const stream = fs.createWriteStream(file);
    for (let i = 0; i < 1000; i++) stream.write('line ' + i + '\\n');
    run(() => new Promise((resolve) => setTimeout(resolve, 30)));
    run(() => process.exit(0));
    await new Promise((resolve) => stream.end(resolve));
    const lines = fs.readFileSync(file, 'utf8').trimEnd().split('\\n');
    fs.rmSync(directory, { recursive: true });
    console.log(lines.length, new Set(lines).size);
  `);
  expect(text).toBe('1000 1000\n');
});

test('console methods, stderr, groups and counters', async () => {
  const result = await runOk(
    mjs(`
      console.group('group');
      console.count('n');
      run(() => {
        console.count('n');
        console.error('to stderr');
        console.table([{ a: 1 }]);
        process.stderr.write('more\\n');
        console.groupEnd();
        console.log(process.stdout.writable, process.stderr.fd);
      });
    `),
  );
  expect(result.stdout, report(result)).toMatch(/^group\n {2}n: 1\n {2}n: 2\n[^]*true 2\n$/);
  expect(result.stderr.replaceAll(' ', '')).toBe('tostderr\nmore\n');
});

test('a reader that has gone does not keep a child', async () => {
  const text = await outputOf(`
    const [reader, writer] = posix.pipe();
    posix.close(reader);
    const child = new mp.Process({ target: () => {
      posix.dup2(writer, 1);
      process.stdout.on('error', () => process.exit(5));
      for (let i = 0; i < 1000; i++) process.stdout.write('x'.repeat(1000));
    } });
    child.start();
    child.join(20);
    console.log(child.exitcode);
  `);
  expect(text).toBe('5\n');
});

describe('stdin', () => {
  test('a child reads nothing, and its parent goes on reading', async () => {
    const result = await runOk(
      mjs(`
        let text = '';
        const { promise, resolve } = (() => { let resolve; return { promise: new Promise((r) => (resolve = r)), resolve }; })();
        process.stdin.setEncoding('utf8');
        process.stdin.once('data', () => {
          run(async () => {
            let all = '';
            for await (const chunk of process.stdin) all += chunk;
            console.log('child:', JSON.stringify(all));
          });
          run(() => console.log('sync:', JSON.stringify(fs.readFileSync(0, 'utf8'))));
          run(() => console.log('once more:', posix.read(0, 10).length));
        });
        process.stdin.on('data', (chunk) => (text += chunk));
        process.stdin.on('end', resolve);
        await promise;
        console.log('parent:', text.length, JSON.stringify(text.slice(-4)));
      `),
      { stdin: `${'x'.repeat(200_000)}end\n` },
    );
    expect(result.stdout, report(result)).toBe(
      'child: ""\nsync: ""\nonce more: 0\nparent: 200004 "end\\n"\n',
    );
  });

  test('that the parent has not touched', async () => {
    const result = await runOk(
      mjs(`
        run(async () => {
          process.stdin.on('data', (data) => console.log('data', data));
          process.stdin.on('end', () => console.log('end of input'));
        });
        console.log('parent', fs.readFileSync(0, 'utf8'));
      `),
      { stdin: 'for the parent' },
    );
    expect(result.stdout, report(result)).toBe('end of input\nparent for the parent\n');
  });

  test('that the parent is reading, with data on its way', async () => {
    const result = await runOk(
      mjs(`
        let text = '';
        const ended = new Promise((resolve) => process.stdin.on('data', (chunk) => (text += chunk)).on('end', resolve));
        for (let i = 0; i < 5; i++) {
          run(() => new Promise((resolve) => setTimeout(resolve, 5)));
          await new Promise(setImmediate);
        }
        await ended;
        console.log(text.length);
      `),
      { stdin: 'x'.repeat(500_000) },
    );
    expect(result.stdout, report(result)).toBe('500000\n');
  });

  test('that readline is reading', async () => {
    const result = await runOk(
      mjs(`
        import readline from 'node:readline';
        const lines = readline.createInterface({ input: process.stdin });
        let seen = 0;
        for await (const line of lines) {
          seen++;
          if (line === '5') run(() => process.stdout.write('child\\n'));
        }
        console.log(seen);
      `),
      { stdin: Array.from({ length: 10 }, (_, i) => `${i}\n`).join('') },
    );
    expect(result.stdout, report(result)).toBe('child\n10\n');
  });
});

describe('a terminal', () => {
  // script(1) would be one more dependency; Python's pty is there wherever node-gyp works.
  test('output and input of a parent and a child on a terminal', async () => {
    const result = await runFixture({
      cjs: `
        const { spawnSync } = require('node:child_process');
        const fs = require('node:fs');
        const inner = __filename + '.inner.mjs';
        fs.writeFileSync(inner, ${JSON.stringify(`${HEAD}
          console.log('parent', String(process.stdout.isTTY));
          run(() => { console.log('child', String(process.stdout.isTTY), typeof process.stdout.columns); });
          run(async () => { await new Promise((r) => setTimeout(r, 5)); console.log('later'); });
          console.log('end');`)});
        const python = "import pty, sys; sys.exit(pty.spawn(sys.argv[1:], lambda fd: __import__('os').read(fd, 1024)) >> 8)";
        const result = spawnSync('python3', ['-c', python, process.execPath, inner], { stdio: ['ignore', 'pipe', 'inherit'] });
        fs.unlinkSync(inner);
        if (result.error) { console.log('no python'); process.exit(); }
        process.stdout.write(result.stdout);
        process.exit(result.status);
      `,
    });
    if (result.stdout === 'no python\n') return;
    expect(result.stdout.replaceAll('\r', ''), report(result)).toBe(
      'parent true\nchild true number\nlater\nend\n',
    );
    expect(result.code).toBe(0);
  });
});
