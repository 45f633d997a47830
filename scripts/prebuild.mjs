/**
 * Makes the binaries that are published: `npm run prebuild [-- linux-x64 linux-arm64 …]`, into prebuilds/.
 *
 * Without arguments: all that this machine can make. On Linux with glibc that is x64 and arm64, each for glibc 2.28 and
 * later, and Windows by a cross compiler (mingw.mjs), which is for tests: a release's is MSVC's; on macOS both architectures; elsewhere the machine's own. Each is one Node-API binary for all versions of Node.
 *
 * The addon is built from binding.gyp, as a user's would be, but in a directory of its own below build/, so that the
 * checkout's addon stays. For glibc the compiler is zig's clang, which can link against the symbols of an old C library;
 * the C++ library is GCC's, linked statically: some of our calls give V8 a std::shared_ptr, and V8's is GCC's too, which
 * zig's own is not. What came out is looked at before it is taken: no library but the C library, no symbol too new.
 */

import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { problemsOf, requirementsOf } from './elf.mjs';
import { compileForWindows, MINGW_TOOLS } from './mingw.mjs';
import {
  has,
  headerArguments,
  installMissingTools,
  missingTools,
  root,
  run,
  runBin,
} from './toolchain.mjs';
import { findZig } from './zig.mjs';

const NAME = 'node-multiprocessing';
const COMPAT = path.join(root, 'scripts/glibc-2.28');

const WINDOWS = 'win32-x64';

const GLIBC_TRIPLES = { x64: 'x86_64-linux-gnu', arm64: 'aarch64-linux-gnu' };

/** As node-gyp-build tells them apart. */
const libc = existsSync('/etc/alpine-release') ? 'musl' : 'glibc';
const host = `${process.platform}-${process.arch}`;
const onGlibc = process.platform === 'linux' && libc === 'glibc';

/** The targets that this machine can make, given the compilers. */
export function possibleTargets() {
  if (onGlibc) return ['linux-x64', 'linux-arm64', WINDOWS];
  if (process.platform === 'darwin') return ['darwin-x64', 'darwin-arm64'];
  return [host];
}

/** GCC for an architecture: we take its C++ library. */
export function gccFor(arch) {
  return arch === process.arch ? 'g++' : `${GLIBC_TRIPLES[arch]}-g++`;
}

/** The tools that a target takes and that are not from npm. */
export function toolsFor(target) {
  const [, arch] = target.split('-');
  if (onGlibc && target === WINDOWS) return MINGW_TOOLS;
  return onGlibc ? [gccFor(arch), 'make', 'python3', 'readelf'] : ['c++', 'make', 'python3'];
}

/** Where the binary of a target is published. */
export function prebuildOf(target) {
  const tag = target.startsWith('linux-') ? `.${libc}` : '';
  return path.join(root, 'prebuilds', target, `${NAME}${tag}.node`);
}

/** Beside it, the resource tracker, a program: on Linux one for every C library. */
const TRACKER = 'multiprocessing-tracker';

