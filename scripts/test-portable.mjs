/**
 * What macOS takes, tested on Linux: `npm run test:portable [-- <vitest's arguments>]`.
 *
 * The addon and the tests of its core are built with plain POSIX alone (native/core/plain_posix.h), and run with
 * test/portable/darwin.c in front of the C library, which gives Linux those habits of macOS that the addon meets. Then
 * the suites that stand on what differs run with that addon, under spawn, which is the start method of macOS, and
 * under fork, which it has not, because most suites know no other.
 */

import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { stage } from './prebuild.mjs';
import {
  headerArguments,
  installMissingTools,
  missingTools,
  root,
  run,
  runBin,
} from './toolchain.mjs';

const DIRECTORY = path.join(root, 'build/portable');
const CORE = path.join(DIRECTORY, 'core');
const ADDON = path.join(DIRECTORY, 'addon');

/** How macOS waits on addresses: from 14.4 on, before, and, for whatever has neither, not at all. */
const WAITS = { sync: ['-DWAIT_SYNC'], ulock: ['-DWAIT_ULOCK'], naps: [] };

/** The suites that stand on what differs. */
const SUITES = [
  'test/start_method/spawn.test.ts',
  'test/start_method/spawn_main.test.ts',
  'test/start_method/fork.test.ts',
  'test/start_method/fork_connection.test.ts',
  'test/start_method/fork_queues.test.ts',
  'test/start_method/fork_sharing.test.ts',
  'test/start_method/fork_synchronize.test.ts',
  'test/crash',
  'test/posix.test.ts',
  'test/posix-memory.test.ts',
  'test/posix-native.test.ts',
];

function step(command, args, options) {
  const code = run(command, args, options);
  if (code === 0) return;
  console.error(`test:portable: failed: ${command} ${args.join(' ')}`);
  process.exit(code);
}

function buildHabits(name) {
  const file = path.join(DIRECTORY, `darwin-${name}.so`);
  const source = path.join(root, 'test/portable/darwin.c');
  const include = `-I${path.join(root, 'test/portable/include')}`;
  const flags = ['-O2', '-Wall', '-Wextra', '-Werror', '-shared', '-fPIC', include];
  step('cc', [...flags, ...WAITS[name], source, '-o', file, '-ldl']);
  return file;
}

/** The core's tests, with each way to wait. */
function testCore(habits) {
  const definitions = ['-DMP_ADDON=OFF', '-DMP_CORE_TESTS=ON', '-DCMAKE_BUILD_TYPE=Release'];
  step('cmake', ['-S', root, '-B', CORE, '-Wno-dev', ...definitions]);
  const jobs = String(os.availableParallelism());
  step('cmake', ['--build', CORE, '--target', 'core_napping_tests', '--parallel', jobs]);
  for (const [name, file] of Object.entries(habits)) {
    console.log(`core, ${name}:`);
    const env = { ...process.env, LD_PRELOAD: file };
    step(path.join(CORE, 'core_napping_tests'), ['--no-intro'], { env, timeout: 300_000 });
  }
}

/** Only what changed, unless that is how it is built. */
function buildAddon() {
  const text = (folder) => readFileSync(path.join(folder, 'binding.gyp'), 'utf8');
  if (!existsSync(path.join(ADDON, 'binding.gyp')) || text(ADDON) !== text(root)) stage(ADDON);
  const args = ['configure', 'build', '--jobs=max', '--silent', ...headerArguments()];
  const code = runBin('node-gyp', args, {
    cwd: ADDON,
    env: { ...process.env, GYP_DEFINES: 'plain_posix=1' },
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  if (code !== 0) process.exit(code);
}

function testPackage(habits, args) {
  const env = {
    ...process.env,
    LD_PRELOAD: habits,
    // src/native.ts looks there.
    NODE_MULTIPROCESSING_PREBUILD: ADDON,
    MP_TEST_PORTABLE: '1',
  };
  return runBin('vitest', ['run', ...(args.length > 0 ? args : SUITES)], { env });
}

if (process.platform !== 'linux') {
  console.error('test:portable is for Linux; elsewhere npm test takes the same code');
  process.exit(1);
}
const tools = ['c++', 'make', 'cmake'];
installMissingTools(missingTools(tools));
mkdirSync(DIRECTORY, { recursive: true });
const habits = Object.fromEntries(Object.keys(WAITS).map((name) => [name, buildHabits(name)]));
const args = process.argv.slice(2);
if (args.length === 0) testCore(habits);
buildAddon();
if (!existsSync(path.join(root, 'lib/index.mjs'))) step('npm', ['run', 'build:ts']);
process.exit(testPackage(habits.sync, args));
