/**
 * The only file that loads the addon.
 *
 * Guarantees: the addon is loaded once, when the package is; it is found as a prebuilt binary for this
 * platform, or as the one built here, by node-gyp-build; and where it cannot be loaded the error says what
 * to do, with the loader's own complaint as `cause`. Every other module takes `native` from here.
 *
 * A forked child inherits the loaded addon; a spawned one loads it again through this file.
 */

import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import type NodeGypBuild from 'node-gyp-build';
// './native.d.ts' would mean this very file to TypeScript, so tsconfig.json gives its sibling a name.
import type { DistantAccess, Memory, Native, PlainMemory, WordAccess, Words } from '#native';

/** The package's root: lib/ when built, src/ under a loader such as tsx, both one level below. */
const packageRoot = join(import.meta.dirname, '..');

/** What the addon is built and tested for; other platforms may compile it. */
const SUPPORTED = 'Linux (x64, arm64; glibc or musl), macOS (x64, arm64) and Windows (x64)';

/** Where node-gyp-build looks first. It takes longer to be loaded, and to look, than the addon itself. */
const BUILT_HERE = join(packageRoot, 'build/Release/multiprocessing.node');

/** What has node-gyp-build look elsewhere. */
const ELSEWHERE = ['PREBUILDS_ONLY', 'NODE_MULTIPROCESSING_PREBUILD'];

function loadNative(): Native {
  const load = createRequire(import.meta.filename);
  try {
    const usual = ELSEWHERE.every((name) => !process.env[name]) && existsSync(BUILT_HERE);
    if (usual) return load(BUILT_HERE) as Native;
    const nodeGypBuild = load('node-gyp-build') as typeof NodeGypBuild;
    return nodeGypBuild(packageRoot) as Native;
  } catch (cause) {
    throw new Error(loadFailure(cause), { cause });
  }
}

function loadFailure(cause: unknown): string {
  const reason = cause instanceof Error ? cause.message : String(cause);
  return [
    `node-multiprocessing: cannot load its native addon for ${process.platform}-${process.arch}, ` +
      `Node ${process.version}.`,
    `Cause: ${reason}`,
    'What to do:',
    '  - build it here:        npm rebuild node-multiprocessing --foreground-scripts',
    '    (needs a C++17 compiler, make and Python 3; in a checkout: npm run build:native)',
    '  - if you install with --ignore-scripts, allow the install script of node-multiprocessing',
    '  - do not copy node_modules between machines with different platforms or C libraries',
    `Supported: Node 20 or later on ${SUPPORTED}.`,
  ].join('\n');
}

/** The addon's exports, as native.d.ts types them. */
export const native: Native = loadNative();
export type { DistantAccess, Memory, Native, PlainMemory, WordAccess, Words };
