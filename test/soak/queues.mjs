/**
 * `npm run test:soak:queues [-- --items=10000000 --seconds=60 --kills=50]`: four producers and four consumers move items,
 * each with its producer, number and checksum, through queues of several kinds: nothing is lost, nothing comes twice, the
 * order of each producer is kept, all of it is whole.
 *
 * With --kills=<milliseconds> one of them is killed at random that often, for --seconds, and replaced: then at most one
 * item is lost per kill. Without, that is a second part. At the end there is no memory, descriptor or name left.
 */

import { JoinableQueue, Process, Queue, SimpleQueue } from 'node-multiprocessing';
import { openFds } from '../support/fds.mjs';
import { native } from '../support/native.mjs';
import {
  checkNothingLeft,
  checksum,
  conclude,
  delay,
  failures,
  given,
  option,
  pattern,
  percentiles,
  secondsSince,
} from './support.mjs';

const items = option('items', given('kills') ? 0 : 10_000_000);
const interval = option('kills', 50);
const seconds = option('seconds', 60);

const PRODUCERS = 4;
const CONSUMERS = 4;
const HUNG_S = 15;

// ---- Items -------------------------------------------------------------------------------------

/** Mostly small ones, some at the edge, some in chunks of their own. */
function sizeOf(number) {
  const mixed = Math.imul(number, 2_654_435_761) >>> 0;
  if (mixed % 1000 === 0) return 300_000 + (mixed % 70_000);
  if (mixed % 100 === 0) return 4000 + (mixed % 200);
  return mixed % 40;
}

function makeItem(producer, number, payload) {
  const bytes = payload.subarray(0, sizeOf(number));
  return [producer, number, checksum(producer, number, bytes), bytes];
}

const BYTES = pattern(400_000);

function wrong(item) {
  if (!Array.isArray(item) || item.length !== 4) return `no item: ${typeof item}`;
  const [producer, number, sum, bytes] = item;
  if (bytes.length !== sizeOf(number)) return `${bytes.length} bytes`;
  if (sum !== checksum(producer, number, bytes)) return 'checksum';
  return undefined;
}

// ---- Without deaths ----------------------------------------------------------------------------

const KINDS = {
  'Queue()': () => new Queue(),
  'Queue(1000)': () => new Queue(1000),
  'Queue(1)': () => new Queue(1),
  'SimpleQueue()': () => new SimpleQueue(),
  'JoinableQueue(100)': () => new JoinableQueue(100),
  'Queue(100), on the event loop': () => new Queue(100),
};
/** Of all the items: one at a time takes a change of process for each. */
const SHARES = { 'Queue()': 0.3, 'Queue(1000)': 0.3, 'Queue(1)': 0.03 };
const share = (kind) => SHARES[kind] ?? (1 - 0.63) / 3;

async function move(kind, count) {
  const queue = KINDS[kind]();
  const asynchronous = kind.includes('event loop');
  const joinable = queue instanceof JoinableQueue;
  const each = Math.ceil(count / PRODUCERS);
  const results = new Queue();
  const started = performance.now();
  const produce = async (producer) => {
    for (let number = 0; number < each; number++) {
      const item = makeItem(producer, number, BYTES);
      if (asynchronous) await queue.putAsync(item);
      else queue.put(item);
      // An unbounded queue shall not hold everything.
      if (number % 100 === 99) while (queue.qsize?.() > 20_000) native.sleepMs(1);
    }
  };
  const consume = async () => {
    const last = new Int32Array(PRODUCERS).fill(-1);
    const sums = new Float64Array(PRODUCERS);
    const counts = new Float64Array(PRODUCERS);
    const errors = [];
    for (;;) {
      const item = asynchronous ? await queue.getAsync() : queue.get();
      if (joinable) queue.taskDone();
      if (item === null) break;
      const error = wrong(item);
      if (error !== undefined) {
        if (errors.length < 5) errors.push(error);
        continue;
      }
      const [producer, number] = item;
      if (number <= last[producer] && errors.length < 5) {
        errors.push(`${number} after ${last[producer]} of ${producer}`);
      }
      last[producer] = number;
      counts[producer]++;
      sums[producer] += number;
    }
    results.put({ counts, sums, errors });
  };
  const consumers = Array.from({ length: CONSUMERS }, () => run(consume));
  const producers = Array.from({ length: PRODUCERS }, (_, i) => run(() => produce(i)));
  await ended(kind, producers);
  for (let i = 0; i < CONSUMERS; i++) queue.put(null);
  await ended(kind, consumers);
  const took = secondsSince(started);
  const counts = new Float64Array(PRODUCERS);
  const sums = new Float64Array(PRODUCERS);
  while (!results.empty()) {
    const result = results.get();
    for (let i = 0; i < PRODUCERS; i++) {
      counts[i] += result.counts[i];
      sums[i] += result.sums[i];
    }
    if (result.errors.length > 0) failures.push({ kind, errors: result.errors });
  }
  // As many as were put, each producer's in order for each consumer, and of the right sum: none twice for one lost.
  for (let i = 0; i < PRODUCERS; i++) {
    if (counts[i] !== each || sums[i] !== (each * (each - 1)) / 2) {
      failures.push({ kind, producer: i, put: each, got: counts[i], sum: sums[i] });
    }
  }
  if (joinable) queue.join();
  checkEmpty(kind, queue);
  const moved = each * PRODUCERS;
  const rate = Math.round(moved / took).toLocaleString('en');
  console.log(
    `${kind}: ${moved.toLocaleString('en')} items in ${took.toFixed(1)} s, ${rate} per second`,
  );
}

