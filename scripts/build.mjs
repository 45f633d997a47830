/**
 * Building in a checkout: `node scripts/build.mjs native | ts | if-stale | clean-lib`.
 *
 * `if-stale` is what `npm test` does first: it builds what is missing or older than its sources, so that a
 * test never runs against yesterday's code. Builds of one checkout take turns (a lock file naming the
 * builder's pid), because make and a second make in the same directory spoil each other's objects.
 */

import {
  closeSync,
  mkdirSync,
  openSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import path from 'node:path';
import { compileAddon, missingTools, remedy, root, runBin } from './toolchain.mjs';

const ADDON = path.join(root, 'build/Release/multiprocessing.node');
const LIBRARY = path.join(root, 'lib/index.mjs');
const LOCK = path.join(root, 'build/.builder');
const LOCK_PATIENCE_MS = 5 * 60_000;

/** Modification time of the newest file below `paths`, 0 where there is none. */
function newest(...paths) {
  let latest = 0;
  for (const relative of paths) {
    const absolute = path.join(root, relative);
    const stat = statSync(absolute, { throwIfNoEntry: false });
    if (stat === undefined) continue;
    if (stat.isDirectory()) {
      for (const entry of readdirSync(absolute)) {
        latest = Math.max(latest, newest(path.join(relative, entry)));
      }
    } else {
      latest = Math.max(latest, stat.mtimeMs);
    }
  }
  return latest;
}

function isStale(product, ...sources) {
  const stat = statSync(product, { throwIfNoEntry: false });
  return stat === undefined || stat.mtimeMs < newest(...sources);
}

function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === 'EPERM';
  }
}

function sleep(milliseconds) {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds);
}

/** Waits for another builder of this checkout; takes the place of one that died. */
function takeTurn() {
  mkdirSync(path.dirname(LOCK), { recursive: true });
  const deadline = Date.now() + LOCK_PATIENCE_MS;
  for (;;) {
    try {
      const fd = openSync(LOCK, 'wx');
      writeSync(fd, String(process.pid));
      closeSync(fd);
      process.on('exit', () => rmSync(LOCK, { force: true }));
      return;
    } catch (error) {
      if (error.code !== 'EEXIST') throw error;
    }
    let builder = Number.NaN;
    try {
      builder = Number(readFileSync(LOCK, 'utf8') || 'NaN');
    } catch {
      continue; // Released between the two calls.
    }
    const abandoned = Number.isNaN(builder) ? Date.now() > deadline : !isAlive(builder);
    if (abandoned) rmSync(LOCK, { force: true });
    else if (Date.now() > deadline)
      throw new Error(`process ${builder} has been building for too long`);
    else sleep(100);
  }
}

function buildNative() {
  const code = compileAddon();
  if (code !== 0) console.error(remedy(missingTools()));
  return code;
}

function buildTs() {
  const code = runBin('tsdown', ['--log-level', 'warn']);
  if (code !== 0) {
    console.error('node-multiprocessing: lib/ was not built; the messages above say why.');
    console.error('If a tool is missing: npm install (without --omit=dev), then npm run build:ts');
  }
  return code;
}

const COMMANDS = {
  native: buildNative,
  ts: buildTs,
  'clean-lib'() {
    rmSync(path.join(root, 'lib'), { recursive: true, force: true });
    return 0;
  },
  'if-stale'() {
    const nativeCode = isStale(ADDON, 'native', 'binding.gyp') ? buildNative() : 0;
    if (nativeCode !== 0) return nativeCode;
    return isStale(LIBRARY, 'src', 'package.json', 'tsconfig.json', 'tsdown.config.ts')
      ? buildTs()
      : 0;
  },
};

const command = COMMANDS[process.argv[2]];
if (command === undefined) {
  console.error(`usage: node scripts/build.mjs ${Object.keys(COMMANDS).join(' | ')}`);
  process.exit(2);
}
takeTurn();
process.exit(command());
