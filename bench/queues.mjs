/**
 * Queues, beside CPython's and what Node itself has, in the same run: the peers do one repetition each, in turn
 * (support/driver.mjs). A Worker's MessagePort moves messages between threads of one process; the channel of
 * child_process.fork is a pipe, with JSON or, 'advanced', with V8's serialisation.
 */

import { fileURLToPath } from 'node:url';
import { Driver, shuffled } from './support/driver.mjs';
import { pythonVersion } from './support/machine.mjs';
import { summary } from './support/statistics.mjs';
import { figures, mebibytes, milliseconds, times, verdict } from './support/table.mjs';

const peer = (name) => fileURLToPath(new URL(`peers/queues.${name}`, import.meta.url));

const MIB = 2 ** 20;
const RATE = 100_000;

/** A peer: the driver that is asked, and what for. */
const PEERS = {
  ours: { driver: 'ours', label: 'ours' },
  spawned: { driver: 'spawned', label: 'ours, spawned' },
  queue: { driver: 'python', label: 'Python Queue', ask: { queue: 'Queue' } },
  simple: { driver: 'python', label: 'Python SimpleQueue', ask: { queue: 'SimpleQueue' } },
  port: { driver: 'node', label: 'MessagePort', ask: { peer: 'port' } },
  ipc: { driver: 'node', label: 'IPC', ask: { peer: 'ipc' } },
  advanced: { driver: 'node', label: 'IPC, advanced', ask: { peer: 'advanced' } },
};

/**
 * What is measured: by how many repetitions' worth for each peer, and how many times as fast as which peer it shall be.
 */
const ROWS = {
  number: {
    label: 'numbers',
    ask: { call: 'items', kind: 'number' },
    counts: { ours: 300_000, queue: 60_000, simple: 60_000 },
    targets: { queue: 4 },
  },
  numberAsync: {
    label: 'numbers, on the event loop',
    ask: { kind: 'number' },
    calls: { ours: 'itemsAsync', port: 'items', ipc: 'items', advanced: 'items' },
    counts: { ours: 300_000, port: 300_000, ipc: 60_000, advanced: 60_000 },
    targets: { port: 1 },
  },
  object: {
    label: 'small objects',
    ask: { call: 'items', kind: 'object' },
    counts: { ours: 200_000, queue: 60_000, simple: 60_000 },
    targets: { queue: 4 },
  },
  objectAsync: {
    label: 'small objects, on the event loop',
    ask: { kind: 'object' },
    calls: { ours: 'itemsAsync', port: 'items', ipc: 'items', advanced: 'items' },
    counts: { ours: 200_000, port: 200_000, ipc: 40_000, advanced: 40_000 },
    targets: { port: 1 },
  },
  bulk: {
    label: 'Buffers of 1 MiB',
    ask: { call: 'bulk', bytes: MIB },
    counts: { ours: 500, queue: 150, simple: 150, port: 150, advanced: 150 },
    targets: { queue: 10, advanced: 2.5 },
    bytes: MIB,
  },
  roundTrip: {
    label: 'there and back, blocking',
    ask: { call: 'roundTrip' },
    counts: { ours: 5000, queue: 2000, simple: 2000 },
    targets: { queue: 2 },
    duration: true,
  },
  roundTripAsync: {
    label: 'there and back, on the event loop',
    ask: { call: 'roundTripAsync' },
    counts: { ours: 4000, port: 2000, ipc: 2000, advanced: 2000 },
    targets: { ipc: 1 },
    duration: true,
  },
};

function perSecond(ns, bytes) {
  if (bytes !== undefined) return `${figures(bytes / ns)} GB/s`;
  const rate = 1e9 / ns;
  return rate >= 1e6 ? `${figures(rate / 1e6)} M/s` : `${figures(rate / 1e3)} k/s`;
}

const microseconds = (ns) => `${figures(ns / 1000)} µs`;

async function measure(drivers, rounds, log) {
  const samples = {};
  for (const [row, { ask, calls, counts: others, label }] of Object.entries(ROWS)) {
    const counts = { ...others, spawned: others.ours };
    const names = Object.keys(counts).filter((name) => PEERS[name].driver in drivers);
    samples[row] = Object.fromEntries(names.map((name) => [name, []]));
    // The first repetition warms up.
    for (let round = 0; round <= rounds; round++) {
      log(`${label}: ${round} of ${rounds}`);
      for (const name of shuffled(names)) {
        const request = { ...ask, ...PEERS[name].ask, count: counts[name] };
        if (calls !== undefined) request.call = calls[name === 'spawned' ? 'ours' : name];
        const { ns } = await drivers[PEERS[name].driver].ask(request);
        if (round > 0) samples[row][name].push(ns);
      }
    }
  }
  return samples;
}