function run(target) {
  const child = new Process({ target, daemon: true });
  child.start();
  return child;
}

async function ended(kind, children) {
  for (const child of children) {
    await child.joinAsync();
    if (child.exitcode !== 0) failures.push({ kind, exitcode: child.exitcode });
    child.close();
  }
}

function checkEmpty(kind, queue) {
  if (!queue.empty()) failures.push({ kind, left: queue.qsize?.() });
  const chunks = queue._channel?.native.usedChunks();
  if (chunks !== undefined && chunks !== 1) failures.push({ kind, chunks });
}

// ---- With deaths -------------------------------------------------------------------------------

const CELLS = {
  'Queue()': { make: () => new Queue() },
  'Queue(10)': { make: () => new Queue(10) },
  'Queue(10), on the event loop': { make: () => new Queue(10), asynchronous: true },
  'Queue(10), large': { make: () => new Queue(10), size: 1_000_000 },
};

/** Words of one cell: what each member has done, by generation: whoever replaces a victim starts new ones. */
const GENERATIONS = 16_384;
const MOST_MARKS = 32 * 2 ** 20;

/** Members write down what they do where it survives them. */
class Cell {
  kills = { producer: 0, consumer: 0 };
  waits = [];
  moved = 0;
  #members = [];
  #generation = 0;

  constructor(kind) {
    this.kind = kind;
    const { make, asynchronous = false, size } = CELLS[kind];
    this.queue = make();
    this.asynchronous = asynchronous;
    this.size = size;
    // Plain memory that forks share: the first number of a generation, how many it has put for certain.
    const words = (count) => new Int32Array(native.createSharedBuffer(4 * count).memory);
    this.begun = words(GENERATIONS);
    this.put = words(GENERATIONS);
    this.beats = words(GENERATIONS);
    this.next = words(16);
    this.marks = new Uint8Array(native.createSharedBuffer(MOST_MARKS).memory);
    for (let i = 0; i < 2; i++) {
      this.enter('producer');
      this.enter('consumer');
    }
  }

  enter(role) {
    const generation = this.#generation++;
    const target = () =>
      role === 'producer' ? this.#produce(generation) : this.#consume(generation);
    this.#members.push({ role, generation, child: run(target) });
  }

