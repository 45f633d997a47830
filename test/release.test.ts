/**
 * The package as npm publishes it: what the tarball holds and how large it is; that it installs into an empty folder where
 * there is no compiler; that the README's first example runs there by import and by require; and that the prebuilt
 * binaries ask for no C library newer than they promise.
 *
 * A copy of the checkout is packed, because packing empties lib/, which other tests are using. Its prebuilds/ are what
 * `npm run prebuild` has made, or, where it has made none of the sources as they are, the addon of this checkout.
 * MP_TEST_NODES, paths as in PATH, are more versions of Node to run the example with.
 */

import { execFileSync, spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import ts from 'typescript';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { problemsOf, requirementsOf } from '../scripts/elf.mjs';
import manifest from '../package.json' with { type: 'json' };
import { runFixture, runOk } from './support/fixture.js';
import { root } from './support/paths.js';

const MINUTES = 60_000;
const windows = process.platform === 'win32';

/** What may be in the tarball. */
const PUBLISHED = [
  /^(package\.json|README\.md|LICENSE|CHANGELOG\.md)$/,
  /^(binding\.gyp|CMakeLists\.txt|scripts\/(install|toolchain)\.mjs)$/,
  /^lib\/(entry\/)?\w+\.([cm]js|[cm]js\.map|d\.[cm]ts|d\.[cm]ts\.map)$/,
  /^src\/(\w+\/)*[\w-]+(\.d)?\.ts$/,
  /^native\/(core|core\/win32|binding|tracker)\/\w+\.(cc|h)$/,
  /^prebuilds\/(linux|darwin)-(x64|arm64)\/multiprocessing-tracker$/,
  /^prebuilds\/(linux|darwin|win32)-(x64|arm64)\/node-multiprocessing(\.glibc|\.musl)?\.node$/,
];

/** Linux by architecture and C library, macOS by architecture, Windows. */
const PLATFORMS = 7;

/** Beside the binary, but on Windows. */
const TRACKER = 'multiprocessing-tracker';

const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(2)} MB`;

/** Never copied for packing: large, and no part of what is published. */
const NOT_COPIED = new Set(['node_modules', 'build', '.git', '.cache', 'coverage', '.tmp']);

function filesBelow(directory: string): string[] {
  if (!existsSync(path.join(root, directory))) return [];
  return readdirSync(path.join(root, directory), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.relative(root, path.join(entry.parentPath, entry.name)))
    .map((file) => file.replaceAll(path.sep, '/'));
}

const modified = (file: string) => statSync(path.join(root, file)).mtimeMs;

/** The binaries of `npm run prebuild` that are as new as the sources. */
function freshPrebuilds(): string[] {
  const newest = Math.max(...[...filesBelow('native'), 'binding.gyp'].map(modified));
  return filesBelow('prebuilds').filter((file) => modified(file) >= newest);
}

const prebuilds = freshPrebuilds();
const here = `prebuilds/${process.platform}-${process.arch}/`;
const isPrebuilt = prebuilds.some((file) => file.startsWith(here));

const NO_PREBUILDS = 'prebuilds/ has nothing made of the sources as they are: npm run prebuild';

/** npm's own file: what is called npm on PATH may be a shell script. */
function npmFile(): string {
  const given = process.env['npm_execpath'];
  if (given !== undefined && given.endsWith('npm-cli.js')) return given;
  const prefix = path.dirname(path.dirname(realpathSync(process.execPath)));
  const candidates = [
    path.join(prefix, 'lib/node_modules/npm/bin/npm-cli.js'),
    path.join(path.dirname(process.execPath), 'node_modules/npm/bin/npm-cli.js'),
  ];
  const found = candidates.find((file) => existsSync(file));
  if (found === undefined) throw new Error('npm-cli.js was not found; run this with npm test');
  return found;
}

let directory: string;
let checkout: string;
let programs: string;
let bin: string;

/** What a program sees: a PATH with node and a shell, and nothing of the npm that runs these tests. */
function environment(): Record<string, string | undefined> {
  const cleared = Object.keys(process.env)
    .filter((name) => /^npm_(?!config_(cache|registry|userconfig)$)/i.test(name))
    .map((name) => [name, undefined]);
  return { ...Object.fromEntries(cleared), PATH: bin };
}

function npm(cwd: string, ...args: string[]) {
  return spawnSync(process.execPath, [npmFile(), ...args], {
    cwd,
    encoding: 'utf8',
    env: { ...process.env, ...environment() } as NodeJS.ProcessEnv,
    timeout: 3 * MINUTES,
  });
}

interface Packed {
  filename: string;
  size: number;
  unpackedSize: number;
  files: { path: string; size: number; mode: number }[];
}

let packed: Packed;

beforeAll(() => {
  directory = mkdtempSync(path.join(realpathSync(os.tmpdir()), 'mp-release-'));
  bin = path.join(directory, 'bin');
  mkdirSync(bin);
  if (!windows) {
    symlinkSync(process.execPath, path.join(bin, 'node'));
    symlinkSync('/bin/sh', path.join(bin, 'sh'));
  } else bin = path.dirname(process.execPath);

  checkout = path.join(directory, 'checkout');
  cpSync(root, checkout, {
    recursive: true,
    filter: (file) => file === root || !NOT_COPIED.has(path.basename(file)),
  });
  for (const stale of filesBelow('prebuilds').filter((file) => !prebuilds.includes(file))) {
    rmSync(path.join(checkout, stale));
  }
  if (!isPrebuilt) {
    mkdirSync(path.join(checkout, here), { recursive: true });
    const built = path.join(root, 'build/Release');
    cpSync(
      path.join(built, 'multiprocessing.node'),
      path.join(checkout, here, 'node-multiprocessing.node'),
    );
    if (!windows) cpSync(path.join(built, TRACKER), path.join(checkout, here, TRACKER));
  }
  const { status, stdout, stderr } = npm(checkout, 'pack', '--json', '--ignore-scripts');
  if (status !== 0) throw new Error(`npm pack: ${stderr}`);
  [packed] = JSON.parse(stdout) as [Packed];
  packed.filename = path.join(checkout, packed.filename);
}, 3 * MINUTES);

afterAll(() => rmSync(directory, { recursive: true, force: true }));

describe('the tarball', () => {
  const names = () => packed.files.map((file) => file.path);

  it('holds nothing but what it should', () => {
    expect(names().filter((file) => !PUBLISHED.some((rule) => rule.test(file)))).toEqual([]);
  });

  it('holds the sources to build from, and whatever package.json names', () => {
    const wanted = [
      ...filesBelow('native'),
      ...filesBelow('src'),
      'README.md',
      'LICENSE',
      'CHANGELOG.md',
      'binding.gyp',
      'CMakeLists.txt',
      'scripts/install.mjs',
      'scripts/toolchain.mjs',
      ...JSON.stringify(manifest.exports).match(/(?<="\.\/)[^"]+\.\w+(?=")/g)!,
      manifest.main.slice(2),
      manifest.types.slice(2),
    ];
    expect(wanted.length).toBeGreaterThan(100);
    expect(wanted.filter((file) => !names().includes(file))).toEqual([]);
  });

  it('holds a binary for this platform, and the resource tracker, which can be executed', () => {
    const binaries = packed.files.filter(({ path: file }) => file.startsWith(here));
    const [tracker, ...others] = binaries.filter(({ path: file }) => file.endsWith(TRACKER));
    expect(others).toEqual([]);
    expect(tracker === undefined ? 'none' : tracker.mode & 0o111).toBe(windows ? 'none' : 0o111);
    expect(binaries.filter(({ path: file }) => file.endsWith('.node'))).toHaveLength(1);
  });

  it('is as small as the README says, with the binaries of all platforms', ({ skip }) => {
    skip(!isPrebuilt, NO_PREBUILDS);
    const said = /([\d.]+) MB to download, ([\d.]+) MB unpacked/.exec(
      readFileSync(path.join(root, 'README.md'), 'utf8'),
    );
    const binaries = packed.files.filter((file) => file.path.endsWith('.node'));
    const largest = Math.max(...binaries.map((file) => file.size));
    const compressed = binaries.map(
      (file) => gzipSync(readFileSync(path.join(checkout, file.path))).length,
    );
    const missing = PLATFORMS - binaries.length;
    console.log(
      `packed ${megabytes(packed.size)}, unpacked ${megabytes(packed.unpackedSize)}, ` +
        `${packed.files.length} files, ${binaries.length} binaries of ${megabytes(largest)}`,
    );
    expect(packed.size + missing * Math.max(...compressed)).toBeLessThan(Number(said?.[1]) * 1e6);
    expect(packed.unpackedSize + missing * largest).toBeLessThan(Number(said?.[2]) * 1e6);
  });
});

describe('installed where there is no compiler', () => {
  let folder: string;
  let failure: string | undefined;
  const nodes = [
    process.execPath,
    ...(process.env['MP_TEST_NODES'] ?? '').split(path.delimiter).filter(Boolean),
  ];
  const isForkable = process.platform === 'linux' && !existsSync('/etc/alpine-release');

  beforeAll(() => {
    folder = path.join(directory, 'project');
    programs = path.join(folder, 'programs');
    mkdirSync(programs, { recursive: true });
    writeFileSync(path.join(folder, 'package.json'), '{ "name": "project", "private": true }');
    const result = npm(
      folder,
      'install',
      packed.filename,
      '--prefer-offline',
      '--no-audit',
      '--no-fund',
      '--fetch-retries=0',
      '--loglevel=error',
    );
    if (result.status === 0) return;
    failure = result.stderr;
    // What npm cannot fetch is not the package's fault; all the rest is.
    if (!/ENOTFOUND|ECONNREFUSED|ETIMEDOUT|ENETUNREACH|EAI_AGAIN|ENOTCACHED/.test(failure)) {
      throw new Error(`npm install: ${failure}`);
    }
  }, 4 * MINUTES);

  /** The README's first example, as it stands there, for one of the two systems of modules. */
  function example(module: 'import' | 'require'): string {
    const text = /```ts\n(.*?)```/s.exec(readFileSync(path.join(root, 'README.md'), 'utf8'))![1]!;
    const { outputText } = ts.transpileModule(text, {
      compilerOptions: {
        target: ts.ScriptTarget.ES2022,
        module: module === 'import' ? ts.ModuleKind.ESNext : ts.ModuleKind.CommonJS,
      },
    });
    expect(outputText).toMatch(
      module === 'import' ? /^import /m : /require\("node-multi|require\('/,
    );
    const file = path.join(programs, module === 'import' ? 'example.mjs' : 'example.cjs');
    writeFileSync(file, outputText);
    return file;
  }

  it('nothing was compiled, and the prebuilt binary is loaded', async ({ skip }) => {
    skip(failure !== undefined, `npm cannot fetch the dependencies: ${failure}`);
    const installed = path.join(folder, 'node_modules/node-multiprocessing');
    expect(existsSync(path.join(installed, 'build'))).toBe(false);
    const file = path.join(programs, 'loaded.cjs');
    writeFileSync(
      file,
      `require('node-multiprocessing');
      console.log(Object.keys(require.cache).filter((name) => name.endsWith('.node')).join());`,
    );
    const { stdout } = await runOk(file, { cwd: folder, env: environment() });
    expect(path.relative(installed, stdout.trim()).replaceAll(path.sep, '/')).toMatch(
      PUBLISHED.at(-1)!,
    );
  });

  it('the resource tracker is started', async ({ skip }) => {
    skip(windows, 'there is none');
    skip(failure !== undefined, `npm cannot fetch the dependencies: ${failure}`);
    const file = path.join(programs, 'tracked.cjs');
    writeFileSync(
      file,
      `const { SharedMemory } = require('node-multiprocessing/sharedMemory');
      console.log(new SharedMemory({ create: true, size: 8 }).name);
      process.kill(process.pid, 'SIGKILL');`,
    );
    const { stdout, stderr } = await runFixture(file, { cwd: folder, env: environment() });
    expect(stderr).toContain(`at shutdown: {'/${stdout.trim()}'}`);
  });

  it.for(
    nodes.flatMap((node) => (['import', 'require'] as const).map((by) => [by, node] as const)),
  )(
    "the README's first example runs, by %s, on %s",
    { timeout: MINUTES },
    async ([by, node], { skip }) => {
      skip(!isForkable, 'the example forks');
      skip(failure !== undefined, `npm cannot fetch the dependencies: ${failure}`);
      const { stdout } = await runOk(example(by), { node, cwd: folder, env: environment() });
      expect(stdout.trim().split('\n').sort()).toEqual(
        [1, 2, 3, 4].map((n) => `Process-${n} has checked 250000 of them`),
      );
    },
  );

  it(
    "TypeScript accepts the README's first example",
    ({ skip }) => {
      skip(failure !== undefined, `npm cannot fetch the dependencies: ${failure}`);
      const text = /```ts\n(.*?)```/s.exec(readFileSync(path.join(root, 'README.md'), 'utf8'))![1]!;
      for (const extension of ['mts', 'cts']) {
        writeFileSync(path.join(programs, `example.${extension}`), text);
      }
      execFileSync(
        process.execPath,
        [
          path.join(root, 'node_modules/typescript/bin/tsc'),
          '--noEmit',
          '--strict',
          '--module',
          'nodenext',
          '--target',
          'es2022',
          '--types',
          'node',
          '--typeRoots',
          path.join(root, 'node_modules/@types'),
          'programs/example.mts',
          'programs/example.cts',
        ],
        { cwd: folder, stdio: ['ignore', 'inherit', 'inherit'] },
      );
    },
    2 * MINUTES,
  );
});

describe('the prebuilt binaries', () => {
  const forLinux = prebuilds.filter((file) => file.includes('.glibc.'));

  if (forLinux.length === 0) it('are checked', ({ skip }) => skip(NO_PREBUILDS));

  it.each(forLinux)('%s runs on every system that Node 20 runs on', (file) => {
    const requirements = requirementsOf(path.join(root, file));
    expect(problemsOf(requirements)).toEqual([]);
    expect(requirements.versions['GLIBC']).toMatch(/^2\.\d+$/);
  });

  it('are refused when they need a newer system', () => {
    const good = {
      libraries: ['libc.so.6'],
      versions: {},
      unversioned: ['napi_x'],
      stripped: true,
    };
    expect(problemsOf({ ...good, versions: { GLIBC: '2.28' } })).toEqual([]);
    expect(problemsOf({ ...good, versions: { GLIBC: '2.34' } })).toHaveLength(1);
    expect(problemsOf({ ...good, versions: { GLIBCXX: '3.4.30' } })).toHaveLength(1);
    expect(problemsOf({ ...good, libraries: ['libstdc++.so.6'] })).toHaveLength(1);
    expect(problemsOf({ ...good, unversioned: ['arc4random'] })).toHaveLength(1);
    expect(problemsOf({ ...good, stripped: false })).toHaveLength(1);
  });
});
