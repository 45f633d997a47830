/**
 * npm run demo [-- folder]
 *
 * Reads the text of every file below a folder into memory and does a job on each: counts its words, hashes it,
 * compresses it. Once in this one process, once on all cores with Node's child_process.fork, once on all cores
 * with this package. The results must be the same; what differs is the time and the memory.
 *
 * The function to read is `byPool`, below: its workers find the texts where their parent left them.
 */

import { Array, cpuCount, Pool, Value } from 'node-multiprocessing';
import path from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { byChildProcess } from './demo/child_process.mjs';
import { loadTexts } from './demo/load.mjs';
import { count, megabytes, printHeader, printRow, seconds, skippedText } from './demo/report.mjs';
import { deal, digestOf, examine, memoryOfProcess } from './demo/work.mjs';

/** The job as any program does it: one text after the other. */
function inOneProcess(texts) {
  return { results: texts.map(({ text }) => examine(text)), children: [] };
}

/**
 * The job on several cores. The workers are forked when `map` is called, so they are this very program as it stands:
 * `texts` is a plain variable of theirs, in memory that they share with us until somebody writes to it. Nothing is copied,
 * sent or loaded to begin with; only numbers go out, and the results, which are small, come back.
 */
function byPool(texts) {
  const begin = Date.now();
  const size = cpuCount();
  const started = new Value('i', 0);
  const readyMs = new Array('d', size);
  const noteStart = () => (readyMs[started.add(1)] = Date.now() - begin);
  const pool = new Pool(size, noteStart);

  // The longest first: at the end nobody waits for a long one.
  const order = [...texts.keys()].sort((a, b) => texts[b].text.length - texts[a].text.length);
  const examined = pool.map((i) => examine(texts[i].text), order, 4, {
    progress: { label: '  texts' },
  });

  const results = [];
  order.forEach((i, nth) => (results[i] = examined[nth]));
  const children = pool
    .stats()
    .workers.map(({ pid }, i) => ({ readyMs: readyMs[i], memory: memoryOfProcess(pid) }));
  pool.close();
  pool.join();
  return { results, children };
}

async function main() {
  const given = process.argv[2];
  const folder = given ?? fileURLToPath(new URL('../node_modules', import.meta.url));
  const name = given ?? path.basename(folder);

  const loading = performance.now();
  const { texts, bytes, skipped, stoppedBy } = loadTexts(folder);
  console.log(
    `${name}: ${count(texts.length, 'text')}, ${megabytes(bytes)}, ` +
      `read into memory in ${seconds(performance.now() - loading)}${skippedText(skipped)}`,
  );
  if (stoppedBy !== null) console.log(`(That is not all of it: the demo stops at ${stoppedBy}.)`);
  if (texts.length === 0) {
    console.log('There is nothing to do. Name a folder with text files: npm run demo -- path');
    return;
  }

  const shares = deal(texts, cpuCount());
  const children = shares.length === 1 ? '1 child' : `${shares.length} children`;
  console.log('Of each: words counted, SHA-256, compressed with zlib.\n');

  // This order is the fair one: a process that has forked compiles its JavaScript with one thread only, so
  // what is to run in the parent at full speed runs before.
  const ways = [
    ['one process', () => inOneProcess(texts)],
    [`child_process.fork, ${children} *`, () => byChildProcess(texts, shares)],
    [`Pool, ${count(cpuCount(), 'worker')}`, () => byPool(texts)],
  ];
  printHeader();
  const outcomes = [];
  let single;
  for (const [label, way] of ways) {
    const begin = performance.now();
    const outcome = await way();
    const ms = performance.now() - begin;
    single ??= ms;
    printRow({ label, ms, speedUp: single / ms, children: outcome.children });
    outcomes.push({ label, digest: digestOf(texts, outcome.results), results: outcome.results });
  }

  const [first] = outcomes;
  for (const { label, digest } of outcomes) {
    if (digest !== first.digest) {
      throw new Error(
        `THE RESULTS DIFFER: ${digest} (${label}), ${first.digest} (${first.label}). ` +
          'Did a file change in the meantime?',
      );
    }
  }
  const sum = (key) => first.results.reduce((total, result) => total + result[key], 0);
  console.log(
    `\nThe same results all three ways: ${count(sum('words'), 'word')}, ` +
      `${megabytes(sum('compressed'))} compressed, digest ${first.digest.slice(0, 16)}.`,
  );
  console.log(
    '* Its children know nothing of the parent. They read their share of the files again, which is\n' +
      '  faster than to receive it through the IPC channel.\n' +
      '  own, shared / child: the memory that only the child uses, and that which it shares with others.',
  );
}

try {
  await main();
} catch (error) {
  console.error(`demo: ${error instanceof Error ? error.message : error}`);
  process.exitCode = 1;
}
