/**
 * Round trips over a Pipe, beside CPython's, the channel of child_process.fork and a Worker's MessagePort: all of
 * them do one repetition each, in turn (support/driver.mjs). The last two have only their event loops; what they
 * do there stands beside our blocking calls and our asynchronous ones.
 */

import { fileURLToPath } from 'node:url';
import { Driver, shuffled } from './support/driver.mjs';
import { pythonVersion } from './support/machine.mjs';
import { summary } from './support/statistics.mjs';
import { figures, milliseconds, timesOf } from './support/table.mjs';

const peer = (name) => fileURLToPath(new URL(`peers/pipe.${name}`, import.meta.url));

/** What is measured, by whom, and how many times Python's speed is wanted. */
const ROWS = {
  hot: {
    label: '8 bytes, both sides busy',
    ask: { call: 'bytes', count: 20_000, size: 8 },
    peers: ['ours', 'python', 'ipc', 'port'],
    target: 10,
  },
  value: {
    label: 'a small object, both sides busy',
    ask: { call: 'value', count: 20_000 },
    peers: ['ours', 'python', 'ipc', 'port'],
  },
  parked: {
    label: '8 bytes, both sides asleep before',
    ask: { call: 'parked', count: 300 },
    peers: ['ours', 'python'],
    target: 1,
  },
  loop: {
    label: 'a small object, on the event loop',
    ask: { call: 'loop', count: 10_000 },
    peers: ['ours', 'ipc', 'port'],
  },
  kib64: {
    label: '64 KiB',
    ask: { call: 'bytes', count: 2000, size: 65_536 },
    peers: ['ours', 'python', 'ipc', 'port'],
  },
  mib: {
    label: '1 MiB',
    ask: { call: 'bytes', count: 200, size: 2 ** 20 },
    peers: ['ours', 'python', 'ipc', 'port'],
  },
};

const NAMES = ['ours', 'python', 'ipc', 'port'];

function duration(ns) {
  return ns < 1e6 ? `${figures(ns / 1000)} µs` : milliseconds(ns / 1e6);
}

async function measure(drivers, rounds, log) {
  const samples = {};
  for (const [row, { ask, label, peers }] of Object.entries(ROWS)) {
    const names = peers.filter((name) => name in drivers);
    samples[row] = Object.fromEntries(names.map((name) => [name, []]));
    // The first repetition warms up.
    for (let round = 0; round <= rounds; round++) {
      log(`${label}: ${round} of ${rounds}`);
      for (const name of shuffled(names)) {
        const { ns } = await drivers[name].ask(ask);
        if (round > 0) samples[row][name].push(ns);
      }
    }
  }
  return samples;
}

export async function run({ quick, log }) {
  const drivers = {
    ours: Driver.node('ours', peer('ours.mjs')),
    ...(pythonVersion() === null ? {} : { python: Driver.python('python', peer('python.py')) }),
    ipc: Driver.node('ipc', peer('ipc.mjs')),
    port: Driver.node('port', peer('port.mjs')),
  };
  let samples;
  try {
    samples = await measure(drivers, quick ? 2 : 9, log);
    await Promise.all(Object.values(drivers).map((driver) => driver.stop()));
  } catch (error) {
    for (const driver of Object.values(drivers)) driver.kill();
    throw error;
  }
  const medians = Object.fromEntries(
    Object.entries(samples).map(([row, byPeer]) => [
      row,
      Object.fromEntries(Object.entries(byPeer).map(([name, values]) => [name, summary(values)])),
    ]),
  );
  const rows = Object.entries(ROWS).map(([row, { label, target }]) => {
    const found = medians[row];
    const cells = NAMES.map((name) => (found[name] ? duration(found[name].median) : '–'));
    if (found.python === undefined) return [label, ...cells, ''];
    return [label, ...cells, timesOf(found.python.median / found.ours.median, target)];
  });
  return {
    figures: medians,
    tables: [
      {
        title: 'Round trips over a Pipe',
        columns: [
          '',
          '>ours',
          '>Python',
          ">child_process's IPC",
          '>MessagePort (a thread)',
          ">as many times Python's speed",
        ],
        rows,
        notes: [
          'Medians of 9 repetitions, peers in turn. A round trip is a message there and the same message back.',
        ],
      },
    ],
  };
}
