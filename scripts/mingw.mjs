/**
 * The addon for Windows x64 by a cross compiler: mingw-w64 of Debian, in place of the MSVC that a release is made with.
 *
 * Nothing of Node's is linked: the import library says that Node-API and libuv are in node.exe. Its names are those of
 * node-api-headers, and of libuv those that the objects ask for.
 */

import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import os from 'node:os';
import path from 'node:path';
import { ADDON_DEFINES, compile, uvDirectory } from './compiling.mjs';
import { root, run } from './toolchain.mjs';

const TRIPLE = 'x86_64-w64-mingw32';
/** The one with C++'s threads. */
export const MINGW = `${TRIPLE}-g++-posix`;
export const MINGW_TOOLS = [MINGW, `${TRIPLE}-dlltool`, `${TRIPLE}-nm`];

const require = createRequire(import.meta.url);

/** As in binding.gyp. */
const DEFINES = [...ADDON_DEFINES, 'NOMINMAX', 'WIN32_LEAN_AND_MEAN', '_WIN32_WINNT=0x0A00'];

function flags() {
  return [
    '-std=gnu++17',
    '-O2',
    '-Wall',
    '-Wextra',
    '-Werror',
    '-fno-exceptions',
    ...DEFINES.map((define) => `-D${define}`),
    `-I${path.join(root, 'native')}`,
    `-I${path.dirname(require.resolve('node-addon-api/napi.h'))}`,
    `-I${require('node-api-headers').include_dir}`,
    '-idirafter',
    uvDirectory(),
  ];
}

function output(command, args) {
  const { status, stdout, stderr } = spawnSync(command, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}: ${stderr}`);
  return stdout;
}

/** The library that leads from the objects' names to node.exe. */
function importLibrary(directory, objects) {
  const headers = path.dirname(require.resolve('node-api-headers/package.json'));
  const names = new Set();
  for (const file of ['js_native_api.def', 'node_api.def']) {
    const text = readFileSync(path.join(headers, 'def', file), 'utf8');
    for (const [name] of text.matchAll(/^\s*napi_\w+|^\s*node_api_\w+/gm)) names.add(name.trim());
  }
  const undefinedNames = output(`${TRIPLE}-nm`, ['--undefined-only', '--format=posix', ...objects]);
  for (const [, name] of undefinedNames.matchAll(/^(?:__imp_)?(uv_\w+) U/gm)) names.add(name);
  const definition = path.join(directory, 'node.def');
  writeFileSync(definition, ['LIBRARY node.exe', 'EXPORTS', ...[...names].sort(), ''].join('\n'));
  const library = path.join(directory, 'libnode.a');
  output(`${TRIPLE}-dlltool`, ['-d', definition, '-l', library]);
  return library;
}

/** Compiles what has changed since the last time. Answers the addon's path; throws where that fails. */
export async function compileForWindows() {
  const directory = path.join(root, 'build/win32-x64');
  mkdirSync(directory, { recursive: true });
  const sources = ['native/core', 'native/core/win32', 'native/binding'].flatMap((folder) =>
    readdirSync(path.join(root, folder))
      .filter((file) => file.endsWith('.cc'))
      .map((file) => path.join(folder, file)),
  );
  const objectOf = (source) => path.join(directory, `${source.replaceAll(path.sep, '-')}.o`);
  const waiting = sources.filter((source) => !isFresh(objectOf(source)));
  let failed = 0;
  const work = async () => {
    for (let source; (source = waiting.pop()) !== undefined;) {
      const made = ['-MMD', '-c', source, '-o', objectOf(source)];
      if ((await compile(MINGW, [...flags(), ...made])) !== 0) failed++;
    }
  };
  await Promise.all(Array.from({ length: os.availableParallelism() }, work));
  if (failed > 0)
    throw new Error(`${failed} of ${sources.length} files do not compile for Windows`);
  const objects = sources.map(objectOf);
  const addon = path.join(directory, 'multiprocessing.node');
  // The C++ library and its threads go along: nobody has them on Windows.
  const code = run(MINGW, [
    '-shared',
    '-static',
    '-s',
    '-o',
    addon,
    ...objects,
    importLibrary(directory, objects),
  ]);
  if (code !== 0) throw new Error('the addon for Windows cannot be linked');
  return addon;
}

/** Whether nothing that the object was made of has changed since. */
function isFresh(object) {
  try {
    const list = readFileSync(object.replace(/\.o$/, '.d'), 'utf8');
    const sources = list.slice(list.indexOf(':') + 2).match(/(?:\\ |\S)+/g) ?? [];
    const made = mtime(object);
    return sources.every(
      (file) => file === '\\' || mtime(path.resolve(root, file.replaceAll('\\ ', ' '))) <= made,
    );
  } catch {
    return false;
  }
}

function mtime(file) {
  return statSync(file).mtimeMs;
}
