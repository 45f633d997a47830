/**
 * Configures, builds and runs the tests of the C++ core: `npm run test:native [-- <doctest options>]`, for
 * example `npm run test:native -- --test-case='ring*'`.
 *
 * MP_SANITIZE=address,undefined or MP_SANITIZE=thread builds them under sanitizers, in a directory of its
 * own so that switching costs no full rebuild.
 */

import { existsSync, readFileSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { has, installMissingTools, missingTools, root, run } from './toolchain.mjs';

const sanitize = process.env.MP_SANITIZE ?? '';
const directory = path.join(
  root,
  'build',
  `core-tests${sanitize && `-${sanitize.replaceAll(',', '-')}`}`,
);
const tools = ['c++', 'make', 'cmake'];

function fail(code) {
  const missing = missingTools(tools);
  if (missing.length > 0) {
    console.error(
      `test:native: not found on this machine: ${missing.join(', ')}. ` +
        'Debian, Ubuntu: sudo apt-get install build-essential cmake. macOS: brew install cmake.',
    );
  }
  process.exit(code);
}

function step(command, args, options) {
  const code = run(command, args, options);
  if (code !== 0) fail(code);
}

installMissingTools(missingTools(tools));
if (!has('cmake')) fail(127);

// CMake refuses a cache that was made for a checkout in another place.
const cache = path.join(directory, 'CMakeCache.txt');
if (
  existsSync(cache) &&
  !readFileSync(cache, 'utf8').includes(`CMAKE_HOME_DIRECTORY:INTERNAL=${root}\n`)
) {
  rmSync(directory, { recursive: true });
}

const definitions = [
  '-DMP_ADDON=OFF',
  '-DMP_CORE_TESTS=ON',
  `-DMP_SANITIZE=${sanitize}`,
  `-DCMAKE_BUILD_TYPE=${sanitize ? 'RelWithDebInfo' : 'Release'}`,
];
step('cmake', ['-S', root, '-B', directory, '-Wno-dev', ...definitions]);
step('cmake', ['--build', directory, '--parallel', String(os.availableParallelism())]);

const doctestOptions = process.argv.slice(2);
if (doctestOptions.length > 0) step(path.join(directory, 'core_tests'), doctestOptions);
else step('ctest', ['--test-dir', directory, '--output-on-failure', '--verbose']);
