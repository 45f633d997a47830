/** What those scripts share that call a compiler by themselves, past node-gyp. */

import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { root } from './toolchain.mjs';

/** As in binding.gyp. */
export const ADDON_DEFINES = [
  'NAPI_VERSION=8',
  'NODE_ADDON_API_DISABLE_DEPRECATED',
  'NAPI_DISABLE_CPP_EXCEPTIONS',
  'NODE_GYP_MODULE_NAME=multiprocessing',
  'BUILDING_NODE_EXTENSION',
];

/** Where Node, or node-gyp for it, has put uv.h: with what it has for every system beside it. */
export function uvDirectory() {
  const prefixes = [
    process.env.npm_config_nodedir,
    path.resolve(process.execPath, '../..'),
    path.join(os.homedir(), '.cache/node-gyp', process.version.slice(1)),
  ];
  const directories = prefixes.filter(Boolean).map((prefix) => path.join(prefix, 'include/node'));
  return (
    directories.find((directory) => existsSync(path.join(directory, 'uv.h'))) ?? directories[0]
  );
}

/** Answers the compiler's exit code. */
export function compile(compiler, args) {
  return new Promise((resolve) => {
    const child = spawn(compiler, args, { cwd: root, stdio: 'inherit' });
    child.once('error', () => resolve(127));
    child.once('close', (code) => resolve(code ?? 1));
  });
}
