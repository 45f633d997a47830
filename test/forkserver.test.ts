/**
 * The fork server itself: who has which, what it has loaded, who may ask it, and what happens when one of those who are
 * involved dies. What its children promise as processes is in start_method/forkserver*.test.ts. The counterpart of
 * CPython's test_multiprocessing_forkserver, `_TestImportStar` and its like aside.
 */

import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { report, runFixture, runJson, runOk, type Program } from './support/fixture.js';
import { temporary } from './support/paths.js';

const folder = path.join(temporary, `forkserver-${process.pid}`);
const write = (name: string, text: string, mode = 0o644): string => {
  const file = path.join(folder, name);
  mkdirSync(path.dirname(file), { recursive: true });
  writeFileSync(file, text, { mode });
  return file;
};
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** A program that has `ctx`, targets that are exported, and a main part that runs in the first process alone. */
const program = (targets: string, main: string): Program => ({
  mjs: `
    import mp from 'node-multiprocessing';
    import * as posix from 'node-multiprocessing/posix';
    import { wait } from 'node-multiprocessing/connection';
    import fs from 'node:fs';
    const ctx = mp.getContext('forkserver');
    const print = (value) => console.log(JSON.stringify(value));
    const start = (target, ...args) => {
      const child = new ctx.Process({ target, args });
      child.start();
      return child;
    };
    const run = (target, ...args) => {
      const child = start(target, ...args);
      child.join();
      return child.exitcode;
    };
    /** What a target puts into the queue that is its first argument. */
    const ask = (target, ...args) => {
      const answers = new mp.SimpleQueue();
      const child = start(target, answers, ...args);
      child.join();
      if (child.exitcode !== 0) throw new Error('exit code ' + child.exitcode);
      return answers.get();
    };
    export const tellServer = (answers) => answers.put(process.ppid);
    export const nothing = () => {};
    export const sleep = (seconds) => mp.sleep(seconds);
    export const waitFor = (event) => event.wait();
    ${targets}
    if (mp.parentProcess() === null) {
      ${main}
    }`,
});

describe('one server', () => {
  test('for children, their children, and those of forked children', async () => {
    const [first, second, nested, forked, restarted] = await runJson<number[]>(
      program(
        'export const nest = (answers) => answers.put(ask(tellServer));',
        `const seen = [ask(tellServer), ask(tellServer), ask(nest)];
        const answers = new mp.SimpleQueue();
        const child = new (mp.getContext('fork').Process)({ target: () => answers.put(ask(tellServer)) });
        child.start();
        child.join();
        seen.push(answers.get());
        process.kill(seen[0], 'SIGKILL');
        seen.push(ask(tellServer));
        print(seen);`,
      ),
    );
    expect(second).toBe(first);
    expect(nested).toBe(first);
    expect(forked).toBe(first);
    expect(restarted).not.toBe(first);
  });

  test('for a Worker one of its own', async () => {
    const answer = await runJson<number[]>(
      program(
        '',
        `const { Worker, isMainThread, parentPort } = await import('node:worker_threads');
        if (!isMainThread) parentPort.postMessage([ask(tellServer), run(nothing)]);
        else {
          const worker = new Worker(new URL(import.meta.url));
          worker.on('message', ([server, code]) => {
            const seen = [server === ask(tellServer), code];
            worker.once('exit', () => {
              // Reaped, too.
              try { process.kill(server, 0); seen.push('lives'); } catch (error) { seen.push(error.code); }
              print(seen);
            });
          });
        }`,
      ),
    );
    expect(answer).toEqual([false, 0, 'ESRCH']);
  });

  test('leaves with the program, whatever its children have open', async () => {
    await runOk(program('', 'run(nothing);'), { graceMs: 1000 });
  });

  test('does not heed Ctrl-C; its children do', async () => {
    const answer = await runJson(
      program(
        '',
        `const event = new mp.Event();
        const first = start(waitFor, event);
        const server = ask(tellServer);
        process.kill(server, 'SIGINT');
        mp.sleep(0.1);
        event.set();
        first.join();
        const third = start(sleep, 60);
        third.interrupt();
        third.join();
        print([first.exitcode, ask(tellServer) === server, third.exitcode]);`,
      ),
    );
    expect(answer).toEqual([0, true, -2]);
  });

  test('signals that arrive meanwhile interrupt nothing, here and there', async () => {
    const codes = await runJson(
      program(
        '',
        `process.on('SIGUSR2', () => {});
        const server = ask(tellServer);
        const { spawn } = await import('node:child_process');
        const loop = 'while kill -USR2 ' + process.pid + ' && kill -WINCH ' + server + '; do :; done';
        const sender = spawn('sh', ['-c', loop], { stdio: 'ignore' });
        const codes = Array.from({ length: 20 }, () => run(nothing));
        // A flood of signals may have cost libuv the one that tells of its end.
        sender.unref();
        sender.kill('SIGKILL');
        print(codes);`,
      ),
    );
    expect(codes).toEqual(Array.from({ length: 20 }, () => 0));
  });

  test('many who ask at once, in many processes', async () => {
    const codes = await runJson(
      program(
        `export function many() {
          const children = Array.from({ length: 30 }, () => start(nothing));
          for (const child of children) child.join();
          process.exitCode = children.every(({ exitcode }) => exitcode === 0) ? 0 : 1;
        }`,
        `const children = Array.from({ length: 6 }, () => start(many));
        for (const child of children) child.join();
        print(children.map(({ exitcode }) => exitcode));`,
      ),
      { timeoutMs: 60_000 },
    );
    expect(codes).toEqual([0, 0, 0, 0, 0, 0]);
  });
});

