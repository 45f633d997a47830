/**
 * The benchmarks: `npm run bench [-- name…] [--quick] [--write]`.
 *
 * One file of this folder per primitive, peers beside it (peers/). A benchmark exports
 * `run({ quick, log })` and answers `{ figures, tables, charts?, readme? }`: raw figures for
 * bench/results/latest.json, tables for the terminal and for docs/benchmarks.md, charts for docs/img, and, from
 * one of them, the table of the README.
 *
 * Without names: all. --quick: a handful of repetitions, to see that it runs; such figures mean nothing and
 * are not written anywhere. --write: renders what was measured into docs/.
 */

import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import process from 'node:process';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { writeCharts } from './chart.mjs';
import { busy, describeMachine, machine } from './support/machine.mjs';
import { toMarkdown, toText } from './support/table.mjs';

const here = path.dirname(fileURLToPath(import.meta.url));
const RESULTS = path.join(here, 'results/latest.json');
const DOCS = path.join(here, '../docs/benchmarks.md');
const README = path.join(here, '../README.md');
const IMAGES = path.join(here, '../docs/img');

/** Files of this folder that are no benchmarks. */
const TOOLS = ['run.mjs', 'chart.mjs'];

function benchmarks() {
  return readdirSync(here)
    .filter((file) => file.endsWith('.mjs') && !TOOLS.includes(file))
    .map((file) => file.slice(0, -'.mjs'.length))
    .sort();
}

/** Progress for who watches; nothing in a log. */
function progress(name) {
  if (!process.stderr.isTTY) return () => {};
  return (text) => process.stderr.write(`\r\u001B[K${text === '' ? '' : `${name}: ${text}`}`);
}

/** The figures and what chart.mjs draws; earlier results of benchmarks that did not run this time are kept. */
function save(results) {
  let earlier = {};
  try {
    earlier = JSON.parse(readFileSync(RESULTS, 'utf8'));
  } catch {
    // The first results, or unreadable ones.
  }
  const latest = Object.entries(results).map(([name, { on, figures, charts }]) => [
    name,
    { on, figures, charts },
  ]);
  mkdirSync(path.dirname(RESULTS), { recursive: true });
  writeFileSync(
    RESULTS,
    `${JSON.stringify({ ...earlier, ...Object.fromEntries(latest) }, null, 2)}\n`,
  );
}

/** Replaces what stands between `<!-- bench:name -->` and `<!-- /bench:name -->` in a file. */
function fill(file, name, parts) {
  const page = readFileSync(file, 'utf8');
  const [begin, end] = [`<!-- bench:${name} -->`, `<!-- /bench:${name} -->`];
  const from = page.indexOf(begin);
  const to = page.indexOf(end);
  if (from < 0 || to < from)
    throw new Error(`${path.basename(file)} has no part ${begin} … ${end}`);
  const body = [begin, ...parts].join('\n\n');
  writeFileSync(file, `${page.slice(0, from)}${body}\n\n${page.slice(to)}`);
}

function write(results) {
  for (const [name, { on, tables, charts, readme }] of Object.entries(results)) {
    fill(DOCS, name, [
      `Measured on ${describeMachine(on)}.`,
      ...tables.map(toMarkdown),
      ...charts.map(({ file, title }) => `![${title}](img/${file})`),
    ]);
    if (readme !== undefined) fill(README, 'readme', [toMarkdown(readme(on))]);
  }
  writeCharts(results, IMAGES);
}

async function main() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { quick: { type: 'boolean' }, write: { type: 'boolean' } },
  });
  const known = benchmarks();
  const unknown = positionals.filter((name) => !known.includes(name));
  if (unknown.length > 0) {
    throw new Error(`no benchmark ${unknown.join(', ')}; there are: ${known.join(', ')}`);
  }
  if (values.quick && values.write) throw new Error('--quick measures nothing worth writing');

  const on = machine();
  console.log(`${describeMachine(on)}\n`);
  const complaint = busy();
  if (complaint !== null) console.warn(`${complaint}\n`);

  const results = {};
  for (const name of positionals.length > 0 ? positionals : known) {
    const benchmark = await import(pathToFileURL(path.join(here, `${name}.mjs`)).href);
    const log = progress(name);
    const result = await benchmark.run({ quick: values.quick ?? false, log });
    log('');
    for (const table of result.tables) console.log(`${toText(table)}\n`);
    results[name] = { on, charts: [], ...result };
  }
  if (values.quick) return;
  save(results);
  if (values.write) write(results);
}

try {
  await main();
} catch (error) {
  console.error(`\n${error instanceof Error ? error.message : error}`);
  process.exitCode = 1;
}
