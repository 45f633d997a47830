/**
 * Compiles the addon for platforms that are not there: `npm run check:arm64`, `check:musl`, `check:macos`.
 *
 * Each source of native/ by zig's clang with that platform's headers, warnings being errors; nothing is linked, nothing
 * kept. It finds a Linux call that another system does not have, or names otherwise, before its own machines do.
 */

import { mkdirSync, readdirSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import os from 'node:os';
import path from 'node:path';
import { ADDON_DEFINES, compile, uvDirectory } from './compiling.mjs';
import { root } from './toolchain.mjs';
import { findZig } from './zig.mjs';

const PLATFORMS = {
  arm64: ['aarch64-linux-gnu.2.28'],
  musl: ['x86_64-linux-musl', 'aarch64-linux-musl'],
  macos: ['x86_64-macos.11.0', 'aarch64-macos.11.0'],
};

const require = createRequire(import.meta.url);

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
    ...ADDON_DEFINES.map((define) => `-D${define}`),
    ...(target.includes('linux') ? ['-D_GNU_SOURCE'] : []),
    `-I${path.join(root, 'native')}`,
    `-I${path.dirname(require.resolve('node-addon-api/napi.h'))}`,
    `-I${require('node-api-headers').include_dir}`,
    // libuv's header is Node's own, and the same on every platform but Windows.
    '-idirafter',
    uvDirectory(),
  ];
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
  rmSync(directory, { recursive: true, force: true });
  console.log(`${target}: ${sources.length - failed} of ${sources.length} files compile`);
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
