/**
 * `npm run test:soak:locks [-- --seconds=60 --kills=10000 --cells=3]`: mutual exclusion at full speed, then processes that
 * are killed at random points of what they do with locks, conditions and barriers. Demands that nothing is lost
 * and nobody hangs, and prints how long the others took to go on.
 */

import { readFileSync } from 'node:fs';
import { Barrier, BrokenBarrierError, Condition, Lock, Process, RLock } from 'node-multiprocessing';
import { native } from '../support/native.mjs';
import { conclude, delay, failures, option, percentiles } from './support.mjs';

const seconds = option('seconds', 60);
const kills = option('kills', 10_000);

const HUNG_S = 15;
process.emitWarning = () => {}; // Of recoveries there are thousands.

function daemon(target) {
  const child = new Process({ daemon: true, target });
  child.start();
  return child;
}

// ---- Exclusion ---------------------------------------------------------------------------------

/** Eight processes count in plain memory; each says how often. */
async function exclusion(kind, lock, share) {
  const PROCESSES = 8;
  // Words of a segment nobody else has: the first is the plain counter.
  const { words } = native.createSegment();
  const counter = words.length >> 1;
  const children = Array.from({ length: PROCESSES }, (_, i) =>
    daemon(async () => {
      const end = performance.now() + share * 1000;
      let count = 0;
      const increment = () => {
        const seen = words[counter];
        if (words[counter + 1] !== 0) words[counter + 2]++;
        words[counter + 1] = 1;
        words[counter + 1] = 0;
        words[counter] = seen + 1;
        count++;
      };
      while (performance.now() < end) {
        for (let round = 0; round < 100; round++) {
          if (kind === 'tasks') {
            await lock.with(async () => increment());
          } else {
            lock.acquire();
            increment();
            lock.release();
          }
        }
      }
      words[counter + 16 + i] = count;
    }),
  );
  for (const child of children) {
    await child.joinAsync(share + HUNG_S);
    if (child.exitcode !== 0) failures.push({ exclusion: kind, exitcode: child.exitcode });
    child.kill();
    await child.joinAsync();
    child.close();
  }
  let sum = 0;
  for (let i = 0; i < PROCESSES; i++) sum += words[counter + 16 + i];
  if (sum !== words[counter] || words[counter + 2] > 0) {
    failures.push({ exclusion: kind, sum, counted: words[counter], inside: words[counter + 2] });
  }
  const rate = Math.round(sum / share).toLocaleString('en');
  console.log(`exclusion, ${kind}: ${PROCESSES} processes, ${sum} sections, ${rate} per second`);
}

// ---- Kills -------------------------------------------------------------------------------------

const CHILDREN = 3;
const { words: progress } = native.createSegment();
let nextWord = progress.length >> 1;

const KINDS = {
  lock: () => lockCell(new Lock()),
  rlock: () => lockCell(new RLock()),
  tasks: () => taskCell(new Lock()),
  condition: () => conditionCell(new Condition(new Lock())),
  'condition with RLock': () => conditionCell(new Condition()),
  barrier: () => barrierCell(new Barrier(CHILDREN)),
};

/** Lets other cells run: there are more of them than processors. */
function rest(word) {
  if (progress[word] % 64 === 0) native.sleepMs(Math.random());
}

function lockCell(lock) {
  return {
    live(word) {
      for (;;) {
        lock.acquire();
        progress[word]++;
        lock.release();
        rest(word);
      }
    },
  };
}

function taskCell(lock) {
  return {
    async live(word) {
      for (;;) {
        await lock.with(async () => {
          progress[word]++;
        });
        rest(word);
      }
    },
  };
}

function conditionCell(condition) {
  return {
    live(word) {
      for (;;) {
        condition.acquire();
        // Seen by whoever has the lock: this one waits, or is dead.
        Atomics.store(progress, word + 1, 1);
        condition.wait();
        Atomics.store(progress, word + 1, 0);
        progress[word]++;
        condition.release();
      }
    },
    // One notification for each who lives, once all of them wait: no other will come.
    help(words) {
      if (!condition.acquire(false)) return;
      if (words.every((word) => Atomics.load(progress, word + 1) === 1)) {
        for (const word of words) Atomics.store(progress, word + 1, 2);
        condition.notify(words.length);
      }
      condition.release();
    },
  };
}

function barrierCell(barrier) {
  return {
    full: true,
    live(word) {
      for (;;) {
        try {
          barrier.wait();
          progress[word]++;
        } catch (error) {
          if (!(error instanceof BrokenBarrierError)) throw error;
          while (barrier.broken) native.sleepMs(1);
        }
      }
    },
    help() {
      if (barrier.broken) barrier.reset();
    },
  };
}

const waitsOf = (pid) => readFileSync(`/proc/${pid}/wchan`, 'utf8');

async function kill(kind, count, times) {
  const cell = KINDS[kind]();
  const enter = () => {
    const word = nextWord;
    nextWord += 16;
    return { word, child: daemon(() => cell.live(word)) };
  };
  const all = Array.from({ length: CHILDREN }, enter);
  const goesOn = async (members) => {
    const since = members.map(({ word }) => progress[word]);
    const start = performance.now();
    const done = () => members.every(({ word }, i) => progress[word] >= since[i] + 2);
    for (let nap = 0; !done(); nap = Math.min(nap + 1, 4)) {
      cell.help?.(members.map(({ word }) => word));
      if (performance.now() - start > HUNG_S * 1000) return undefined;
      await delay(nap);
    }
    return performance.now() - start;
  };
  await goesOn(all);
  for (let i = 0; i < count; i++) {
    await delay(Math.random() * 6);
    const until = performance.now() + Math.random() * 0.5;
    while (performance.now() < until) cell.help?.(all.map(({ word }) => word));
    const [victim] = all.splice(Math.floor(Math.random() * all.length), 1);
    victim.child.kill();
    // Who is a zombie must be no obstacle: half of them are reaped only afterwards.
    if (i % 2 === 0) await victim.child.joinAsync();
    if (cell.full) all.push(enter());
    const took = await goesOn(all);
    if (took === undefined) {
      const waits = all.map(({ child }) => waitsOf(child.pid));
      failures.push({ hung: kind, after: i, waits });
      break;
    }
    times.push(took);
    await victim.child.joinAsync();
    victim.child.close();
    if (!cell.full) all.push(enter());
  }
  for (const { child } of all) {
    child.kill();
    await child.joinAsync();
    child.close();
  }
}

if (seconds > 0) {
  await exclusion('Lock', new Lock(), seconds / 3);
  await exclusion('RLock', new RLock(), seconds / 3);
  await exclusion('tasks', new Lock(), seconds / 3);
}
const CELLS = option('cells', 3);
const kinds = Object.keys(KINDS);
const each = Math.ceil(kills / (kinds.length * CELLS));
const results = new Map(kinds.map((kind) => [kind, []]));
if (kills > 0) {
  const cells = kinds.flatMap((kind) => Array(CELLS).fill(kind));
  await Promise.all(cells.map((kind) => kill(kind, each, results.get(kind))));
}
const row = (name, times) => {
  console.log(`${name}: ${times.length} kills; the others went on after ${percentiles(times)}`);
};
if (kills > 0) {
  console.log('(median, 90 %, 99 %, longest)');
  for (const [kind, times] of results) row(kind, times);
  row('all', [...results.values()].flat());
}
conclude();