/** How late the event loop of who consumes is, while so many items come each second. */
async function measureServing(drivers, rounds, log) {
  const serving = { ours: [], port: [], ipc: [] };
  for (let round = 0; round <= rounds; round++) {
    log(`event loop: ${round} of ${rounds}`);
    for (const name of shuffled(Object.keys(serving))) {
      const { driver, ask } = PEERS[name];
      const answer = await drivers[driver].ask({ call: 'serving', ...ask, rate: RATE, seconds: 1 });
      if (answer.count !== RATE) throw new Error(`${name}: ${answer.count} items`);
      if (round > 0) serving[name].push(answer.p99);
    }
  }
  return serving;
}

/** How many times as fast a queue shall be, to a child that was spawned, as to a forked one: noise is a tenth. */
const SPAWNED_AS_FAST = 0.9;

function spawnedNote(medians) {
  const [worst, ratio] = Object.keys(ROWS)
    .map((row) => [row, medians[row].ours.median / medians[row].spawned.median])
    .sort(([, a], [, b]) => a - b)[0];
  const target = verdict(ratio >= SPAWNED_AS_FAST, `≥ ${SPAWNED_AS_FAST}×`);
  return (
    'Ours, spawned: the other process was not forked, but spawned, and got the queue as an argument; at its slowest ' +
    `(${ROWS[worst].label}) ${times(ratio)} as fast as to a forked one: ${target}.`
  );
}

function table(medians) {
  const names = Object.keys(PEERS);
  const rows = Object.entries(ROWS).map(([row, { label, bytes, duration, targets }]) => {
    const cell = (name) => {
      const ns = medians[row][name]?.median;
      if (ns === undefined) return '';
      return duration ? microseconds(ns) : perSecond(ns, bytes);
    };
    const verdicts = Object.entries(targets)
      .filter(([name]) => medians[row][name] !== undefined)
      .map(([name, target]) => {
        const ratio = medians[row][name].median / medians[row].ours.median;
        return `${times(ratio)} ${PEERS[name].label}: ${verdict(ratio >= target, `≥ ${target}×`)}`;
      });
    return [label, ...names.map(cell), verdicts.join('; ')];
  });
  return {
    title: 'Queues: from one process to another',
    columns: ['', ...names.map((name) => `>${PEERS[name].label}`), 'how many times as fast'],
    rows,
    notes: [
      'Medians of 9 repetitions, peers in turn. One process puts as fast as it can, another gets. A MessagePort does not ' +
        'leave its process: both ends are threads. Of 1 MiB Buffers at most 16 are queued, where that can be said.',
      spawnedNote(medians),
    ],
  };
}

function servingTable(serving) {
  const ours = serving.ours.median;
  const others = Math.min(serving.port.median, serving.ipc.median);
  return {
    title: `The event loop of a server that takes ${RATE / 1000},000 items a second`,
    columns: ['', ...Object.keys(serving).map((name) => `>${PEERS[name].label}`), ''],
    rows: [
      [
        'delay, 99th percentile',
        ...Object.values(serving).map(({ median }) => milliseconds(median / 1e6)),
        verdict(ours <= 2 * others, 'no more than twice the best of them'),
      ],
    ],
  };
}

function burstTable({ before, queued, after }) {
  const back = after.shared - before.shared < 8 * MIB && after.rss - before.rss < 64 * MIB;
  const row = (label, of) => [label, mebibytes(of.shared), mebibytes(of.rss)];
  return {
    title: 'Memory of an unbounded queue: a burst of 1 GB',
    columns: ['', '>shared memory', ">this process's"],
    rows: [row('before', before), row('all of it queued', queued), row('drained', after)],
    notes: [`Back to where it was: ${verdict(back, 'within 8 MiB, 64 MiB')}.`],
  };
}

export async function run({ quick, log }) {
  const drivers = {
    ours: Driver.node('ours', peer('ours.mjs'), ['--expose-gc'], ['fork']),
    spawned: Driver.node('spawned', peer('ours.mjs'), ['--expose-gc'], ['spawn']),
    node: Driver.node('node', peer('node.mjs')),
    ...(pythonVersion() === null ? {} : { python: Driver.python('python', peer('python.py')) }),
  };
  try {
    const burst = await drivers.ours.ask({ call: 'burst', bytes: 1e6, count: 1000 });
    const samples = await measure(drivers, quick ? 1 : 9, log);
    const serving = await measureServing(drivers, quick ? 1 : 5, log);
    await Promise.all(Object.values(drivers).map((driver) => driver.stop()));
    const summaries = (byPeer) =>
      Object.fromEntries(Object.entries(byPeer).map(([name, values]) => [name, summary(values)]));
    const medians = Object.fromEntries(
      Object.entries(samples).map(([row, byPeer]) => [row, summaries(byPeer)]),
    );
    const delays = summaries(serving);
    return {
      figures: { ...medians, serving: delays, burst },
      tables: [table(medians), servingTable(delays), burstTable(burst)],
    };
  } catch (error) {
    for (const driver of Object.values(drivers)) driver.kill();
    throw error;
  }
}
