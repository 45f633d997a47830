/**
 * Pools of four, beside CPython's and those of npm (newest versions), in the same run: the peers do one repetition
 * each, in turn (support/driver.mjs). The pools of npm have no `map`: they are driven with a window of 256 tasks.
 */

import { fileURLToPath } from 'node:url';
import { Driver, shuffled } from './support/driver.mjs';
import { pythonVersion } from './support/machine.mjs';
import { summary } from './support/statistics.mjs';
import { figures, mebibytes, times, verdict } from './support/table.mjs';

const peer = (name) => fileURLToPath(new URL(`peers/pool.${name}`, import.meta.url));

const PEERS = {
  ours: { driver: 'ours', label: 'ours' },
  python: { driver: 'python', label: 'Python Pool' },
  piscina: { driver: 'node', label: 'piscina', ask: { peer: 'piscina' } },
  tinypool: { driver: 'node', label: 'tinypool', ask: { peer: 'tinypool' } },
  workerpool: { driver: 'node', label: 'workerpool', ask: { peer: 'workerpool' } },
  jest: { driver: 'node', label: 'jest-worker', ask: { peer: 'jest' } },
};
const NODE = ['piscina', 'tinypool', 'workerpool', 'jest'];
const ALL = ['python', ...NODE];
const CORES = 4;
const BUSY_MS = 10;

const milliseconds = (ns) => `${figures(ns / 1e6)} ms`;
const microseconds = (ns) => `${figures(ns / 1000)} µs`;

function perSecond(ns) {
  const rate = 1e9 / ns;
  return rate >= 1e6 ? `${figures(rate / 1e6)} M/s` : `${figures(rate / 1e3)} k/s`;
}

/** How many times as fast as the best of which peers it shall be. */
const ROWS = {
  start: {
    label: 'a pool made, and a task done by each worker',
    ask: { call: 'start' },
    counts: { ours: 1, python: 1, piscina: 1, tinypool: 1, workerpool: 1, jest: 1 },
    show: milliseconds,
    targets: [
      { of: NODE, name: 'the best of Node', least: 5 },
      { of: ['python'], name: 'Python', least: 1.3 },
    ],
  },
  spawn: {
    label: 'the same, by spawn',
    ask: { call: 'spawn' },
    counts: { ours: 1, python: 1 },
    show: milliseconds,
  },
  chunks: {
    label: 'map of 100,000 trivial tasks',
    ask: { call: 'chunks' },
    counts: { ours: 100_000, python: 100_000 },
    show: perSecond,
    targets: [{ of: ['python'], name: 'Python', least: 3 }],
  },
  each: {
    label: 'the same, chunksize 1',
    ask: { call: 'each' },
    counts: {
      ours: 100_000,
      python: 50_000,
      piscina: 50_000,
      tinypool: 50_000,
      workerpool: 50_000,
      jest: 50_000,
    },
    show: perSecond,
    targets: [{ of: ALL, name: 'the best', least: 4 }],
  },
  apply: {
    label: 'apply: there and back',
    ask: { call: 'apply' },
    counts: {
      ours: 10_000,
      python: 3000,
      piscina: 5000,
      tinypool: 5000,
      workerpool: 5000,
      jest: 5000,
    },
    show: microseconds,
    targets: [{ of: ALL, name: 'the best', least: 2 }],
  },
  applyAsync: {
    label: 'await applyAsync: there and back',
    ask: { call: 'apply' },
    calls: { ours: 'applyAsync' },
    counts: { ours: 5000, piscina: 5000, tinypool: 5000, workerpool: 5000, jest: 5000 },
    show: microseconds,
    targets: [{ of: NODE, name: 'the best of Node', least: 1 }],
  },
  busy: {
    label: `tasks of ${BUSY_MS} ms of work, on ${CORES} cores`,
    ask: { call: 'busy', milliseconds: BUSY_MS },
    counts: { ours: 400, python: 400, piscina: 400, tinypool: 400, workerpool: 400, jest: 400 },
    show: (ns) => `${figures((BUSY_MS * 1e6) / ns)} cores`,
    verdict: (medians) => {
      const cores = (BUSY_MS * 1e6) / medians.ours.median;
      return verdict(cores >= 0.95 * CORES, `≥ ${0.95 * CORES} cores`);
    },
  },
  closures: {
    label: 'apply of a new closure, which needs a fork',
    ask: { call: 'closures' },
    counts: { ours: 100 },
    show: microseconds,
  },
  arrows: {
    label: 'apply of an arrow in a loop, which needs none',
    ask: { call: 'arrows' },
    counts: { ours: 200 },
    show: microseconds,
  },
};

