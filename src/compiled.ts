/**
 * What V8 has made of this package's code, handed on from one spawned child to those after it.
 *
 * A fresh node spends more time on compiling this package than on anything else that it does for it. The second child of
 * a program therefore writes the code that it has compiled, functions that have run included, with the source it comes
 * from, into a memory file, before it goes on to its target; entry/spawn.ts does so. Later children get the file and
 * begin with that.
 *
 * Nothing depends on it. V8 looks whether code is of its own version, with the same flags and the same length of source,
 * and compiles the source where it is not. When the child that writes dies before it is done, the file says so, by its
 * first word, and some children later another one begins with a new file. A file that is done is frozen.
 *
 * With NODE_V8_COVERAGE every child compiles for itself, which counts more exactly. Where there are no memory files
 * (macOS), so it does always.
 *
 * Loaded by spawn.ts alone, with the second child.
 */

import { readSync } from 'node:fs';
import { native } from './native.js';

/** What a child does with the file: it writes it, or begins with it. Also the name in the child's arguments. */
export type CodeUse = 'writes-code' | 'has-code';

export interface CodeFile {
  readonly fd: number;
  readonly use: CodeUse;
}

/** Of how many children one writes, until one was able to. */
const ONE_OF = 16;

let file: { fd: number; done: boolean; others: number } | undefined;

/** The descriptor stays this module's. Undefined: the next child compiles for itself. */
export function codeForNextChild(): CodeFile | undefined {
  if (process.env['NODE_V8_COVERAGE']) return undefined;
  if (file === undefined) return newFile();
  if (isDone(file)) return { fd: file.fd, use: 'has-code' };
  return ++file.others < ONE_OF ? undefined : newFile();
}

/** The children to come are of another node. */
export function forgetCode(): void {
  if (file !== undefined) native.close(file.fd);
  file = undefined;
}

function newFile(): CodeFile | undefined {
  forgetCode();
  try {
    file = { fd: native.memoryFile('multiprocessing-code'), done: false, others: 0 };
  } catch {
    return undefined; // There are none here, or no descriptors left.
  }
  return { fd: file.fd, use: 'writes-code' };
}

function isDone(of: { fd: number; done: boolean }): boolean {
  if (of.done) return true;
  const word = Buffer.alloc(4);
  try {
    of.done = readSync(of.fd, word, 0, 4, 0) === 4 && word.readUInt32LE(0) > 0;
    if (of.done) native.freezeMemoryFile(of.fd);
  } catch {
    // A descendant by fork has frozen it.
  }
  return of.done;
}
