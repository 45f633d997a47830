/**
 * Rows 16 and 17, and whatever else ties a node process to others or to a tool: a channel to its parent, a
 * cluster, a test runner, loaders, an inspector, profilers, coverage.
 */

import { describe, expect, test } from 'vitest';
import { report, runFixture, runOk, type RunResult } from '../support/fixture.js';

const HEAD = `
  import mp from 'node-multiprocessing';
  import * as posix from 'node-multiprocessing/posix';
  import fs from 'node:fs';
  const run = (target, options) => {
    const child = new mp.Process({ target, ...options });
    child.start();
    child.join();
    return child.exitcode;
  };
  const delay = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
`;

/** A program that writes `inner` beside itself, runs `outer` with its path in \`inner\`, and removes it. */
function nested(inner: string, outer: string, extension = 'mjs') {
  return {
    mjs: `
      import { fork, spawn, spawnSync, execFileSync } from 'node:child_process';
      import { once } from 'node:events';
      import fs from 'node:fs';
      const inner = new URL(import.meta.url).pathname + '.inner.${extension}';
      fs.writeFileSync(inner, ${JSON.stringify(inner)});
      try { ${outer} } finally { fs.rmSync(inner, { force: true }); }
    `,
  };
}

describe('row 16: a parent that is itself a child', () => {
  test('of child_process.fork: the channel stays with it', async () => {
    const result = await runOk(
      nested(
        `${HEAD}
         process.on('message', (message) => process.send(['parent got', message]));
         const gate = posix.pipe();
         const child = new mp.Process({ target: async () => {
           const seen = [process.connected, typeof process.send, process.channel === undefined, process.listenerCount('message')];
           fs.writeSync(gate[1], JSON.stringify(seen));
           await delay(60);
         } });
         child.start();
         process.send(['child says', JSON.parse(posix.read(gate[0], 1000).toString())]);
         await child.joinAsync();
         process.send(['exit code', child.exitcode]);
         await new Promise((resolve) => process.on('message', (m) => m === 'end' && resolve()));
         process.disconnect();`,
        `const child = fork(inner, { stdio: 'inherit' });
         const messages = [];
         let n = 0;
         const timer = setInterval(() => child.send(n++), 3);
         child.on('message', (m) => { messages.push(m); if (m[0] === 'exit code') { clearInterval(timer); child.send('end'); } });
         const [code] = await once(child, 'exit');
         const got = messages.filter(([k]) => k === 'parent got').map(([, m]) => m);
         console.log(JSON.stringify({
           code, others: messages.filter(([k]) => k !== 'parent got'),
           complete: got.filter((m) => m !== 'end').every((m, i) => m === i) && got.filter((m) => m !== 'end').length === n,
         }));`,
      ),
    );
    expect(JSON.parse(result.stdout), report(result)).toEqual({
      code: 0,
      others: [
        ['child says', [false, 'undefined', true, 0]],
        ['exit code', 0],
      ],
      complete: true,
    });
  });

  test('a disconnect while its child lives ends nothing', async () => {
    const result = await runOk(
      nested(
        `${HEAD}
         process.on('disconnect', () => console.log('disconnect in', posix.getpid() === pid ? 'parent' : 'child'));
         const pid = posix.getpid();
         process.send('ready');
         const child = new mp.Process({ target: () => delay(100) });
         child.start();
         await child.joinAsync();
         console.log('exit code', child.exitcode);`,
        `const child = fork(inner, { stdio: 'inherit' });
         await once(child, 'message');
         child.disconnect();
         await once(child, 'exit');`,
      ),
    );
    expect(result.stdout, report(result)).toBe('disconnect in parent\nexit code 0\n');
  });

  test('a cluster worker: its child is nobody in the cluster and can listen', async () => {
    const result = await runOk({
      mjs: `${HEAD}
        import cluster from 'node:cluster';
        import http from 'node:http';
        import { once } from 'node:events';
        if (cluster.isPrimary) {
          const worker = cluster.fork();
          worker.on('message', (m) => console.log(JSON.stringify(m)));
          const [code] = await once(worker, 'exit');
          console.log('worker', code, Object.keys(cluster.workers).length);
        } else {
          const server = http.createServer((q, r) => r.end(String(posix.getpid()))).listen(0, '127.0.0.1');
          await once(server, 'listening');
          const port = server.address().port;
          const worker = posix.getpid();
          const child = new mp.Process({ target: async () => {
            const own = http.createServer((q, r) => r.end('child')).listen(0, '127.0.0.1');
            await once(own, 'listening');
            const answers = [];
            for (const p of [own.address().port, port]) {
              answers.push(await (await fetch('http://127.0.0.1:' + p, { headers: { connection: 'close' } })).text());
            }
            fs.writeSync(1, JSON.stringify([cluster.isPrimary, cluster.isWorker, process.connected, answers[0], answers[1] === String(worker)]) + '\\n');
            own.closeAllConnections();
            own.close();
          } });
          child.start();
          await child.joinAsync(20);
          process.send(['child', child.exitcode]);
          server.closeAllConnections();
          server.close(() => process.disconnect());
        }`,
    });
    expect(result.stdout.split('\n').sort(), report(result)).toEqual(
      ['', '["child",0]', '[true,false,false,"child",true]', 'worker 0 0'].sort(),
    );
  });

  test('a cluster primary: its workers are not the child’s', async () => {
    const result = await runOk({
      mjs: `${HEAD}
        import cluster from 'node:cluster';
        import { once } from 'node:events';
        if (cluster.isPrimary) {
          const worker = cluster.fork();
          await once(worker, 'message'); // It listens.
          console.log('exit code', run(() => delay(30)));
          worker.send('end');
          const [code] = await once(worker, 'exit');
          console.log('worker', code);
        } else {
          process.on('message', () => process.disconnect());
          process.send('ready');
        }`,
    });
    expect(result.stdout, report(result)).toBe('exit code 0\nworker 0\n');
  });
});