async function measure(drivers, rounds, log) {
  const samples = {};
  for (const [row, { ask, calls = {}, counts, label }] of Object.entries(ROWS)) {
    const names = Object.keys(counts).filter((name) => PEERS[name].driver in drivers);
    samples[row] = Object.fromEntries(names.map((name) => [name, []]));
    // The first repetition warms up.
    for (let round = 0; round <= rounds; round++) {
      log(`${label}: ${round} of ${rounds}`);
      for (const name of shuffled(names)) {
        const request = { ...ask, ...PEERS[name].ask, count: counts[name] };
        if (calls[name] !== undefined) request.call = calls[name];
        const { ns } = await drivers[PEERS[name].driver].ask(request);
        if (round > 0) samples[row][name].push(ns);
      }
    }
    // Idle threads and workers that spin are in nobody's way.
    for (const name of names) {
      await drivers[PEERS[name].driver].ask({ call: 'end', ...PEERS[name].ask });
    }
  }
  return samples;
}

function verdictOf(row, medians) {
  const { targets = [], verdict: own } = ROWS[row];
  if (own !== undefined) return own(medians);
  return targets
    .map(({ of, name, least }) => {
      const others = of.filter((one) => medians[one] !== undefined);
      if (others.length === 0) return '';
      const best = Math.min(...others.map((one) => medians[one].median));
      const ratio = best / medians.ours.median;
      return `${times(ratio)} ${name}: ${verdict(ratio >= least, `≥ ${least}×`)}`;
    })
    .join('; ');
}

function table(medians) {
  const names = Object.keys(PEERS);
  const rows = Object.entries(ROWS).map(([row, { label, show }]) => [
    label,
    ...names.map((name) => {
      const ns = medians[row][name]?.median;
      return ns === undefined ? '' : show(ns);
    }),
    verdictOf(row, medians[row]),
  ]);
  return {
    title: 'Pools of four',
    columns: ['', ...names.map((name) => `>${PEERS[name].label}`), 'how many times as fast'],
    rows,
    notes: ['Medians of 7 repetitions, peers in turn; those of npm with a window of 256 tasks.'],
  };
}

export async function run({ quick, log }) {
  const drivers = {
    ours: Driver.node('ours', peer('ours.mjs')),
    node: Driver.node('node', peer('node.mjs')),
    ...(pythonVersion() === null ? {} : { python: Driver.python('python', peer('python.py')) }),
  };
  try {
    const memory = {
      ours: (await drivers.ours.ask({ call: 'memory' })).bytes,
      thread: (await drivers.node.ask({ call: 'memory' })).bytes,
    };
    await drivers.ours.ask({ call: 'end' });
    const samples = await measure(drivers, quick ? 1 : 7, log);
    await Promise.all(Object.values(drivers).map((driver) => driver.stop()));
    const medians = Object.fromEntries(
      Object.entries(samples).map(([row, byPeer]) => [
        row,
        Object.fromEntries(Object.entries(byPeer).map(([name, values]) => [name, summary(values)])),
      ]),
    );
    return {
      figures: { ...medians, memory },
      tables: [
        table(medians),
        {
          title: 'Memory of an idle worker',
          columns: ['', '>private'],
          rows: [
            ['ours: a forked process', mebibytes(memory.ours)],
            ['a worker_thread with nothing in it', mebibytes(memory.thread)],
          ],
          notes: [
            `Less than a thread: ${verdict(memory.ours < memory.thread, 'beats a worker_thread')}.`,
          ],
        },
      ],
    };
  } catch (error) {
    for (const driver of Object.values(drivers)) driver.kill();
    throw error;
  }
}
