/**
 * What it costs to have the package in a program: its import, and the program's own speed afterwards, before
 * and after the first fork, by a workload that compiles and allocates.
 *
 * Every sample is a fresh process; the variants take turns in a random order.
 */

import { spawnSync } from 'node:child_process';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { shuffled } from './support/driver.mjs';
import { median, ratioOfMedians, summary } from './support/statistics.mjs';
import { milliseconds, times, verdict } from './support/table.mjs';

const peer = (file) => fileURLToPath(new URL(`peers/${file}`, import.meta.url));

const IMPORTS = {
  nothing: { label: 'an empty module', args: [peer('import.nothing.mjs')] },
  import: { label: "import 'node-multiprocessing'", args: [peer('import.ours.mjs')] },
  require: { label: "require('node-multiprocessing')", args: [peer('import.require.cjs')] },
};
const MOST_IMPORT_MS = 10;

const WORKLOADS = {
  nothing: { label: 'without the package', args: [peer('workload.mjs'), 'nothing'] },
  import: { label: 'imported', args: [peer('workload.mjs'), 'import'] },
  fork: { label: 'after one fork', args: [peer('workload.mjs'), 'fork'] },
};
const PARTS = { freshCode: 'fresh code', hotLoops: 'hot loops', allocation: 'allocation' };
/** A slowdown of less than this is none, whatever the statistics say. */
const NEGLIGIBLE = 1.01;

/** Runs a program of Node's: what it printed as JSON, and how long it took from the outside. */
function runNode(args) {
  const begin = performance.now();
  const { status, signal, stdout } = spawnSync(process.execPath, args, {
    stdio: ['ignore', 'pipe', 'inherit'],
    encoding: 'utf8',
  });
  const ms = performance.now() - begin;
  if (status !== 0) throw new Error(`${args.join(' ')} ended with ${signal ?? status}`);
  return { ms, printed: JSON.parse(stdout) };
}

/** `count` samples of each variant, in turn, after one of each that warms the system's caches. */
function sample(variants, count, log) {
  const names = Object.keys(variants);
  const samples = Object.fromEntries(names.map((name) => [name, []]));
  for (const name of names) runNode(variants[name].args);
  for (let round = 1; round <= count; round++) {
    log(`${round} of ${count}`);
    for (const name of shuffled(names)) samples[name].push(runNode(variants[name].args));
  }
  return samples;
}

function measureImports(count, log) {
  const samples = sample(IMPORTS, count, (text) => log(`imports: ${text}`));
  return Object.fromEntries(
    Object.entries(samples).map(([name, runs]) => [
      name,
      {
        process: summary(runs.map(({ ms }) => ms)),
        inside: summary(runs.map(({ printed }) => printed)),
      },
    ]),
  );
}

function importTable(imports) {
  const base = imports.nothing;
  const rows = Object.entries(imports).map(([name, { process: whole, inside }]) => {
    const cost = inside.median - base.inside.median;
    const last =
      name === 'nothing'
        ? ''
        : `${milliseconds(cost)}  ${verdict(cost < MOST_IMPORT_MS, `< ${MOST_IMPORT_MS} ms`)}`;
    const cells = [inside.median, whole.median, whole.p99].map(milliseconds);
    return [IMPORTS[name].label, ...cells, last];
  });
  return {
    title: 'What loading the package costs',
    columns: ['', '>inside', '>whole process', '>p99', 'inside, more than an empty module'],
    rows,
    notes: [
      `Medians of ${base.process.count} fresh processes each. Inside: the time of the import itself, by the ` +
        "program's clock.",
    ],
  };
}

function measureSpeed(count, log) {
  const samples = sample(WORKLOADS, count, (text) => log(`speed of the program: ${text}`));
  const all = Object.values(samples).flat();
  const checksums = new Set(all.map(({ printed }) => printed.checksum));
  if (checksums.size > 1) throw new Error('the workload did not compute the same in every process');

  const series = (name, part) => samples[name].map(({ printed }) => printed.milliseconds[part]);
  const totals = (name) =>
    samples[name].map(({ printed }) =>
      Object.values(printed.milliseconds).reduce((sum, ms) => sum + ms),
    );
  return Object.fromEntries(
    Object.keys(WORKLOADS).map((name) => [
      name,
      {
        count,
        parts: Object.fromEntries(
          Object.keys(PARTS).map((part) => [
            part,
            {
              median: median(series(name, part)),
              ...ratioOfMedians(series('nothing', part), series(name, part)),
            },
          ]),
        ),
        total: {
          median: median(totals(name)),
          ...ratioOfMedians(totals('nothing'), totals(name)),
        },
      },
    ]),
  );
}

function speedTable(speed) {
  const rows = Object.entries(speed).map(([name, { parts, total }]) => {
    const of = ({ median: ms, ratio }) =>
      milliseconds(ms) + (name === 'nothing' ? '' : ` (${times(ratio)})`);
    const interval = `${times(total.ratio)} [${times(total.low)} to ${times(total.high)}]`;
    const last = {
      nothing: '',
      import: `${interval}  ${verdict(total.low <= NEGLIGIBLE, 'no measurable slowdown')}`,
      fork: interval,
    }[name];
    return [
      WORKLOADS[name].label,
      ...Object.keys(PARTS).map((part) => of(parts[part])),
      of(total),
      last,
    ];
  });
  return {
    title: "The program's own speed, before and after its first fork",
    columns: [
      '',
      ...Object.values(PARTS).map((part) => `>${part}`),
      '>total',
      'time, against without [95 %]',
    ],
    rows,
    notes: [
      `Medians of ${speed.nothing.count} fresh processes each. Fresh code: 250 new functions that get hot at ` +
        'once. Hot loops: few functions that run for long. Allocation: trees that live for a while.',
    ],
  };
}

export async function run({ quick, log }) {
  const imports = measureImports(quick ? 3 : 20, log);
  const speed = measureSpeed(quick ? 3 : 20, log);
  return { figures: { imports, speed }, tables: [importTable(imports), speedTable(speed)] };
}