test('row 16: a file of `node --test` that forks', async () => {
  const result = await runOk(
    nested(
      `${HEAD}
       import test, { describe, it, before, after } from 'node:test';
       import assert from 'node:assert';
       before(() => {});
       test('sync child', () => assert.equal(run(() => {}), 0));
       test('async child', async (t) => {
         await t.test('subtest', async () => {
           const child = new mp.Process({ target: async () => { await delay(5); process.exit(3); } });
           child.start();
           await child.joinAsync();
           assert.equal(child.exitcode, 3);
         });
       });
       describe('suite', () => { it('throws in a child', () => assert.equal(run(() => { throw new Error('on purpose'); }), 1)); });
       after(() => {});`,
      `for (const flags of [['--test', '--test-reporter=tap'], ['--test-reporter=tap']]) {
         const { status, stdout } = spawnSync(process.execPath, [...flags, inner], { encoding: 'utf8', env: { ...process.env, NODE_TEST_CONTEXT: undefined } });
         console.log(status, /^# pass (\\d+)/m.exec(stdout)?.[1], /^# fail (\\d+)/m.exec(stdout)?.[1], stdout.match(/^# tests/gm)?.length, status ? stdout : '');
       }`,
      'test.mjs',
    ),
  );
  expect(result.stdout, report(result)).toBe('0 4 0 1 \n0 4 0 1 \n');
});