  async #produce(generation) {
    for (;;) {
      const id = Atomics.add(this.next, 0, 1);
      if (id >= MOST_MARKS) return;
      const bytes = BYTES.subarray(0, this.size === undefined ? sizeOf(id) : 0);
      const large = this.size === undefined ? bytes : Buffer.alloc(this.size, id);
      const item = [generation, id, checksum(generation, id, large), large];
      if (this.asynchronous) await this.queue.putAsync(item);
      else this.queue.put(item);
      // In order: what a producer has put for certain, it and everything before it.
      Atomics.or(this.marks, id, 0x80);
      this.beats[generation]++;
      while (this.queue.qsize() > 1000) native.sleepMs(1);
    }
  }

  async #consume(generation) {
    const last = new Map();
    for (;;) {
      const item = this.asynchronous ? await this.queue.getAsync() : this.queue.get();
      this.see(item, last);
      this.beats[generation]++;
    }
  }

  see([producer, id, sum, bytes], last) {
    Atomics.add(this.marks, id, 1);
    const size = this.size ?? sizeOf(id);
    if (bytes.length !== size || sum !== checksum(producer, id, bytes)) {
      throw new Error(`item ${id} is damaged`);
    }
    if (id <= (last.get(producer) ?? -1)) throw new Error(`${id} after ${last.get(producer)}`);
    last.set(producer, id);
  }

  async kill() {
    const at = Math.floor(Math.random() * this.#members.length);
    const [victim] = this.#members.splice(at, 1);
    victim.child.kill();
    this.kills[victim.role]++;
    // Half of them are zombies while the others go on.
    const reaped = Math.random() < 0.5;
    if (reaped) await victim.child.joinAsync();
    this.enter(victim.role);
    const took = await this.#goesOn();
    await victim.child.joinAsync();
    if (victim.child.exitcode !== -9) {
      failures.push({ kind: this.kind, exitcode: victim.child.exitcode });
    }
    victim.child.close();
    if (took === undefined) return false;
    this.waits.push(took);
    return true;
  }

  /** Everybody does something. */
  async #goesOn() {
    const since = this.#members.map(({ generation }) => this.beats[generation]);
    const start = performance.now();
    const done = () =>
      this.#members.every(({ generation }, i) => this.beats[generation] > since[i]);
    for (let nap = 0; !done(); nap = Math.min(nap + 1, 4)) {
      if (performance.now() - start > HUNG_S * 1000) {
        const stuck = this.#members.filter(
          ({ generation }, i) => this.beats[generation] === since[i],
        );
        failures.push({
          kind: this.kind,
          hung: stuck.map(({ role, child }) => `${role} ${child.exitcode}`),
          size: this.queue.qsize(),
        });
        return undefined;
      }
      await delay(nap);
    }
    return performance.now() - start;
  }

  async finish() {
    for (const role of ['producer', 'consumer']) {
      for (const { child } of this.#members.filter((member) => member.role === role)) {
        child.kill();
        this.kills[role]++;
        await child.joinAsync();
        child.close();
      }
    }
    const last = new Map();
    for (;;) {
      let item;
      try {
        item = this.queue.get(true, 0.8);
      } catch {
        break;
      }
      this.see(item, last);
    }
    let lost = 0;
    let twice = 0;
    const end = Math.min(MOST_MARKS, this.next[0]);
    for (let id = 0; id < end; id++) {
      const times = this.marks[id] & 0x7f;
      if (times > 1) twice++;
      if (times === 0 && this.marks[id] >= 0x80) lost++;
      this.moved += times;
    }
    if (twice > 0) failures.push({ kind: this.kind, twice });
    if (lost > this.kills.consumer) failures.push({ kind: this.kind, lost, kills: this.kills });
    checkEmpty(this.kind, this.queue);
    this.lost = lost;
  }
}

async function kill(kind) {
  const cell = new Cell(kind);
  const end = performance.now() + seconds * 1000;
  while (performance.now() < end && cell.kills.producer + cell.kills.consumer < GENERATIONS - 8) {
    await delay(interval * (0.5 + Math.random()));
    if (!(await cell.kill())) break;
  }
  await cell.finish();
  const { kills, waits, lost, moved } = cell;
  console.log(
    `${kind}: ${kills.producer} producers and ${kills.consumer} consumers killed, ` +
      `${moved.toLocaleString('en')} items moved, ${lost} lost; all went on after ${percentiles(waits)}`,
  );
}

// ---- All of it ---------------------------------------------------------------------------------

{
  // What stays open is open by now.
  const queue = new Queue();
  await ended('warm-up', [run(() => queue.put(1))]);
  await queue.getAsync();
}
const fds = openFds().length;
if (items > 0) for (const kind of Object.keys(KINDS)) await move(kind, items * share(kind));
if (interval > 0 && seconds > 0) {
  console.log(`one of four killed about every ${interval} ms (median, 90 %, 99 %, longest)`);
  await Promise.all(Object.keys(CELLS).map(kill));
}
await checkNothingLeft(fds);
conclude();
