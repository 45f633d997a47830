/**
 * `npm run fuzz -- [targets…] [--seconds=60]`: libFuzzer on the parsers of native/core, under ASan and UBSan. A
 * target is a file here: `frame`, `channel`, `pipe`; without any, all of them, one after the other.
 *
 * What it has learnt stays in build/fuzz/corpus and is where the next run begins. An input that crashes, hangs for
 * ten seconds or gets a wrong answer is kept, and its name printed; the exit code is 1 then.
 */

import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { spawnSync } from 'node:child_process';
import os from 'node:os';
import path from 'node:path';
import { has, root, run } from '../../scripts/toolchain.mjs';

const directory = path.join(root, 'build/fuzz');
const known = readdirSync(import.meta.dirname)
  .filter((file) => file.endsWith('.cc'))
  .map((file) => path.basename(file, '.cc'));

const options = process.argv.slice(2);
const seconds = Number(options.find((o) => o.startsWith('--seconds='))?.split('=')[1] ?? 60);
const asked = options.filter((o) => !o.startsWith('--'));
const targets = asked.length > 0 ? asked : known;
const strange = [
  ...targets.filter((target) => !known.includes(target)),
  ...options.filter((o) => o.startsWith('--') && !o.startsWith('--seconds=')),
];
if (strange.length > 0 || !(seconds > 0)) {
  console.error(`usage: npm run fuzz -- [${known.join(' | ')}]… [--seconds=60]`);
  process.exit(2);
}

/** 16 bits, and 32, as the targets read them. */
const u16 = (number) => [number & 255, number >> 8];
const u32 = (number) => [...u16(number & 0xffff), ...u16(number >>> 16)];
/** Bytes that do as a text. */
const text = (length) => Array.from({ length }, (_, i) => i & 127);

/** A few inputs that go the usual ways: from them on the fuzzer finds the others faster than from nothing. */
const SEEDS = {
  frame: [
    // Received: how, into how much room, in slices; then short frames, an empty one, one of the long form, an end.
    [1, 1, 0, ...u32(64), 0, 0, 0, 0, 3, 1, 2, 3, 0, 0, 0, 0, 0, 0, 0, 1, 9],
    [1, 1, 1, ...u32(2), 1, 2, 0, 0, 0, 5, 1, 2, 3, 4, 5],
    [1, 0, 0, ...u32(64), 0, 255, 255, 255, 255, 0, 0, 0, 0, 0, 0, 0, 2, 7, 8],
    [1, 1, 0, ...u32(64), 0, 128, 0, 0, 0],
    // Sent, in parts.
    [0, 1, 3, 0, 5, ...text(10), 8, ...text(16)],
  ],
  channel: [
    // Small, large and many-part messages, got; collected; a word changed in between.
    [0, 0, ...u32(100), 7, 0, ...u32(20), 7, 4, 4, 4],
    [1, 2, ...u32(200_000), 1, 4, 4, 6, 3, ...u32(200), 4, 1, 4, 4],
    [2, 2, ...u32(150_000), 1, 2, ...u32(150_000), 1, 7, 4, 4, 4, 4, 7],
    [0, 0, ...u32(100), 7, 8, 0, ...u32(20), 0, ...u32(9999), 4, 0, ...u32(1), 0, 6],
    [0, ...Array.from({ length: 20 }, () => [0, ...u32(4000), 0]).flat(), 6, 8, 2, ...u32(4), 4, 6],
  ],
  pipe: [
    // Either end sends and receives; large ones in pieces; descriptors; strange bytes on the socket.
    [0, 0, ...u32(100), 132, 132],
    [0, 2, ...u32(500_000), 132, 132, 2, ...u32(1), 132, 132, 132],
    [0, 3, ...u32(500), 2, 132, 132, 132],
    [1, 128, ...u32(30), 4, 135, 5, 1, 2, 3, 4, 5, 4, 4],
    [0, 3, ...u32(500), 2, 10, 0, ...u32(20), 3, 1, 132, 132, 136, 1, 8, 132],
  ],
};

/** The newest clang++ that is installed. */
function findCompiler() {
  const versions = Array.from({ length: 15 }, (_, i) => `clang++-${25 - i}`);
  return ['clang++', ...versions].find((name) => has(name));
}

