/**
 * Starting and joining a process that does nothing: this package's Process, by each start method, `child_process.fork`,
 * Python's Process, forked and by a fork server, and, for orientation, a Worker; in a fresh program and in programs with much live data, with the
 * memory that a child costs.
 *
 * Every peer is measured in a process of its own (support/driver.mjs), all in turn, one repetition each, in
 * a new order every time. Every child's exit code is checked.
 */

import { fileURLToPath } from 'node:url';
import { Driver, shuffled } from './support/driver.mjs';
import { describeMachine, pythonVersion } from './support/machine.mjs';
import { availableMemory } from './support/memory.mjs';
import { summary } from './support/statistics.mjs';
import { mebibytes, milliseconds, timesOf } from './support/table.mjs';

const peer = (name) => fileURLToPath(new URL(`peers/process.${name}`, import.meta.url));

/** What V8 needs to hold the largest heap, and to collect on request, so that it starts out tidy. */
const FLAGS = ['--max-old-space-size=4096', '--expose-gc'];

const PEERS = {
  ours: {
    label: 'Process (fork)',
    start: () => Driver.node('ours', peer('ours.mjs'), FLAGS, ['fork']),
  },
  python: {
    label: "Python's Process (fork)",
    start: () => Driver.python('python', peer('python.py')),
    target: 1.2,
  },
  childProcess: {
    label: 'child_process.fork',
    start: () => Driver.node('child_process', peer('child_process.mjs'), FLAGS),
    target: 25,
  },
  spawn: {
    label: 'Process (spawn)',
    // Its children get the flags of the program, and those of child_process.fork none.
    start: () => Driver.node('spawn', peer('ours.mjs'), [], ['spawn']),
    freshOnly: true,
  },
  forkserver: {
    label: 'Process (forkserver)',
    start: () => Driver.node('forkserver', peer('ours.mjs'), [], ['forkserver']),
    freshOnly: true,
  },
  pythonForkserver: {
    label: "Python's Process (forkserver)",
    start: () => Driver.python('python forkserver', peer('python.py'), ['forkserver']),
    freshOnly: true,
  },
  worker: {
    label: 'Worker (a thread)',
    start: () => Driver.node('worker', peer('worker.mjs'), FLAGS),
    freshOnly: true,
  },
};

const HEAPS_MB = [0, 50, 200, 1000];
const MB = 1e6;
/** A program with N MB of live data takes up to this much more, in Python above all. */
const OVERHEAD = 2;

const heapLabel = (megabytes) => (megabytes === 0 ? 'fresh' : `${megabytes} MB`);

function repetitions(megabytes, quick) {
  if (quick) return 3;
  return { 0: 300, 50: 150, 200: 100, 1000: 50 }[megabytes];
}

/** The peers that run here, and why the others do not. */
function available() {
  const names = Object.keys(PEERS);
  if (pythonVersion() !== null) return { names, skipped: [] };
  return {
    names: names.filter((name) => !name.startsWith('python')),
    skipped: ["Python's Process: skipped, there is no python3 here."],
  };
}

/** All peers at one heap size: `{ megabytes, peers: { name: { ms, startMs?, firstMs, memory? } } }`. */
async function measure(megabytes, names, { quick, log }) {
  const drivers = {};
  const samples = {};
  try {
    for (const name of names) {
      log(`${heapLabel(megabytes)} heap: ${PEERS[name].label} gets ready`);
      drivers[name] = PEERS[name].start();
      samples[name] = { ms: [], startMs: [] };
      if (megabytes > 0) await drivers[name].ask({ call: 'fill', bytes: megabytes * MB });
      samples[name].firstMs = (await drivers[name].ask({ call: 'run' })).ms;
      await drivers[name].ask({ call: 'prove' });
    }
    const rounds = repetitions(megabytes, quick);
    for (let round = 1; round <= rounds; round++) {
      log(`${heapLabel(megabytes)} heap: ${round} of ${rounds}`);
      for (const name of shuffled(names)) {
        const { ms, startMs } = await drivers[name].ask({ call: 'run' });
        samples[name].ms.push(ms);
        if (startMs !== undefined) samples[name].startMs.push(startMs);
      }
    }
    for (const name of names) {
      if (PEERS[name].freshOnly) continue;
      samples[name].memory = (await drivers[name].ask({ call: 'idle' })).memory;
    }
    const collected = await drivers.ours.ask({ call: 'idle', collect: true });
    samples.ours.memoryCollected = collected.memory;
    await Promise.all(Object.values(drivers).map((driver) => driver.stop()));
  } catch (error) {
    for (const driver of Object.values(drivers)) driver.kill();
    throw error;
  }
  return {
    megabytes,
    peers: Object.fromEntries(
      Object.entries(samples).map(([name, { ms, startMs, ...rest }]) => [
        name,
        {
          ms: summary(ms),
          ...(startMs.length > 0 ? { startMs: summary(startMs) } : {}),
          ...rest,
        },
      ]),
    ),
  };
}

function timeRows({ megabytes, peers }) {
  const ours = peers.ours.ms.median;
  return Object.entries(peers).map(([name, { ms, startMs, firstMs }]) => {
    const { label, target } = PEERS[name];
    const ratio = ms.median / ours;
    const last = name === 'ours' ? '' : timesOf(ratio, megabytes === 0 ? target : undefined);
    return [
      heapLabel(megabytes),
      label,
      milliseconds(ms.median),
      milliseconds(ms.p99),
      startMs === undefined ? '–' : milliseconds(startMs.median),
      milliseconds(firstMs),
      last,
    ];
  });
}

/** What a fresh node costs more when it is a Process. */
const MOST_OF_SPAWN = 1.15;

