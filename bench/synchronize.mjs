/**
 * Locks, events, barriers and shared values, beside CPython's in the same run: both peers do one repetition each,
 * in turn (support/driver.mjs). An atomic increment, which Python has not, stands beside its increment under a
 * lock.
 */

import { fileURLToPath } from 'node:url';
import { Driver, shuffled } from './support/driver.mjs';
import { pythonVersion } from './support/machine.mjs';
import { summary } from './support/statistics.mjs';
import { figures, milliseconds, timesOf, verdict } from './support/table.mjs';

const peer = (name) => fileURLToPath(new URL(`peers/synchronize.${name}`, import.meta.url));

/** What is measured, with how much of it makes a repetition, and how many times Python's speed is wanted. */
const ROWS = {
  lock: { label: 'Lock, acquire and release', ask: { count: 1e6 }, target: 1.6 },
  contended: {
    label: 'the same, by 4 processes at once',
    ask: { processes: 4, count: 100_000 },
    target: 2,
  },
  event: { label: 'Event, from set to the waiter', ask: { count: 1000 }, target: 2.5 },
  barrier: { label: 'Barrier of 4', ask: { parties: 4, count: 500 }, target: 3 },
  valueLocked: { label: 'Value, += 1 under its lock', ask: { count: 300_000 }, target: 2 },
  valueAtomic: { label: 'Value, add(1)', ask: { count: 300_000 }, target: 20 },
};
const LOCKS = 1000;
const MOST_LOCKS_MS = 5;
const MOST_LOCKS_BYTES = 2 ** 20;
const KIB = 1024;

/** Tens of nanoseconds and hundreds of microseconds in one column. */
function duration(ns) {
  if (ns < 1000) return `${figures(ns)} ns`;
  return ns < 1e6 ? `${figures(ns / 1000)} µs` : milliseconds(ns / 1e6);
}

async function measure(drivers, rounds, log) {
  const samples = {};
  const names = Object.keys(drivers);
  for (const [row, { ask, label }] of Object.entries(ROWS)) {
    samples[row] = Object.fromEntries(names.map((name) => [name, []]));
    // The first repetition warms up.
    for (let round = 0; round <= rounds; round++) {
      log(`${label}: ${round} of ${rounds}`);
      for (const name of shuffled(names)) {
        const { ns } = await drivers[name].ask({ call: row, ...ask });
        if (round > 0) samples[row][name].push(ns);
      }
    }
  }
  return samples;
}

export async function run({ quick, log }) {
  const start = {
    ours: () => Driver.node('ours', peer('ours.mjs')),
    ...(pythonVersion() === null
      ? {}
      : { python: () => Driver.python('python', peer('python.py')) }),
  };
  const drivers = Object.fromEntries(Object.entries(start).map(([name, make]) => [name, make()]));
  const create = {};
  let samples;
  try {
    for (const name of Object.keys(drivers)) {
      create[name] = await drivers[name].ask({ call: 'create', count: LOCKS });
    }
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
    const { ours, python } = medians[row];
    if (python === undefined) return [label, duration(ours.median), '–', ''];
    return [
      label,
      duration(ours.median),
      duration(python.median),
      timesOf(python.median / ours.median, target),
    ];
  });
  const { ours, python } = create;
  const cheap = ours.ns / 1e6 < MOST_LOCKS_MS && ours.bytes < MOST_LOCKS_BYTES;
  rows.push([
    `${LOCKS} new Locks, and their memory`,
    `${duration(ours.ns)}, ${figures(ours.bytes / KIB)} KiB`,
    python === undefined ? '–' : `${duration(python.ns)}, ${figures(python.bytes / KIB)} KiB`,
    verdict(cheap, `< ${MOST_LOCKS_MS} ms, < 1 MiB`),
  ]);
  return {
    figures: { ...medians, create },
    tables: [
      {
        title: 'Synchronisation',
        columns: ['', '>ours', '>Python', '>how many times faster'],
        rows,
        notes: [
          'Medians of 9 repetitions, peers in turn. An Event is set and waited for in both directions between two ' +
            "processes, half a round trip is shown. Python's `+= 1` under the lock stands beside `add(1)`, too.",
        ],
      },
    ],
  };
}
