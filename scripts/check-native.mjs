/**
 * Compiles the addon for platforms that are not there: `npm run check:arm64`, `check:musl`, `check:macos`.
 *
 * Each source of native/ by zig's clang with that platform's headers, warnings being errors; then they are linked with
 * that platform's libraries, and nothing is kept. It finds a Linux call that another system does not have, or names
 * otherwise, before its own machines do. What Node brings is stood in for by the names that the sources use.
 */

import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import os from 'node:os';
import path from 'node:path';
import { root } from './toolchain.mjs';
import { findZig } from './zig.mjs';

const PLATFORMS = {
  arm64: ['aarch64-linux-gnu.2.28'],
  musl: ['x86_64-linux-musl', 'aarch64-linux-musl'],
  macos: ['x86_64-macos.11.0', 'aarch64-macos.11.0'],
};

const require = createRequire(import.meta.url);

/** As in binding.gyp. */
const DEFINES = [
  'NAPI_VERSION=8',
  'NODE_ADDON_API_DISABLE_DEPRECATED',
  'NAPI_DISABLE_CPP_EXCEPTIONS',
  'NODE_GYP_MODULE_NAME=multiprocessing',
  'BUILDING_NODE_EXTENSION',
];

function flagsFor(target) {
  // musl's macros for control messages compare a signed number with an unsigned one.
  const quirks = target.includes('musl') ? ['-Wno-sign-compare'] : [];
  return [
    'c++',
    '-target',
    target,
    '-c',
    '-std=gnu++17',
    '-O1',
    '-fPIC',
    '-Wall',
    '-Wextra',
    '-Werror',
    ...quirks,
    ...DEFINES.map((define) => `-D${define}`),
    ...(target.includes('linux') ? ['-D_GNU_SOURCE'] : []),
    `-I${path.join(root, 'native')}`,
    `-I${path.dirname(require.resolve('node-addon-api/napi.h'))}`,
    `-I${require('node-api-headers').include_dir}`,
    // libuv's header is Node's own, and the same on every platform but Windows.
    '-idirafter',
    uvDirectory(),
  ];
}

/** Where Node, or node-gyp for it, has put uv.h. */
function uvDirectory() {
  const prefixes = [
    process.env.npm_config_nodedir,
    path.resolve(process.execPath, '../..'),
    path.join(os.homedir(), '.cache/node-gyp', process.version.slice(1)),
  ];
  const directories = prefixes.filter(Boolean).map((prefix) => path.join(prefix, 'include/node'));
  return (
    directories.find((directory) => existsSync(path.join(directory, 'uv.h'))) ?? directories[0]
  );
}

/** What it says is shown if it fails: where zig compiles its own libraries, it has a lot to say. */
function compile(zig, args) {
  return new Promise((resolve) => {
    const child = spawn(zig, args, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] });
    let said = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (chunk) => (said += chunk));
    }
    child.once('error', () => resolve(127));
    child.once('close', (code) => {
      if (code !== 0) console.error(said);
      resolve(code ?? 1);
    });
  });
}

/** Whatever is called as Node's functions are, in the sources or in node-addon-api: types, too, which do no harm. */
function namesOfNode() {
  const folders = [
    path.join(root, 'native/core'),
    path.join(root, 'native/binding'),
    path.dirname(require.resolve('node-addon-api/napi.h')),
  ];
  const files = folders.flatMap((folder) =>
    readdirSync(folder)
      .filter((file) => /\.(cc|h)$/.test(file))
      .map((file) => path.join(folder, file)),
  );
  const text = files.map((file) => readFileSync(file, 'utf8')).join('\n');
  return [...new Set(text.match(/\b(?:napi|node_api|uv)_[a-z0-9_]+/g))];
}

/** With every symbol found: at run time, too, it would be looked for in these libraries. */
async function link(zig, target, directory) {
  const stubs = path.join(directory, 'stubs.c');
  writeFileSync(
    stubs,
    namesOfNode()
      .map((name) => `void ${name}(void) {}\n`)
      .join(''),
  );
  const objects = readdirSync(directory)
    .filter((file) => file.endsWith('.o'))
    .map((file) => path.join(directory, file));
  const output = path.join(directory, 'multiprocessing.node');
  const allDefined = target.includes('macos') ? '-Wl,-undefined,error' : '-Wl,-z,defs';
  const stubbed = `${stubs}.o`;
  const code = await compile(zig, ['cc', '-target', target, '-fPIC', '-c', stubs, '-o', stubbed]);
  if (code !== 0) return code;
  const args = ['c++', '-target', target, '-shared', allDefined, ...objects, stubbed, '-o', output];
  return compile(zig, args);
}

async function check(zig, target) {
  const directory = path.join(root, 'build/check', target);
  mkdirSync(directory, { recursive: true });
  const sources = ['native/core', 'native/binding', 'native/tracker'].flatMap((folder) =>
    readdirSync(path.join(root, folder))
      .filter((file) => file.endsWith('.cc'))
      .map((file) => path.join(folder, file)),
  );
  const waiting = [...sources];
  let failed = 0;
  const work = async () => {
    for (let source; (source = waiting.pop()) !== undefined;) {
      const object = path.join(directory, `${source.replaceAll(path.sep, '-')}.o`);
      if ((await compile(zig, [...flagsFor(target), source, '-o', object])) !== 0) failed++;
    }
  };
  await Promise.all(Array.from({ length: os.availableParallelism() }, work));
  if (failed === 0 && (await link(zig, target, directory)) !== 0) failed++;
  rmSync(directory, { recursive: true, force: true });
  const how = failed === 0 ? ', and link' : '';
  console.log(`${target}: ${sources.length - failed} of ${sources.length} files compile${how}`);
  return failed === 0;
}

const targets = PLATFORMS[process.argv[2]];
if (targets === undefined) {
  console.error(`usage: node scripts/check-native.mjs ${Object.keys(PLATFORMS).join(' | ')}`);
  process.exit(2);
}
const zig = findZig();
if (zig === undefined) process.exit(1);
for (const target of targets) {
  if (!(await check(zig, target))) process.exitCode = 1;
}
