/**
 * The demo's job by child_process.fork, as well as it can be done: this file is both sides of it. A child is a
 * fresh Node that is told the names of its files and reads them again.
 */

import { fork } from 'node:child_process';
import { readFileSync } from 'node:fs';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { examine, memoryOfProcess } from './work.mjs';

const here = fileURLToPath(import.meta.url);

/** The parent's side. */
export async function byChildProcess(texts, shares) {
  const begin = Date.now();
  const answers = await Promise.all(
    shares.map((share) => ask({ begin, files: share.map((i) => texts[i].file) })),
  );
  const results = [];
  const children = answers.map(({ results: part, ...figures }, nth) => {
    shares[nth].forEach((i, k) => (results[i] = part[k]));
    return figures;
  });
  return { results, children };
}

/** Starts a child, sends it the request and resolves to its answer once it has ended well. */
function ask(request) {
  return new Promise((resolve, reject) => {
    const child = fork(here, [], { serialization: 'advanced' });
    let answer;
    child.once('message', (message) => (answer = message));
    child.once('error', reject);
    child.once('exit', (code, signal) => {
      if (code === 0 && answer !== undefined) resolve(answer);
      else reject(new Error(`a child of child_process.fork ended with ${signal ?? code}`));
    });
    child.send(request);
  });
}

/** The child's side. */
function answerOnce() {
  process.once('message', ({ begin, files }) => {
    const texts = files.map((file) => readFileSync(file, 'utf8'));
    const readyMs = Date.now() - begin;
    const results = texts.map(examine);
    process.send({ results, readyMs, memory: memoryOfProcess() }, () => process.disconnect());
  });
}

if (process.argv[1] === here && process.send !== undefined) answerOnce();