describe('what children have', () => {
  test('no descriptor of the server or of others', async () => {
    const [alone, among] = await runJson<[string[], string[]]>(
      program(
        `export function descriptors(answers) {
          answers.put(fs.readdirSync('/proc/self/fd').flatMap((fd) => {
            try { return [fs.readlinkSync('/proc/self/fd/' + fd)]; } catch { return []; }
          }).map((target) => target.replace(/\\d+/g, '#')).sort());
        }`,
        `ask(tellServer);
        const alone = ask(descriptors);
        const event = new mp.Event();
        const others = Array.from({ length: 5 }, () => start(waitFor, event));
        mp.sleep(0.2);
        const among = [ask(descriptors), ask(descriptors)];
        event.set();
        for (const other of others) other.join();
        print([alone, among[1]]);`,
      ),
    );
    expect(among).toEqual(alone);
    expect(alone.filter((target) => target.startsWith('socket:')).length).toBeLessThanOrEqual(5);
  });

  test("the parent's directory and environment, as they are at start()", async () => {
    const answers = await runJson(
      program(
        `export const surroundings = (answers) =>
          answers.put([process.cwd(), process.env.MP_TEST_A ?? null, process.env.MP_TEST_B ?? null, process.execArgv]);`,
        `const seen = [ask(surroundings)];
        process.chdir('/');
        process.env.MP_TEST_A = 'ä';
        delete process.env.MP_TEST_B;
        seen.push(ask(surroundings), ask(surroundings));
        print(seen);`,
      ),
      { env: { MP_TEST_B: 'b' }, cwd: '/tmp' },
    );
    expect(answers).toEqual([
      ['/tmp', null, 'b', []],
      ['/', 'ä', null, []],
      ['/', 'ä', null, []],
    ]);
  });

  test('a parent that is not the one of the system', async () => {
    const answer = await runJson(
      program(
        `export function introduce(answers, event) {
          const parent = mp.parentProcess();
          answers.put([mp.currentProcess().name, parent.name, parent.pid, process.ppid, parent.isAlive(),
            wait([parent.sentinel], 0).length]);
          parent.join(0.01);
          event.wait();
        }`,
        `const answers = new mp.SimpleQueue();
        const event = new mp.Event();
        const child = start(introduce, answers, event);
        const [name, parentName, parent, server, ...alive] = answers.get();
        event.set();
        child.join();
        print([name, parentName, parent === process.pid, server === process.pid, ...alive]);`,
      ),
    );
    expect(answer).toEqual(['ForkServerProcess-1', 'MainProcess', true, false, true, 0]);
  });

  test('all of node: sockets, threads, WebAssembly, files, programs, further children', async () => {
    const answers = await runJson(
      program(
        `import http from 'node:http';
        import { execFile } from 'node:child_process';
        import { pbkdf2 } from 'node:crypto';
        import { promisify } from 'node:util';
        import { Worker } from 'node:worker_threads';
        export async function everything(answers) {
          const server = http.createServer((_, response) => response.end('hello')).listen(0, '127.0.0.1');
          await new Promise((resolve) => server.once('listening', resolve));
          const seen = [await (await fetch('http://127.0.0.1:' + server.address().port)).text()];
          server.close();
          server.closeAllConnections();
          const module = await WebAssembly.compile(new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0]));
          seen.push(module instanceof WebAssembly.Module);
          seen.push((await promisify(pbkdf2)('a', 'b', 1000, 8, 'sha1')).length);
          seen.push((await fs.promises.readFile(process.argv[1])).length > 10);
          seen.push(await new Promise((resolve, reject) => {
            const worker = new Worker('require("worker_threads").parentPort.postMessage(7)', { eval: true });
            worker.once('message', resolve);
            worker.once('error', reject);
          }));
          seen.push((await promisify(execFile)(process.execPath, ['-p', '1+1'])).stdout.trim());
          for (let list = [], i = 0; i < 1e6; i++) list = i % 1e5 === 0 ? [] : [...list.slice(-3), { i }];
          const child = new (mp.getContext('fork').Process)({ target: () => process.exit(4) });
          child.start();
          await child.joinAsync();
          answers.put([...seen, child.exitcode]);
        }`,
        'print([ask(everything), ask(everything)]);',
      ),
    );
    const all = ['hello', true, 8, true, 7, '2', 4];
    expect(answers).toEqual([all, all]);
  });

  test('numbers of Math.random and randomUUID of their own', async () => {
    const drawn = await runJson<unknown[]>(
      program(
        `import { randomUUID } from 'node:crypto';
        Math.random(); randomUUID();
        export const draw = (answers) => answers.put(Math.random() + randomUUID());`,
        'print(Array.from({ length: 6 }, () => ask(draw)));',
      ),
    );
    expect(new Set(drawn).size).toBe(6);
  });
});