describe('row 17: modules that are loaded in the child', () => {
  const BODY = `
    const seen = [];
    const importing = async () => {
      const data = await import('data:text/javascript,export default 6*7');
      const { default: qs } = await import('node:querystring');
      const again = await import('node:fs');
      const missing = await import('./does-not-exist.mjs').then(() => 'loaded', (error) => error.code);
      const file = await import(LATE);
      console.log(JSON.stringify([data.default, typeof qs.parse, again === NAMESPACE, missing, file.default]));
    };
    console.log('exit code', run(importing));
    console.log('again', run(importing));
    const own = await import(LATE);
    console.log('parent', own.default);
  `;
  /** With a module that only the child imports first. */
  const program = (late = '\'export default "late"\'') => `${HEAD}
    import * as NAMESPACE from 'node:fs';
    const LATE = new URL(import.meta.url).pathname + '.late.mjs';
    fs.writeFileSync(LATE, ${late});
    process.on('exit', () => fs.rmSync(LATE, { force: true }));
    ${BODY}`;
  const SEEN = '[42,"function",true,"ERR_MODULE_NOT_FOUND","late"]\n';
  const EXPECTED = `${SEEN}exit code 0\n${SEEN}again 0\nparent late\n`;

  test('by import()', async () => {
    const result = await runOk({ mjs: program() });
    expect(result.stdout, report(result)).toBe(EXPECTED);
  });

  test('by require() and createRequire', async () => {
    const result = await runOk({
      cjs: `const mp = require('node-multiprocessing'); const { createRequire } = require('node:module');
        const child = new mp.Process({ target: () => {
          const url = require('node:url'), tty = createRequire(__filename)('node:tty'), zlib = require('node:zlib');
          let code; try { require('./does-not-exist.cjs'); } catch (error) { code = error.code; }
          console.log(typeof url.parse, typeof tty.isatty, typeof zlib.gzipSync, code);
        } });
        child.start(); child.join(); console.log(child.exitcode);`,
    });
    expect(result.stdout, report(result)).toBe('function function function MODULE_NOT_FOUND\n0\n');
  });

  /** With hooks on a thread that the child has not: it works, goes without them or rejects; never hangs. */
  const WITHOUT = EXPECTED.replaceAll('"late"]', '"LOADER"]');
  const REJECTED = 'exit code 1\nagain 1\nparent late\n';
  const worksOrRejects = (result: RunResult) =>
    !result.timedOut && [EXPECTED, WITHOUT, REJECTED].includes(result.stdout);

  const HOOKS = `export async function load(url, context, next) {
    const result = await next(url, context);
    return url.endsWith('.late.mjs') ? { ...result, source: String(result.source).replace('LOADER', 'late') } : result;
  }`;
  const late = '\'export default "LOADER"\'';

  test('with hooks of module.register', async () => {
    const preload = `import { register } from 'node:module'; register('data:text/javascript,' + encodeURIComponent(${JSON.stringify(HOOKS)}));`;
    const result = await runFixture(
      { mjs: program(late) },
      {
        execArgv: ['--import', `data:text/javascript,${encodeURIComponent(preload)}`],
        timeoutMs: 15_000,
      },
    );
    expect(worksOrRejects(result), report(result)).toBe(true);
  });

  test('with hooks of module.register that are registered after the first fork', async () => {
    const result = await runFixture(
      {
        mjs: program(late).replace(
          'const seen = [];',
          `run(() => {});
           (await import('node:module')).register('data:text/javascript,' + encodeURIComponent(${JSON.stringify(HOOKS)}));`,
        ),
      },
      { timeoutMs: 15_000 },
    );
    expect(worksOrRejects(result), report(result)).toBe(true);
  });

  test('with --experimental-loader', async () => {
    const result = await runFixture(
      { mjs: program(late) },
      {
        execArgv: [
          '--no-warnings',
          '--experimental-loader',
          `data:text/javascript,${encodeURIComponent(HOOKS)}`,
        ],
        timeoutMs: 15_000,
      },
    );
    expect(worksOrRejects(result), report(result)).toBe(true);
  });

  test('with hooks of module.registerHooks, where node has it', async () => {
    const result = await runFixture(
      {
        mjs: program(late).replace(
          'const seen = [];',
          `const { registerHooks } = await import('node:module');
           if (!registerHooks) { console.log('none'); process.exit(); }
           registerHooks({ load(url, context, next) {
             const result = next(url, context);
             return url.endsWith('.late.mjs') ? { ...result, source: String(result.source).replace('LOADER', 'late') } : result;
           } });`,
        ),
      },
      { timeoutMs: 15_000 },
    );
    if (result.stdout === 'none\n') return;
    expect(result.stdout, report(result)).toBe(EXPECTED);
  });

  test('with tsx, where it is installed', async (context) => {
    const probe = await runFixture({ mjs: `console.log(import.meta.resolve('tsx'))` });
    if (probe.code !== 0) context.skip('tsx is not installed');
    const result = await runFixture(
      { mjs: program() },
      { execArgv: ['--import', 'tsx'], timeoutMs: 20_000 },
    );
    expect(worksOrRejects(result), report(result)).toBe(true);
  });

  test('an import that the parent had begun', async () => {
    const result = await runFixture(
      {
        mjs: `${HEAD}
          const pending = import('node:readline');
          const more = import('data:text/javascript,await new Promise((r) => setTimeout(r, 30)); export default 1');
          console.log(run(async () => { const { default: other } = await import('data:text/javascript,export default 2'); console.log(other); }));
          console.log(typeof (await pending).createInterface, (await more).default);`,
      },
      { timeoutMs: 15_000 },
    );
    expect(result.stdout, report(result)).toBe('2\n0\nfunction 1\n');
  });
});

