/**
 * clang-tidy over native/core, where it is installed; says so and succeeds where it is not. It reads the
 * compile commands of the core tests' CMake build, which needs no Node headers.
 */

import { readdirSync } from 'node:fs';
import path from 'node:path';
import { has, root, run } from './toolchain.mjs';

if (!has('clang-tidy') || !has('cmake')) {
  console.log('clang-tidy or cmake not installed: C++ lint skipped');
  process.exit(0);
}

const directory = path.join(root, 'build/core-tests');
const configured = run(
  'cmake',
  ['-S', root, '-B', directory, '-Wno-dev', '-DMP_ADDON=OFF', '-DMP_CORE_TESTS=ON'],
  { stdio: ['ignore', 'ignore', 'inherit'] },
);
if (configured !== 0) process.exit(configured);

const files = readdirSync(path.join(root, 'native/core'))
  .filter((file) => file.endsWith('.cc') && !/^(fork|loop|platform)/.test(file))
  .map((file) => path.join('native/core', file));
process.exit(run('clang-tidy', ['--quiet', '-p', directory, ...files]));
