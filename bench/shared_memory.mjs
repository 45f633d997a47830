/**
 * Shared memory by name: making, opening, closing and unlinking a block of 4 KiB, and the items of a
 * ShareableList; this package beside CPython.
 *
 * Both are measured in processes of their own (support/driver.mjs), in turn, one batch each. A byte that is
 * written through the one opening of a block is read through the other, so what is measured is one memory.
 */

import { fileURLToPath } from 'node:url';
import { Driver, shuffled } from './support/driver.mjs';
import { pythonVersion } from './support/machine.mjs';
import { summary } from './support/statistics.mjs';
import { figures, timesOf } from './support/table.mjs';

const peer = (name) => fileURLToPath(new URL(`peers/shared_memory.${name}`, import.meta.url));

const PEERS = {
  ours: { label: 'SharedMemory', start: () => Driver.node('ours', peer('ours.mjs')) },
  python: { label: "Python's", start: () => Driver.python('python', peer('python.py')) },
};

/** What is measured: calls of the drivers, each a batch of `count`, answered in milliseconds for the batch. */
const MEASURES = {
  life: {
    label: 'create, attach, write, read, close both, unlink: 4 KiB',
    count: 200,
    target: 2,
  },
  attach: { label: 'attach and close: 4 KiB', count: 200 },
  create: { label: 'create, close, unlink: 16 MiB', count: 5 },
  fill: { label: 'create, fill, close, unlink: 16 MiB', count: 5 },
  get: { label: 'read an item of a ShareableList', count: 20_000 },
  set: { label: 'write an item of a ShareableList', count: 20_000 },
};

const microseconds = (value) => `${figures(value)} µs`;

/** `{ measure: { peer: summary } }`, in microseconds for one. */
async function measure(names, { quick, log }) {
  const drivers = {};
  const samples = {};
  const rounds = quick ? 3 : 100;
  try {
    for (const name of names) drivers[name] = PEERS[name].start();
    for (const [what, { label, count }] of Object.entries(MEASURES)) {
      samples[what] = Object.fromEntries(names.map((name) => [name, []]));
      for (const name of names) await drivers[name].ask({ call: what, count });
      for (let round = 1; round <= rounds; round++) {
        log(`${label}: ${round} of ${rounds}`);
        for (const name of shuffled(names)) {
          const { ms } = await drivers[name].ask({ call: what, count });
          samples[what][name].push((ms / count) * 1000);
        }
      }
    }
    await Promise.all(Object.values(drivers).map((driver) => driver.stop()));
  } catch (error) {
    for (const driver of Object.values(drivers)) driver.kill();
    throw error;
  }
  return Object.fromEntries(
    Object.entries(samples).map(([what, peers]) => [
      what,
      Object.fromEntries(Object.entries(peers).map(([name, values]) => [name, summary(values)])),
    ]),
  );
}

function rows(results) {
  return Object.entries(results).flatMap(([what, peers]) => {
    const { label, target } = MEASURES[what];
    return Object.entries(peers).map(([name, { median, p99 }]) => {
      const ratio = median / peers.ours.median;
      const last = name === 'ours' ? '' : timesOf(ratio, target);
      return [label, PEERS[name].label, microseconds(median), microseconds(p99), last];
    });
  });
}

export async function run(options) {
  const hasPython = pythonVersion() !== null;
  const names = Object.keys(PEERS).filter((name) => name !== 'python' || hasPython);
  const results = await measure(names, options);
  return {
    figures: results,
    tables: [
      {
        title: 'Shared memory by name',
        columns: ['what', 'peer', '>median', '>p99', 'as long as ours'],
        rows: rows(results),
        notes: [
          `Batches of ${Object.values(MEASURES)
            .map(({ count }) => count)
            .join(
              ', ',
            )}; the time of one. A block of ours has its memory when it is created, Python's gets ` +
            'it page by page when it is touched.',
          ...(hasPython ? [] : ["Python's: skipped, there is no python3 here."]),
        ],
      },
    ],
  };
}