describe('tools', () => {
  const WORK = `
    console.log(run(async () => { await delay(2); JSON.stringify(Array.from({ length: 1e4 }, (_, i) => ({ i }))); }));
    console.log(run(() => { throw new Error('on purpose'); }));
    const child = new mp.Process({ target: () => delay(5) }); child.start(); await child.joinAsync(); console.log(child.exitcode);
  `;
  const FLAGS: Record<string, string[]> = {
    'source maps': ['--enable-source-maps'],
    'an open inspector without a client': ['--inspect=127.0.0.1:0'],
    'tracing of warnings and async stacks': [
      '--trace-warnings',
      '--async-stack-traces',
      '--stack-trace-limit=50',
    ],
    'a report on fatal errors': [
      '--report-on-fatalerror',
      '--report-uncaught-exception',
      '--report-directory=/nowhere',
    ],
    'a small heap': ['--max-old-space-size=64', '--max-semi-space-size=1'],
    'one V8 thread': ['--single-threaded', '--v8-pool-size=1'],
    'no V8 threads': ['--v8-pool-size=0'],
    'many V8 threads': ['--v8-pool-size=16'],
    'no JIT': ['--jitless'],
    'lite mode': ['--lite-mode'],
    'frozen intrinsics': ['--frozen-intrinsics', '--no-warnings'],
    'no deprecated __proto__': ['--disable-proto=delete'],
    'trace events': ['--trace-events-enabled', '--trace-event-file-pattern=/dev/null'],
    'preserved symlinks and conditions': ['--preserve-symlinks', '--conditions=custom'],
    'strict rejections': ['--unhandled-rejections=strict'],
    'maglev and sparkplug always': ['--always-sparkplug'],
  };
  test.each(Object.entries(FLAGS))('with %s', async (_, execArgv) => {
    const result = await runFixture({ mjs: HEAD + WORK }, { execArgv, timeoutMs: 25_000 });
    expect(result.stdout, report(result)).toBe('0\n1\n0\n');
    expect(result.code).toBe(0);
    // With frozen intrinsics node itself shows an error as {}.
    if (!execArgv.includes('--frozen-intrinsics')) {
      expect(result.stderr).toContain('Error: on purpose');
    }
  });

  test('source maps are applied to the stack of a child', async () => {
    const map = {
      version: 3,
      sources: ['original.ts'],
      names: [],
      mappings: 'AAAA;AACA;AACA;AACA;AACA;AACA;AACA;AACA;AACA;AACA;AACA;AACA;AACA;AACA;AACA;AACA',
    };
    const text = `${HEAD}\nrun(() => { throw new Error('on purpose'); });\n//# sourceMappingURL=data:application/json;base64,${Buffer.from(JSON.stringify(map)).toString('base64')}\n`;
    const result = await runOk({ mjs: text }, { execArgv: ['--enable-source-maps'] });
    expect(result.stderr, report(result)).toContain('original.ts:');
  });

  test('SIGUSR1 ends a child, and opens no inspector', async () => {
    const result = await runOk({
      mjs: `${HEAD}
        const child = new mp.Process({ target: () => delay(60_000) });
        child.start();
        posix.kill(child.pid, 'SIGUSR1');
        child.join();
        console.log(child.exitcode);
        posix.kill(process.pid, 'SIGUSR1');
        await delay(100);
        console.log('parent lives');`,
    });
    expect(result.stdout, report(result)).toBe('-10\nparent lives\n');
  });

  test('an inspector session of the parent', async () => {
    const result = await runOk({
      mjs: `${HEAD}
        import { Session } from 'node:inspector/promises';
        const session = new Session();
        session.connect();
        await session.post('Debugger.enable');
        await session.post('Profiler.enable');
        await session.post('Profiler.start');
        await session.post('Runtime.enable');
        for (let i = 0; i < 3; i++) console.log(run(async () => { await delay(1); console.error('x'); debugger; new Function('return 1')(); }));
        const { profile } = await session.post('Profiler.stop');
        console.log(profile.nodes.length > 1);
        session.disconnect();`,
    });
    expect(result.stdout, report(result)).toBe('0\n0\n0\ntrue\n');
  });

  test.each([
    ['--cpu-prof', '.cpuprofile'],
    ['--heap-prof', '.heapprofile'],
  ])('%s of the parent', async (flag, extension) => {
    const result = await runOk(
      nested(
        HEAD + WORK,
        `const dir = fs.mkdtempSync('/tmp/mp-prof-');
         const out = execFileSync(process.execPath, ['${flag}', '${flag}-dir=' + dir, inner], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
         const files = fs.readdirSync(dir).filter((file) => file.endsWith('${extension}'));
         fs.rmSync(dir, { recursive: true });
         console.log(JSON.stringify([out, files.length]));`,
      ),
    );
    expect(JSON.parse(result.stdout), report(result)).toEqual(['0\n1\n0\n', 1]);
  });

  test('NODE_V8_COVERAGE counts what children run', async () => {
    const result = await runOk(
      nested(
        `${HEAD}
         function onlyInChild() { return 1; }
         function neverCalled() { return 2; }
         function onlyInAsyncChild() { return 3; }
         function onlyBeforeExit() { return 4; }
         run(() => { onlyInChild(); });
         run(async () => { await delay(1); onlyInAsyncChild(); });
         run(() => { onlyBeforeExit(); process.exit(0); });
         console.log(typeof neverCalled);`,
        `const dir = fs.mkdtempSync('/tmp/mp-coverage-');
         execFileSync(process.execPath, [inner], { env: { ...process.env, NODE_V8_COVERAGE: dir } });
         const counts = {};
         for (const file of fs.readdirSync(dir)) {
           const { result } = JSON.parse(fs.readFileSync(dir + '/' + file, 'utf8'));
           for (const { functions } of result.filter(({ url }) => url.endsWith('.inner.mjs'))) {
             for (const { functionName, ranges } of functions) {
               if (/only|never/.test(functionName)) counts[functionName] = Math.max(counts[functionName] ?? 0, ranges[0].count);
             }
           }
         }
         fs.rmSync(dir, { recursive: true });
         console.log(JSON.stringify(counts));`,
      ),
    );
    expect(JSON.parse(result.stdout), report(result)).toEqual({
      onlyInChild: 1,
      neverCalled: 0,
      onlyInAsyncChild: 1,
      onlyBeforeExit: 1,
    });
  });
});

test('a Worker of the parent’s is one that has ended', async () => {
  const result = await runOk({
    mjs: `${HEAD}
      import { Worker } from 'node:worker_threads';
      import { once } from 'node:events';
      const worker = new Worker('setInterval(() => {}, 1000)', { eval: true });
      await once(worker, 'online');
      console.log(run(async () => {
        worker.postMessage('nobody reads it');
        console.log('child', await worker.terminate());
      }));
      console.log('parent', await worker.terminate());`,
  });
  expect(result.stdout, report(result)).toBe('child undefined\n0\nparent 1\n');
});

test('--abort-on-uncaught-exception does not see the unwinding, but the errors after it', async () => {
  const program = {
    mjs: `${HEAD}
      console.log(run(() => {}), run(async () => { await delay(1); throw new Error('x'); }), run(() => {
        setTimeout(() => { throw new Error('y'); });
      }));`,
  };
  const plain = await runOk(program);
  expect(plain.stdout, report(plain)).toBe('0 1 1\n');
  const result = await runOk(program, { execArgv: ['--abort-on-uncaught-exception'] });
  expect(result.stdout, report(result)).toMatch(/^0 1 -[456]\n$/);
});
