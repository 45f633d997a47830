/**
 * What every script that compiles needs to know: where the package is, how node-gyp is called, whether a
 * compiler is there, and what to tell the user when it is not. Plain Node, no dependency: it runs in the
 * install script of a fresh machine, before anything is built.
 */

import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';

export const root = path.resolve(import.meta.dirname, '..');

/** True in a clone of the repository; the published package does not carry this file. */
export const isCheckout = existsSync(path.join(root, 'tsdown.config.ts'));

const require = createRequire(import.meta.url);

/** Runs a program with our terminal; answers its exit code, 127 where it cannot be started. */
export function run(command, args, options = {}) {
  const result = spawnSync(command, args, { cwd: root, stdio: 'inherit', ...options });
  if (result.error) console.error(`cannot start ${command}: ${result.error.message}`);
  return result.status ?? 127;
}

/** Runs one of the development dependencies' programs by the file that its package.json names. */
export function runBin(packageName, args, { bin = packageName, ...options } = {}) {
  const manifestPath = require.resolve(`${packageName}/package.json`);
  const manifest = JSON.parse(readFileSync(manifestPath, 'utf8'));
  const file = typeof manifest.bin === 'string' ? manifest.bin : manifest.bin[bin];
  return run(process.execPath, [path.join(path.dirname(manifestPath), file), ...args], options);
}

export function has(program, args = ['--version']) {
  return spawnSync(program, args, { stdio: 'ignore' }).status === 0;
}

/** The tools, of those asked for, that this machine lacks. node-gyp on Windows finds its own compiler. */
export function missingTools(tools = ['c++', 'make', 'python3']) {
  if (process.platform === 'win32') return [];
  return tools.filter((tool) => !has(tool));
}

const DEBIAN_PACKAGES = {
  'c++': 'build-essential',
  'g++': 'build-essential',
  make: 'build-essential',
  readelf: 'binutils',
  'aarch64-linux-gnu-g++': 'g++-aarch64-linux-gnu',
  'x86_64-linux-gnu-g++': 'g++-x86-64-linux-gnu',
  'qemu-aarch64-static': 'qemu-user-static',
  'x86_64-w64-mingw32-g++-posix': 'g++-mingw-w64-x86-64-posix',
  'x86_64-w64-mingw32-dlltool': 'binutils-mingw-w64-x86-64',
  'x86_64-w64-mingw32-nm': 'binutils-mingw-w64-x86-64',
  wine64: 'wine64',
};

/**
 * In a checkout, as root, on a Debian-like system: installs what is missing, so that `npm install` on a
 * bare machine is enough. Never inside somebody else's project: a dependency does not change the system.
 */
export function installMissingTools(missing) {
  if (missing.length === 0 || !isCheckout) return;
  // npm prepares a git dependency in a checkout of its own, and says so by this variable.
  if (process.env._PACOTE_NO_PREPARE_ !== undefined) return;
  if (process.getuid?.() !== 0 || !has('apt-get')) return;
  const packages = [...new Set(missing.map((tool) => DEBIAN_PACKAGES[tool] ?? tool))];
  console.error(
    `node-multiprocessing: ${missing.join(', ')} missing; installing ${packages.join(', ')}`,
  );
  const options = { env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' } };
  // An update that fails on one of several sources may still have brought the packages' lists.
  run('apt-get', ['update', '-qq'], options);
  run('apt-get', ['install', '-y', '-qq', '--no-install-recommends', ...packages], options);
}

/** Arguments that spare node-gyp the download of headers where this Node has brought its own. */
export function headerArguments() {
  if (process.env.npm_config_nodedir || process.platform === 'win32') return [];
  const prefix = path.resolve(process.execPath, '../..');
  const versionHeader = path.join(prefix, 'include/node/node_version.h');
  if (!existsSync(versionHeader)) return [];
  const text = readFileSync(versionHeader, 'utf8');
  const part = (name) => text.match(new RegExp(`#define NODE_${name}_VERSION (\\d+)`))?.[1];
  const version = `v${part('MAJOR')}.${part('MINOR')}.${part('PATCH')}`;
  return version === process.version ? [`--nodedir=${prefix}`] : [];
}

/** Compiles the addon into build/Release, only what changed. Answers the exit code. */
export function compileAddon() {
  // node-gyp with `configure` first: the list of sources is a glob that only configure evaluates.
  const args = ['configure', 'build', '--jobs=max', '--loglevel=warn', ...headerArguments()];
  if (process.env.npm_config_node_gyp && !existsSync(path.join(root, 'node_modules/node-gyp'))) {
    return run(process.execPath, [process.env.npm_config_node_gyp, ...args]);
  }
  return runBin('node-gyp', args);
}

/** What to do about a build that failed: said after the compiler's own output, never instead of it. */
export function remedy(missing) {
  const lines = ['', 'node-multiprocessing: the native addon could not be built.'];
  if (missing.length > 0) lines.push(`Not found on this machine: ${missing.join(', ')}.`);
  lines.push(
    'It needs a C++17 compiler, make, Python 3, and the headers of this Node (node-gyp downloads them):',
    '  Debian, Ubuntu   sudo apt-get install build-essential python3',
    '  Fedora           sudo dnf install gcc-c++ make python3',
    '  Alpine           apk add build-base python3',
    '  macOS            xcode-select --install',
    '  Windows          Visual Studio Build Tools, "Desktop development with C++", and Python 3',
    'Without a network: npm install --nodedir=<prefix>, where <prefix>/include/node has the headers.',
    isCheckout
      ? 'Then: npm run build:native'
      : 'Then: npm rebuild node-multiprocessing --foreground-scripts',
    '',
  );
  return lines.join('\n');
}
