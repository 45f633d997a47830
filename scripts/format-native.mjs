/**
 * clang-format over the C++ sources, `--write` or `--check`. The binary comes from npm (clang-format-node),
 * so that everybody formats with the same version.
 */

import { readdirSync } from 'node:fs';
import path from 'node:path';
import { root, runBin } from './toolchain.mjs';

const directories = [
  'native/core',
  'native/core/win32',
  'native/binding',
  'native/tracker',
  'test/native',
  'test/fuzz',
];
const files = directories.flatMap((directory) =>
  readdirSync(path.join(root, directory))
    .filter((file) => /\.(cc|h)$/.test(file))
    .map((file) => path.join(directory, file)),
);
const mode = process.argv[2] === '--write' ? ['-i'] : ['--dry-run', '--Werror'];
const code = runBin('clang-format-node', ['--style=file', ...mode, ...files], {
  bin: 'clang-format',
});
if (code !== 0) console.error('C++ sources are not formatted: npm run format');
process.exit(code);