/** Whether it brings libFuzzer and the sanitizers, which Debian packages by themselves and Apple's lacks. */
function canFuzz(compiler) {
  const flags = ['-fsanitize=fuzzer,address,undefined', '-x', 'c++', '-', '-o', os.devNull];
  const program =
    '#include <stddef.h>\nextern "C" int LLVMFuzzerTestOneInput(const char*, size_t) { return 0; }';
  return (
    spawnSync(compiler, flags, { input: program, stdio: ['pipe', 'ignore', 'ignore'] }).status === 0
  );
}

function fail(message, code = 1) {
  console.error(`fuzz: ${message}`);
  process.exit(code);
}

function build() {
  const compiler = findCompiler();
  if (compiler === undefined || !has('cmake')) {
    const missing = compiler === undefined ? 'clang++' : 'cmake';
    fail(
      `${missing} is not installed. Debian, Ubuntu: sudo apt-get install clang cmake. ` +
        'macOS: brew install llvm cmake, with its bin before the rest in PATH.',
      127,
    );
  }
  if (!canFuzz(compiler)) {
    fail(
      `${compiler} has no libFuzzer, or no sanitizers. Debian, Ubuntu: sudo apt-get install ` +
        "libclang-rt-<version>-dev g++. macOS: brew install llvm; Apple's own has none.",
      127,
    );
  }
  // CMake refuses a cache that was made for a checkout in another place.
  const cache = path.join(directory, 'CMakeCache.txt');
  const isOurs = () =>
    readFileSync(cache, 'utf8').includes(`CMAKE_HOME_DIRECTORY:INTERNAL=${root}\n`);
  if (existsSync(cache) && !isOurs()) rmSync(directory, { recursive: true });
  const definitions = [
    '-DMP_ADDON=OFF',
    '-DMP_FUZZ=ON',
    '-DCMAKE_BUILD_TYPE=RelWithDebInfo',
    `-DCMAKE_CXX_COMPILER=${compiler}`,
  ];
  const steps = [
    ['-S', root, '-B', directory, '-Wno-dev', ...definitions],
    ['--build', directory, '--parallel', String(os.availableParallelism())],
  ];
  for (const step of steps) {
    if (run('cmake', step) !== 0) fail('it cannot be built; the messages above say why');
  }
}

/** Runs it, with its talk in a file; answers whether it has found nothing. */
function fuzz(target) {
  const corpus = path.join(directory, 'corpus', target);
  const found = path.join(directory, 'found', `${target}-`);
  const log = path.join(directory, `${target}.log`);
  mkdirSync(corpus, { recursive: true });
  mkdirSync(path.dirname(found), { recursive: true });
  SEEDS[target]?.forEach((seed, i) => {
    writeFileSync(path.join(corpus, `seed-${i}`), Uint8Array.from(seed));
  });
  const output = openSync(log, 'w');
  const code = run(
    path.join(directory, `fuzz_${target}`),
    [
      `-max_total_time=${seconds}`,
      '-timeout=10',
      '-rss_limit_mb=4096',
      '-max_len=2048',
      `-artifact_prefix=${found}`,
      corpus,
    ],
    { stdio: ['ignore', output, output] },
  );
  closeSync(output);
  const lines = readFileSync(log, 'utf8').split('\n');
  const all = lines.join('\n').match(/\((\d+) inline 8-bit counters\)/)?.[1];
  const last = lines.findLast((line) => /^#\d+\s/.test(line)) ?? '';
  const [, runs, reached] = last.match(/^#(\d+).*cov: (\d+)/) ?? [];
  console.log(`fuzz ${target}: ${runs ?? 0} runs, ${reached ?? 0} of ${all} edges reached`);
  if (code === 0) return true;
  console.error(lines.slice(-60).join('\n'));
  console.error(`fuzz ${target}: all of it in ${path.relative(root, log)}`);
  console.error(`again: build/fuzz/fuzz_${target} <the file that was written>`);
  return false;
}

build();
const good = targets.map(fuzz).every(Boolean);
process.exit(good ? 0 : 1);
