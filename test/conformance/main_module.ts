/**
 * The main module in a child that is not forked: it is imported, whatever it is written in, and is not the program
 * there.
 */

import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { report, runFixture, runOk, type Program, type RunOptions } from '../support/fixture.js';
import { temporary } from '../support/paths.js';

const BOOTSTRAPPING =
  /RuntimeError: \s+An attempt has been made to start a new process before the\s+current process has finished its bootstrapping phase/;

/** The guards that a program may have. */
const GUARDS = {
  mjs: {
    'parentProcess()': 'mp.parentProcess() === null',
    'process.argv': 'process.argv[1] === fileURLToPath(import.meta.url)',
    'import.meta.main, where node has it':
      "(typeof import.meta.main === 'boolean' ? import.meta.main : mp.parentProcess() === null)",
  },
  cjs: {
    'parentProcess()': 'mp.parentProcess() === null',
    'process.argv': 'process.argv[1] === __filename',
    'require.main': 'require.main === module',
    'module.parent': '!module.parent',
  },
} as const;

const nodeVersion = execFileSync(process.env['MP_TEST_NODE'] ?? process.execPath, ['--version'])
  .toString()
  .slice(1)
  .split('.')
  .map(Number) as [number, number, number];
const stripsTypes = nodeVersion[0] > 22 || (nodeVersion[0] === 22 && nodeVersion[1] >= 18);

