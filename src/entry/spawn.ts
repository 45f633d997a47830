/**
 * What node runs in a spawned child: it loads spawn_child.ts and what that needs, from the code that an earlier child has
 * compiled where the parent has it (compiled.ts tells why), and has it run the Process.
 *
 * Modules that are loaded so are node's own in every other respect: `require` finds them in its cache, under their
 * files' names, and their errors show these. Only `import()` does not work in them: V8 keeps with the code who is to
 * answer it, and that is another process.
 *
 * The file, from descriptor 5: the length of the head (u32; 0: whoever wrote has not finished), the head, which is JSON,
 * `[name, bytes of source, bytes of code]` of each module, and these bytes.
 *
 * It imports nothing of this package, and is never imported.
 */

import { closeSync, fstatSync, readFileSync, readSync, writeSync } from 'node:fs';
import { createRequire, Module } from 'node:module';
import { dirname, join } from 'node:path';
import { Script } from 'node:vm';
import type { CodeUse } from '../compiled.js';
import type { CHILD_CODE } from '../spawn.js';
import type * as SpawnChild from '../spawn_child.js';

const CODE_FILE: typeof CHILD_CODE = 5;
const HEAD = 4;
/** Of this package's code, which is ASCII (tsdown.config.ts). */
const ENCODING = 'latin1';

type Head = [name: string, sourceBytes: number, codeBytes: number][];

interface Known {
  source: string;
  code: Buffer;
}

const LIBRARY = join(import.meta.dirname, '..');
const here = createRequire(import.meta.filename);
const known = new Map<string, Known>();
const loaded = new Map<string, { source: string; script: Script }>();

/** As node wraps a CommonJS module. */
const [BEFORE, AFTER] = ['(function (exports, require, module, __filename, __dirname) { ', '\n})'];

function load(file: string): unknown {
  const present = here.cache[file];
  if (present !== undefined) return present.exports;
  const { source, code } = known.get(file) ?? { source: readFileSync(file, ENCODING) };
  const script = new Script(BEFORE + source + AFTER, {
    filename: file,
    columnOffset: -BEFORE.length,
    cachedData: code,
  });
  loaded.set(file, { source, script });
  const module = new Module(file, here.main);
  module.filename = file;
  here.cache[file] = module;
  const directory = dirname(file);
  const require = (id: string): unknown =>
    id.startsWith('.') ? load(join(directory, id)) : here(id);
  Reflect.apply(script.runInThisContext() as () => void, module.exports, [
    module.exports,
    require,
    module,
    file,
    directory,
  ]);
  module.loaded = true;
  return module.exports;
}

function readCode(): void {
  const bytes = Buffer.allocUnsafeSlow(fstatSync(CODE_FILE).size);
  for (let at = 0, got = -1; at < bytes.length && got !== 0; at += got) {
    got = readSync(CODE_FILE, bytes, at, bytes.length - at, at);
  }
  closeSync(CODE_FILE);
  let at = HEAD + bytes.readUInt32LE(0);
  const head = JSON.parse(bytes.toString('utf8', HEAD, at)) as Head;
  for (const [name, sourceBytes, codeBytes] of head) {
    const source = bytes.toString(ENCODING, at, at + sourceBytes);
    at += sourceBytes;
    known.set(name, { source, code: bytes.subarray(at, at + codeBytes) });
    at += codeBytes;
  }
}

function writeCode(): void {
  const head: Head = [];
  const parts: Buffer[] = [];
  for (const [file, { source, script }] of loaded) {
    const [text, code] = [Buffer.from(source, ENCODING), script.createCachedData()];
    head.push([file, text.length, code.length]);
    parts.push(text, code);
  }
  const names = Buffer.from(JSON.stringify(head));
  const done = Buffer.alloc(HEAD);
  done.writeUInt32LE(names.length);
  try {
    let at = HEAD;
    for (const part of [names, ...parts]) {
      if (writeSync(CODE_FILE, part, 0, part.length, at) < part.length) return;
      at += part.length;
    }
    // It pairs with `isDone` of compiled.ts.
    writeSync(CODE_FILE, done, 0, HEAD, 0);
  } catch {
    // No room for it: others compile for themselves.
  } finally {
    closeSync(CODE_FILE);
  }
}

function main(): void {
  const asked = (use: CodeUse): boolean => process.argv.includes(use);
  const writes = asked('writes-code');
  const find = writes || asked('has-code') ? load : here;
  if (asked('has-code')) readCode();
  const { main: run } = find(join(LIBRARY, 'spawnChild.cjs')) as typeof SpawnChild;
  // Every child needs them.
  if (find === load) for (const part of ['codec', 'index']) load(join(LIBRARY, `${part}.cjs`));
  run({
    importModule: (url) => import(url),
    ...(writes ? { codeFile: CODE_FILE, writeCode } : {}),
  });
}

main();