function output(command, args) {
  const { status, stdout, stderr } = spawnSync(command, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}: ${stderr}`);
  return stdout + stderr;
}

/** The directories where GCC has its C++ headers. */
function cxxIncludes(gcc) {
  const [, list] = /search starts here:\n([^#]*?)End of search list/s.exec(
    output(gcc, ['-E', '-x', 'c++', '-v', '/dev/null']).replace(/#include <\.\.\.> /, '\n'),
  ) ?? ['', ''];
  const directories = list
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => /\/c\+\+\/\d+/.test(line));
  if (directories.length === 0) throw new Error(`${gcc} does not say where its headers are`);
  return directories;
}

/** Writes the compiler that node-gyp will call: zig, with GCC's C++ library, for an old glibc. */
function writeCompiler(directory, arch) {
  const zig = findZig();
  if (zig === undefined) throw new Error('without zig there is no binary for glibc 2.28');
  const gcc = gccFor(arch);
  const quote = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  const flags = ['cc', '-target', `${GLIBC_TRIPLES[arch]}.2.28`, '-fno-sanitize=undefined'];
  const missing = path.join(directory, 'missing.o');
  const source = path.join(COMPAT, 'missing.c');
  const code = run(zig, [...flags, '-c', '-O2', '-fPIC', `-I${COMPAT}`, source, '-o', missing]);
  if (code !== 0) throw new Error('zig cannot compile');

  const headers = [COMPAT, ...cxxIncludes(gcc)].map((include) => `-I${include}`);
  const libraries = [
    missing,
    output(gcc, ['-print-file-name=libstdc++.a']).trim(),
    '-lunwind', // LLVM's, linked in: libgcc's would want glibc 2.35.
    '-lm',
    '-s',
    '-Wl,--gc-sections', // libstdc++.a has parts that want a later glibc, and that nothing here uses.
    `-Wl,--version-script=${path.join(COMPAT, 'exports.map')}`,
  ];
  const compiler = path.join(directory, 'c++');
  writeFileSync(
    compiler,
    [
      '#!/bin/sh',
      'case " $* " in',
      '*" -print-file-name="*) exit 1 ;;', // There is no static library for an old glibc.
      `*" -shared "*) set -- "$@" ${libraries.map(quote).join(' ')} ;;`,
      'esac',
      `exec ${[zig, ...flags, '-nostdinc++', ...headers].map(quote).join(' ')} "$@"`,
      '',
    ].join('\n'),
  );
  chmodSync(compiler, 0o755);
  return compiler;
}

function environmentFor(directory, arch) {
  if (onGlibc) {
    const compiler = writeCompiler(directory, arch);
    return { CC: compiler, CXX: compiler, LINK: compiler };
  }
  if (process.platform === 'linux') return { LDFLAGS: '-static-libstdc++ -static-libgcc -s' };
  return {};
}

function strip(file) {
  if (process.platform === 'darwin') run('strip', ['-x', file]);
}

/** Makes a directory in which node-gyp finds the package's sources and leaves its own files. */
export function stage(directory) {
  rmSync(directory, { recursive: true, force: true });
  mkdirSync(directory, { recursive: true });
  for (const name of ['native', 'node_modules', 'test']) {
    symlinkSync(path.join(root, name), path.join(directory, name), 'junction');
  }
  for (const name of ['binding.gyp', 'package.json']) {
    copyFileSync(path.join(root, name), path.join(directory, name));
  }
  return directory;
}

function describe(file, target) {
  const size = `${Math.round(statSync(file).size / 1024)} KiB`;
  const name = path.relative(root, file);
  if (!target.startsWith('linux-') || libc !== 'glibc') {
    console.log(`${name}: ${size}`);
    return;
  }
  const requirements = requirementsOf(file);
  const problems = problemsOf(requirements);
  if (problems.length > 0) throw new Error(`${name} cannot be published: ${problems.join('; ')}`);
  const { versions, libraries } = requirements;
  console.log(`${name}: ${size}, glibc ${versions.GLIBC} or later, ${libraries.join(' ')}`);
}

/** For glibc's machines and musl's: linked with all of musl that it needs, some 30 KB. */
function buildTracker(arch, output) {
  const link = ['-static', '-nostdlib++', '-s'];
  const compile = ['-std=c++17', '-Os', '-D_GNU_SOURCE', '-Wall', '-Wextra', '-Werror'];
  const without = ['exceptions', 'rtti', 'threadsafe-statics', 'sanitize=undefined'];
  const code = run(findZig(), [
    'c++',
    '-target',
    GLIBC_TRIPLES[arch].replace('gnu', 'musl'),
    ...link,
    ...compile,
    ...without.map((feature) => `-fno-${feature}`),
    `-I${path.join(root, 'native')}`,
    path.join(root, 'native/tracker/main.cc'),
    '-o',
    output,
  ]);
  if (code !== 0) throw new Error('zig cannot compile the resource tracker');
}

/** Builds one target; throws where that fails. */
export async function prebuild(target) {
  const built = onGlibc && target === WINDOWS ? await compileForWindows() : compile(target);
  describe(built, target);
  const file = prebuildOf(target);
  mkdirSync(path.dirname(file), { recursive: true });
  rmSync(file, { force: true });
  copyFileSync(built, file);
}

/** The program beside the addon that unlinks what was leaked. */
function publishTracker(target, directory) {
  const [, arch] = target.split('-');
  const program = path.join(directory, 'build/Release', TRACKER);
  if (onGlibc) buildTracker(arch, program);
  else strip(program);
  const published = path.join(path.dirname(prebuildOf(target)), TRACKER);
  mkdirSync(path.dirname(published), { recursive: true });
  rmSync(published, { force: true });
  copyFileSync(program, published);
  chmodSync(published, 0o755);
  console.log(
    `${path.relative(root, published)}: ${Math.round(statSync(published).size / 1024)} KiB`,
  );
}

/** By node-gyp, in a directory of its own; answers the binary's path. */
function compile(target) {
  const [, arch] = target.split('-');
  const directory = path.join(root, 'build/prebuild', target);
  stage(directory);
  const code = runBin(
    'node-gyp',
    ['rebuild', '--release', '--jobs=max', '--silent', `--arch=${arch}`, ...headerArguments()],
    {
      cwd: directory,
      env: { ...process.env, ...environmentFor(directory, arch) },
      stdio: ['ignore', 'ignore', 'inherit'],
    },
  );
  if (code !== 0) throw new Error(`node-gyp failed for ${target}`);
  const built = path.join(directory, 'build/Release/multiprocessing.node');
  strip(built);
  if (process.platform !== 'win32') publishTracker(target, directory);
  return built;
}

/**
 * npm runs a script of this name before every `npm run build`, too. Who is meant is in the command line of the npm that
 * is above us: that is its title. On Linux alone; elsewhere `node scripts/prebuild.mjs` is the way to ask.
 */
function isHookOfBuild() {
  if (process.env.npm_lifecycle_event !== 'prebuild') return false;
  let pid = process.ppid;
  try {
    for (let level = 0; level < 5 && pid > 1; level++) {
      const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split(/[\0\s]+/);
      if (words.includes('prebuild')) return false;
      if (words.includes('build')) return true;
      const status = readFileSync(`/proc/${pid}/status`, 'utf8');
      pid = Number(/^PPid:\s+(\d+)/m.exec(status)?.[1]);
    }
  } catch {
    // No /proc.
  }
  return true;
}

async function main(asked) {
  const targets = asked.length > 0 ? asked : possibleTargets();
  for (const target of targets) {
    if (!possibleTargets().includes(target)) {
      console.error(
        `${target} cannot be made here, but ${possibleTargets().join(', ')} can; ` +
          'the release workflow makes each on a machine of its kind',
      );
      return 1;
    }
    const tools = toolsFor(target);
    installMissingTools(missingTools(tools));
    const missing = tools.filter((tool) => process.platform !== 'win32' && !has(tool));
    if (missing.length > 0) {
      console.error(`${target} needs ${missing.join(', ')}, not found on this machine`);
      if (asked.length > 0) return 1;
      continue;
    }
    await prebuild(target);
  }
  return 0;
}

if (process.argv[1] === import.meta.filename && !isHookOfBuild()) {
  process.exitCode = await main(process.argv.slice(2));
}