export function mainModuleConformance(method: string): void {
  const folder = path.join(temporary, `main-${method}-${process.pid}`);
  const write = (name: string, text: string): string => {
    const file = path.join(folder, name);
    mkdirSync(path.dirname(file), { recursive: true });
    writeFileSync(file, text);
    return file;
  };
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  const mjs = (text: string): { mjs: string } => ({
    mjs: `import mp from 'node-multiprocessing';\nimport { fileURLToPath } from 'node:url';\n${text}`,
  });
  const cjs = (text: string): { cjs: string } => ({
    cjs: `const mp = require('node-multiprocessing').default;\n${text}`,
  });
  const start = (options: string): string =>
    `const child = new (mp.getContext('${method}').Process)(${options}); child.start(); child.join(); console.log(child.exitcode);`;
  const output = async (program: Program, options?: RunOptions): Promise<string> => {
    const result = await runOk(program, { timeoutMs: 50_000, ...options });
    expect(result.stderr, report(result)).toBe('');
    return result.stdout;
  };

  describe(`the main module (${method})`, () => {
    test.each(Object.entries(GUARDS.mjs))('an ES module, guarded by %s', async (_, guard) => {
      const text = `
        console.log('loaded');
        export function work(x) { console.log('work', x, process.argv[1] === import.meta.filename); }
        if (${guard}) { ${start('{ target: work, args: [1] }')} }`;
      expect(await output(mjs(text))).toBe('loaded\nloaded\nwork 1 true\n0\n');
    });

    test.each(Object.entries(GUARDS.cjs))('a CommonJS module, guarded by %s', async (_, guard) => {
      const text = `
        console.log('loaded');
        exports.work = function work(x) { console.log('work', x, process.argv[1] === __filename); };
        if (${guard}) { ${start('{ target: exports.work, args: [1] }')} }`;
      expect(await output(cjs(text))).toBe('loaded\nloaded\nwork 1 true\n0\n');
    });

    test('without a guard: the error of Python, and no further process', async () => {
      for (const program of [
        mjs(`export function work() {} ${start('{ target: work }')}`),
        cjs(`exports.work = () => {}; ${start('{ target: exports.work }')}`),
      ]) {
        const result = await runFixture(program);
        expect(result.stdout, report(result)).toBe('1\n');
        expect(result.stderr).toMatch(BOOTSTRAPPING);
        expect(result.stderr).toContain('if (parentProcess() === null)');
      }
    });

    test('without a guard, later: the same', async () => {
      const later = `
        async function main() { await new Promise((go) => setTimeout(go, 50)); ${start('{ target: work }')} }`;
      for (const call of ['main();', 'setTimeout(main, 50);', 'queueMicrotask(main)']) {
        // The child would end before it comes to that.
        const program =
          mjs(`export async function work() { await new Promise((go) => setTimeout(go, 2000)); }
          ${later} ${call}`);
        const result = await runFixture(program);
        expect(result.stdout, report(result)).toBe('1\n');
        expect(result.stderr).toMatch(BOOTSTRAPPING);
      }
    });

    test('without a guard, at the end: the same, or nothing', async () => {
      for (const event of ['beforeExit', 'exit']) {
        const result = await runFixture(
          mjs(`export const work = () => console.log('works');
          process.once('${event}', () => { ${start('{ target: work }')} });`),
        );
        expect(result.stdout, report(result)).toMatch(/^works\n[01]\n$/);
        // A fork server does not do it.
        if (method === 'spawn') expect(result.stderr).toMatch(BOOTSTRAPPING);
        else expect(result.stderr).toBe('');
      }
    });

    test('what the target starts is not taken for the import', async () => {
      const text = `
        export const echo = () => console.log('echo', mp.currentProcess().name);
        export async function work() { await null; ${start('{ target: echo }')} }
        setTimeout(() => {}, 100);
        if (mp.parentProcess() === null) { ${start('{ target: work }')} }`;
      const name = method === 'spawn' ? 'SpawnProcess' : 'ForkServerProcess';
      expect(await output(mjs(text))).toBe(`echo ${name}-1:1\n0\n0\n`);
    });

    test('what was registered by name at its top level', async () => {
      const text = `
        mp.reduction.register('by name', (x) => console.log(x));
        class Point {}
        mp.reduction.register(Point);
        mp.reduction.register('show', (p) => console.log(p instanceof Point, p.x));
        if (mp.parentProcess() === null) {
          const show = mp.reduction.loads(mp.reduction.dumps([null]))[0] ?? registered();
          { ${start('{ target: show, args: [Object.assign(new Point(), { x: 1 })] }')} }
        }
        function registered() { const f = (p) => console.log(p instanceof Point, p.x); mp.reduction.register('here', f); return f; }`;
      // It was registered in the parent alone.
      const result = await runFixture(mjs(text));
      expect(result.stdout, report(result)).toBe('1\n');
      expect(result.stderr).toContain("nothing is registered as 'here' in this process");
      const good = text
        .replace(
          'const show = mp.reduction.loads(mp.reduction.dumps([null]))[0] ?? registered();',
          '',
        )
        .replace("mp.reduction.register('show', (p) =>", 'const show = (p) =>')
        .replace('p.x));', "p.x); mp.reduction.register('show', show);");
      expect(await output(mjs(good))).toBe('true 1\n0\n');
    });

    test('it may await at its top level, here and there', async () => {
      const text = `
        await new Promise((go) => setTimeout(go, 20));
        export const work = async () => console.log('work');
        if (mp.parentProcess() === null) {
          const child = new (mp.getContext('${method}').Process)({ target: work });
          child.start(); await child.joinAsync(); console.log(child.exitcode);
        }`;
      expect(await output(mjs(text))).toBe('work\n0\n');
    });

    test('an import that fails, or never ends, ends the child', async () => {
      const fails = await runFixture(
        mjs(`export const work = () => {};
          if (mp.parentProcess() !== null) throw new Error('on purpose');
          ${start('{ target: work }')}`),
      );
      expect(fails.stdout, report(fails)).toBe('1\n');
      expect(fails.stderr).toMatch(/Process \w+-1:\nError: on purpose/);
      const hangs = await runFixture(
        mjs(`export const work = () => {};
          if (mp.parentProcess() !== null) await new Promise(() => {});
          ${start('{ target: work }')}`),
      );
      expect(hangs.stdout, report(hangs)).toBe('13\n');
      expect(hangs.stderr).toMatch(/the parent's main module is still pending/);
    });

    test('modules that it has not loaded are loaded for the target', async () => {
      write(
        'lib.mjs',
        'export default function hello(x) { console.log("hello", x); }\nexport class A {}',
      );
      write('lib.cjs', 'exports.hello = (x) => console.log("cjs", x);');
      const file = write(
        'dynamic.mjs',
        `import mp from 'node-multiprocessing';
        import { createRequire } from 'node:module';
        if (mp.parentProcess() === null) {
          const { default: hello, A } = await import('./lib.mjs?query');
          { ${start('{ target: hello, args: [new A()] }')} }
          { ${start("{ target: createRequire(import.meta.url)('./lib.cjs').hello, args: [2] }")} }
        }`,
      );
      expect(await output(file)).toBe('hello A {}\n0\ncjs 2\n0\n');
    });

    test('a program without one: node -e, and from stdin', async () => {
      const file = write('target.cjs', 'exports.work = (x) => console.log("work", x);');
      const text = `const mp = require('node-multiprocessing').default;
        const { work } = require(${JSON.stringify(file)});
        ${start('{ target: work, args: [1] }')}
        try { new (mp.getContext('${method}').Process)({ target: () => {} }).start(); } catch (error) { console.log(error.name); }`;
      const expected = 'work 1\n0\nPicklingError\n';
      const run = (...args: string[]): string =>
        execFileSync(process.env['MP_TEST_NODE'] ?? process.execPath, args, {
          input: args.includes('-') ? text : '',
        }).toString();
      expect(run('-e', text)).toBe(expected);
      expect(run('--input-type=commonjs', '--eval', text, 'argument')).toBe(expected);
      expect(run('--input-type', 'commonjs', '-pe', text)).toBe(`${expected}undefined\n`);
      expect(run('-')).toBe(expected);
    });

    test('a tool that runs the program is not imported again', async () => {
      const tool = write(
        'node_modules/runner/bin.mjs',
        "console.log('tool'); await import(process.argv[2]);",
      );
      const program = write(
        'run_by_tool.mjs',
        `import mp from 'node-multiprocessing';
        export const work = () => console.log('work');
        if (mp.parentProcess() === null) { ${start('{ target: work }')} }`,
      );
      expect(await output(tool, { args: [program] })).toBe('tool\nwork\n0\n');
    });

    test('from a Worker', async () => {
      const file = write(
        'worker.mjs',
        `import mp from 'node-multiprocessing';
        import { Worker, isMainThread, parentPort } from 'node:worker_threads';
        export const work = () => console.log('work');
        if (isMainThread && mp.parentProcess() === null) new Worker(new URL(import.meta.url));
        else if (mp.parentProcess() === null) {
          ${start('{ target: work }')}
          console.log(mp.getAllStartMethods().includes('fork'));
        }`,
      );
      expect((await output(file)).split('\n').sort()).toEqual(['', '0', 'false', 'work']);
    });

    test("node's options: preloaded modules, also by relative paths, and loaders", async () => {
      write('preload.cjs', 'globalThis.preloaded = process.execArgv;');
      write(
        'hooks.mjs',
        `export async function load(url, context, next) {
          return url.endsWith('.nonsense') ? { format: 'module', shortCircuit: true, source: 'export const work = () => console.log("nonsense", preloaded.length > 0);' } : next(url, context);
        }`,
      );
      write(
        'loader.mjs',
        "import { register } from 'node:module'; register('./hooks.mjs', import.meta.url);",
      );
      write('some.nonsense', 'not JavaScript');
      const file = write(
        'loaded.mjs',
        `import mp from 'node-multiprocessing';
        import { work } from './some.nonsense';
        process.chdir('/');
        if (mp.parentProcess() === null) { ${start('{ target: work }')} }`,
      );
      const execArgv = ['-r', './preload.cjs', '--import=./loader.mjs', '--no-warnings'];
      expect(await output(file, { execArgv, cwd: folder })).toBe('nonsense true\n0\n');
    });

    test.skipIf(!stripsTypes)('TypeScript, as node strips it', async () => {
      const module = write(
        'typed.mts',
        `import mp from 'node-multiprocessing';
        export function work(x: number): void { console.log('work', x satisfies number); }
        if (mp.parentProcess() === null) { ${start('{ target: work, args: [1] }')} }`,
      );
      const common = write(
        'typed.cts',
        `const mp = require('node-multiprocessing').default;
        exports.work = function (x: number): void { console.log('work', x); };
        if (require.main === module) { ${start('{ target: exports.work, args: [1] }')} }`,
      );
      for (const file of [module, common]) {
        expect(await output(file, { execArgv: ['--no-warnings'] })).toBe('work 1\n0\n');
      }
    });
  });
}