describe('what it loads', () => {
  test('the main module once, or not at all', async () => {
    const main = (names: string): Program =>
      program("console.log('loaded');", `${names} run(nothing); run(nothing);`);
    const preloaded = await runOk(main(''));
    expect(preloaded.stdout).toBe('loaded\nloaded\n');
    const none = await runOk(main('mp.setForkserverPreload([]);'));
    expect(none.stdout).toBe('loaded\nloaded\nloaded\n');
  });

  test('modules by name, as the main module would import them', async () => {
    write('node_modules/some-package/package.json', '{ "name": "some-package", "main": "i.cjs" }');
    write('node_modules/some-package/i.cjs', "console.log('package');");
    write('beside.mjs', "console.log('beside'); export const work = () => console.log('work');");
    write('fails.cjs', "throw new Error('on purpose');");
    const file = write(
      'preloads.mjs',
      `import mp from 'node-multiprocessing';
      if (mp.parentProcess() === null) {
        const names = ['some-package', './nowhere.mjs', 'no-package', './fails.cjs', './beside.mjs'];
        mp.setForkserverPreload(names);
        const { work } = await import('./beside.mjs');
        for (let i = 0; i < 2; i++) {
          const child = new (mp.getContext('forkserver').Process)({ target: work });
          child.start();
          child.join();
          console.log(child.exitcode);
        }
      }`,
    );
    const result = await runOk(file);
    expect(result.stdout, report(result)).toBe('beside\npackage\nbeside\nwork\n0\nwork\n0\n');
    expect(result.stderr).toContain("cannot preload './fails.cjs'");
    expect(result.stderr).toContain('Error: on purpose');
    expect(result.stderr).not.toMatch(/nowhere|no-package/);
  });

  test('what it is given is checked', async () => {
    const names = await runJson(
      program(
        '',
        `print([5, 'text', ['a', 1], null].map((names) => {
          try { mp.setForkserverPreload(names); return null; } catch (error) { return error.name; }
        }));`,
      ),
    );
    expect(names).toEqual(Array.from({ length: 4 }, () => 'TypeError'));
  });

  test('resources that a module makes when it is imported', async () => {
    const result = await runOk(
      program(
        `export const lock = new mp.Lock();
        export const memory = new (await import('node-multiprocessing/sharedMemory')).SharedMemory({ create: true, size: 10 });
        export const report = () => console.log('ok', lock.acquire(), memory.size >= 10);`,
        'run(report); memory.unlink();',
      ),
    );
    expect(result.stdout, report(result)).toBe('ok true true\n');
    // Nobody unlinks the server's: it says so, and does.
    expect(result.stderr).toMatch(/resource_tracker: There appear to be 1 leaked shared_memory/);
  });

  test('what the import has begun may end before the first child', async () => {
    const result = await runOk(
      program(
        `export let ready = false;
        setTimeout(() => { ready = true; }, 60);
        export const tell = () => console.log(ready);`,
        'run(tell); run(tell);',
      ),
    );
    expect(result.stdout).toBe('true\ntrue\n');
  });

  test('a module that ends the process, or an executable that is none: an error that says so', async () => {
    const result = await runFixture(
      program('if (mp.parentProcess() !== null) process.exit(3);', 'run(nothing);'),
    );
    expect(result.code, report(result)).toBe(1);
    expect(result.stderr).toMatch(
      /RuntimeError: the fork server ended with exit code 3 .*setForkserverPreload\(\[\]\)/,
    );
    const codes = await runJson(
      program(
        '',
        `const codeWith = (file) => {
          mp.setExecutable(file);
          try { return run(nothing); } catch (error) { return error.code ?? error.message.slice(0, 38); }
        };
        print(['/nonexistent/node', '/bin/false', null].map(codeWith));`,
      ),
    );
    expect(codes).toEqual(['ENOENT', 'the fork server ended with exit code 1', 0]);
  });

  test('a node that does not take --single-threaded', async () => {
    const file = write(
      'node.sh',
      `#!/bin/sh\ncase " $* " in *" --single-threaded "*) exit 9 ;; esac\nexec "${process.execPath}" "$@"\n`,
      0o755,
    );
    const code = await runJson(
      program('', `mp.setExecutable(${JSON.stringify(file)}); print(run(nothing));`),
    );
    expect(code).toBe(0);
  });
});

