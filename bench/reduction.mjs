/**
 * Serialisation: `reduction.dumps` and `loads` beside v8.serialize, JSON (as bytes) and CPython's pickle.
 *
 * Each peer in a process of its own (support/driver.mjs), in turn, one batch each; what comes back is compared
 * with what went in. Channels do without the one copy that `dumps` and `loads` make of binary data.
 */

import { fileURLToPath } from 'node:url';
import { Driver, shuffled } from './support/driver.mjs';
import { pythonVersion } from './support/machine.mjs';
import { summary } from './support/statistics.mjs';
import { figures, timesOf } from './support/table.mjs';

const peer = (name) => fileURLToPath(new URL(`peers/reduction.${name}`, import.meta.url));
const node = (name) => Driver.node(name, peer('node.mjs'), [], [name]);

const PEERS = {
  ours: { label: 'reduction', start: () => node('ours') },
  v8: { label: 'v8.serialize', start: () => node('v8'), target: 1 },
  json: { label: 'JSON, as bytes', start: () => node('json') },
  python: { label: "Python's pickle", start: () => Driver.python('python', peer('python.py')) },
};

const VALUES = {
  number: { label: 'a number', count: 20_000 },
  small: { label: '{ id, name, values: 3 numbers }', count: 20_000 },
  text: { label: 'ASCII text, 1 KiB', count: 20_000 },
  records: { label: '100 records', count: 400 },
  integers: { label: '1000 integers', count: 1000 },
  doubles: { label: '1000 doubles', count: 1000 },
  map: { label: 'a Map of 100', count: 1000, not: ['json'] },
  kilobyte: { label: 'binary, 1 KiB', count: 20_000, not: ['json'] },
  megabyte: { label: 'binary, 1 MiB', count: 100, not: ['json'] },
};

const peersOf = (names, { not = [] }) => names.filter((name) => !not.includes(name));

/** `{ value: { peer: { dumps, loads } } }`: summaries, in microseconds for one. */
async function measure(names, { quick, log }) {
  const drivers = {};
  const results = {};
  const rounds = quick ? 3 : 40;
  try {
    for (const name of names) drivers[name] = PEERS[name].start();
    for (const [value, description] of Object.entries(VALUES)) {
      const peers = peersOf(names, description);
      const samples = Object.fromEntries(peers.map((name) => [name, { dumps: [], loads: [] }]));
      const ask = (name, call) => drivers[name].ask({ call, value, count: description.count });
      for (const name of peers) for (const call of ['dumps', 'loads']) await ask(name, call);
      for (let round = 1; round <= rounds; round++) {
        log(`${description.label}: ${round} of ${rounds}`);
        for (const name of shuffled(peers)) {
          for (const call of ['dumps', 'loads']) {
            const { ms } = await ask(name, call);
            samples[name][call].push((ms / description.count) * 1000);
          }
        }
      }
      results[value] = Object.fromEntries(
        Object.entries(samples).map(([name, { dumps, loads }]) => [
          name,
          { dumps: summary(dumps), loads: summary(loads) },
        ]),
      );
    }
    await Promise.all(Object.values(drivers).map((driver) => driver.stop()));
  } catch (error) {
    for (const driver of Object.values(drivers)) driver.kill();
    throw error;
  }
  return results;
}

const microseconds = (value) => `${figures(value)} µs`;

function rows(results) {
  return Object.entries(results).flatMap(([value, peers]) => {
    const both = ({ dumps, loads }) => dumps.median + loads.median;
    return Object.entries(peers).map(([name, { dumps, loads }]) => {
      const ratio = both(peers[name]) / both(peers.ours);
      const { label, target } = PEERS[name];
      const last = name === 'ours' ? '' : timesOf(ratio, target);
      return [
        VALUES[value].label,
        label,
        microseconds(dumps.median),
        microseconds(loads.median),
        last,
      ];
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
        title: 'Serialisation',
        columns: ['value', 'peer', '>dumps', '>loads', 'both, as long as ours'],
        rows: rows(results),
        notes: [
          'Medians of one call, in batches. Channels do not make the bytes that dumps answers, nor copy binary data. ' +
            'v8.deserialize answers binary data as a view of its input, loads and pickle a copy.',
          ...(hasPython ? [] : ["Python's: skipped, there is no python3 here."]),
        ],
      },
    ],
  };
}