function spawnNote([{ megabytes, peers }]) {
  if (megabytes !== 0) return [];
  const ratio = peers.spawn.ms.median / peers.childProcess.ms.median;
  const missed = ratio > MOST_OF_SPAWN ? ', MISSED' : '';
  return [
    `${PEERS.spawn.label} takes ${ratio.toFixed(2)}× as long as child_process.fork (target: ≤ ${MOST_OF_SPAWN}×${missed}): ` +
      'its child loads this package and the main module.',
  ];
}

/** How many times longer the peers of a child by a fork server take. */
const LEAST_OF_FORKSERVER = { childProcess: 10, pythonForkserver: 3 };

function forkserverNote([{ megabytes, peers }]) {
  if (megabytes !== 0) return [];
  return Object.entries(LEAST_OF_FORKSERVER).flatMap(([name, target]) => {
    if (peers[name] === undefined) return [];
    const ratio = peers[name].ms.median / peers.forkserver.ms.median;
    const missed = ratio < target ? ', MISSED' : '';
    return `${PEERS[name].label} takes ${ratio.toFixed(1)}× as long as ${PEERS.forkserver.label} (target: ≥ ${target}×${missed}).`;
  });
}

function memoryRows({ megabytes, peers }) {
  const row = (label, memory) =>
    memory && [
      heapLabel(megabytes),
      label,
      ...['private', 'rss'].map((key) => mebibytes(memory[key])),
    ];
  return Object.entries(peers)
    .flatMap(([name, { memory, memoryCollected }]) => [
      row(PEERS[name].label, memory),
      row(`${PEERS[name].label}, after a full GC in the child`, memoryCollected),
    ])
    .filter(Boolean);
}

function tables(points, notes) {
  return [
    {
      title: 'Start and join of a process that does nothing',
      columns: [
        'heap',
        'peer',
        '>median',
        '>p99',
        '>of it start()',
        '>first ever',
        'as long as ours',
      ],
      rows: points.flatMap(timeRows),
      notes: [
        ...notes,
        ...spawnNote(points),
        ...forkserverNote(points),
        `Repetitions per peer: ${points.map(({ megabytes, peers }) => `${peers.ours.ms.count} (${heapLabel(megabytes)})`).join(', ')}. ` +
          'The first fork of a program, with what it prepares once, is counted apart.',
      ],
    },
    {
      title: 'Memory of a child that is alive and idle',
      columns: ['heap', 'peer', '>private', '>Rss'],
      rows: points.flatMap(memoryRows),
      notes: [
        'Private (smaps_rollup: Private_Clean + Private_Dirty) is what the child costs; the rest of its Rss are ' +
          'pages that it shares with others.',
      ],
    },
  ];
}

/** The short form for the README: one line per heap. */
function readme(points, on) {
  const median = (peers, name) => (peers[name] ? milliseconds(peers[name].ms.median) : '–');
  const memory = (peers, name) =>
    peers[name].memory ? mebibytes(peers[name].memory.private) : '–';
  return {
    columns: [
      'live heap of the parent',
      '>`Process`',
      ">Python's, fork",
      '>`child_process.fork`',
      '>memory of a child',
      '>of `child_process.fork`',
    ],
    rows: points.map(({ megabytes, peers }) => [
      heapLabel(megabytes),
      ...['ours', 'python', 'childProcess'].map((name) => median(peers, name)),
      ...['ours', 'childProcess'].map((name) => memory(peers, name)),
    ]),
    notes: [
      `Start and join of a process that does nothing, medians of one run, peers in turn (${describeMachine(on)}). ` +
        "Memory: private bytes of an idle child; ours has the parent's data, that of `child_process.fork` has not.",
    ],
  };
}

function charts(points) {
  const fresh = points[0].peers;
  const series = (pick) =>
    ['ours', 'python', 'childProcess'].flatMap((name) => {
      const values = points.map(({ megabytes, peers }) => ({
        x: heapLabel(megabytes),
        y: peers[name] && pick(peers[name]),
      }));
      return values.every(({ y }) => y > 0) ? [{ name, label: PEERS[name].label, values }] : [];
    });
  return [
    {
      file: 'process-start.svg',
      kind: 'bars',
      title: 'Start and join of a process that does nothing',
      subtitle: 'fresh heap, median, logarithmic scale',
      unit: 'ms',
      bars: Object.entries(fresh).map(([name, { ms }]) => ({
        name,
        label: PEERS[name].label,
        value: ms.median,
      })),
    },
    {
      file: 'process-heap.svg',
      kind: 'lines',
      title: 'Start and join, by the live heap of the parent',
      subtitle: 'median, logarithmic scale',
      unit: 'ms',
      xTitle: 'live heap of the parent',
      series: series(({ ms }) => ms.median),
    },
    {
      file: 'process-memory.svg',
      kind: 'lines',
      title: 'Memory of an idle child, by the live heap of the parent',
      subtitle: 'private bytes, logarithmic scale',
      unit: 'MiB',
      xTitle: 'live heap of the parent',
      series: series(({ memory }) => memory && memory.private / 2 ** 20),
    },
  ].filter(({ bars, series: lines }) => (bars ?? lines).length > 0);
}

export async function run({ quick, log }) {
  const { names, skipped } = available();
  const notes = [...skipped];
  const points = [];
  for (const megabytes of HEAPS_MB) {
    const present = names.filter((name) => megabytes === 0 || !PEERS[name].freshOnly);
    if (megabytes * MB * OVERHEAD * present.length > availableMemory()) {
      notes.push(`${heapLabel(megabytes)} of heap: skipped, there is not enough free memory here.`);
      continue;
    }
    points.push(await measure(megabytes, present, { quick, log }));
  }
  return {
    figures: points,
    tables: tables(points, notes),
    charts: charts(points),
    readme: (on) => readme(points, on),
  };
}