describe('strangers', () => {
  test.skipIf(process.getuid?.() !== 0)(
    'another user gets no child, and finds no way',
    async () => {
      const result = await runOk(
        program(
          '',
          `const server = ask(tellServer);
        const sockets = fs.readdirSync('/proc/' + server + '/fd').flatMap((fd) => {
          try {
            const [, inode] = /^socket:.(\\d+)/.exec(fs.readlinkSync('/proc/' + server + '/fd/' + fd)) ?? [];
            return inode === undefined ? [] : [inode];
          } catch { return []; }
        });
        const named = fs.readFileSync('/proc/net/unix', 'utf8').split('\\n').map((line) => line.trim().split(/ +/))
          .filter(([, , , , , , inode, name]) => sockets.includes(inode) && name !== undefined);
        console.log('named', named.length);
        const pid = posix.fork();
        if (pid === 0) {
          process.setgroups([65534]); process.setgid(65534); process.setuid(65534);
          const tryTo = (what) => { try { what(); console.log('possible'); } catch (error) { console.log(error.code, /user 65534/.test(error.message)); } };
          tryTo(() => fs.readdirSync('/proc/' + server + '/fd'));
          tryTo(() => start(nothing));
          posix._exit(0);
        }
        posix.waitpid(pid, 0);
        console.log(run(nothing), ask(tellServer) === server);`,
        ),
      );
      expect(result.stdout, report(result)).toBe('named 0\nEACCES false\nEACCES true\n0 true\n');
    },
  );
});

describe('no room', () => {
  test('too many descriptors: an error with the remedy, and then it goes on', async () => {
    const file = write(
      'limited.mjs',
      (
        program(
          '',
          `const event = new mp.Event();
        const children = [];
        let error;
        while (error === undefined && children.length < 300) {
          try { children.push(start(waitFor, event)); } catch (thrown) { error = thrown; }
        }
        event.set();
        for (const child of children) child.join();
        mp.sleep(0.1);
        print([error?.code, /ulimit -n/.test(error?.message), children.every(({ exitcode }) => exitcode === 0), run(nothing)]);`,
        ) as { mjs: string }
      ).mjs,
    );
    const sh = write('limited.sh', `#!/bin/sh\nulimit -n 256\nexec "$MP_NODE" "$@"\n`, 0o755);
    const answer = await runJson(file, {
      node: sh,
      env: { MP_NODE: process.env['MP_TEST_NODE'] ?? process.execPath },
    });
    expect(answer).toEqual(['EMFILE', true, true, 0]);
  });
});
