/**
 * `npm run test:soak:pipes [-- --seconds=60 --kills=50]`: forked processes send each other values, bytes and messages
 * with descriptors, of 1 byte to 3 MiB, each with its sender, number and checksum, through Pipes of several kinds:
 * nothing is lost, nothing comes twice, the order of each sender is kept, all of it is whole.
 *
 * Then, for as long again, one of several that share the ends of a Pipe is killed at random about every --kills
 * milliseconds, and replaced: at most one message is lost per kill, and the others go on. --kills=0 leaves this part
 * out, --seconds=0 both. At the end there is no memory, descriptor or name left.
 */

import { Lock, Pipe, Process, Queue, RawValue } from 'node-multiprocessing';
import { openFds } from '../support/fds.mjs';
import { native } from '../support/native.mjs';
import {
  checkNothingLeft,
  checksum,
  conclude,
  delay,
  failures,
  option,
  pattern,
  percentiles,
} from './support.mjs';

const seconds = option('seconds', 60);
const interval = option('kills', 50);

const HUNG_S = 20;

// ---- Messages ----------------------------------------------------------------------------------

const MIB = 2 ** 20;
const LARGEST = 3 * MIB;
const HEAD = 16;
const BYTES = pattern(LARGEST + 4096);
const mix = (number) => Math.imul(number + 1, 2_654_435_761) >>> 0;

/** Mostly small ones, some at the edges of records and chunks, some in pieces; `most` ends the list. */
function sizeOf(number, most) {
  const mixed = mix(number);
  if (mixed % 1000 === 0) return Math.min(most, 300_000 + (mixed % (LARGEST - 300_000)));
  if (mixed % 100 === 0) return Math.min(most, 60_000 + (mixed % 200_000));
  if (mixed % 10 === 0) return Math.min(most, 4080 + (mixed % 40));
  return 1 + (mixed % 200);
}

function payloadOf(number, most) {
  const from = number & 0xfff;
  return BYTES.subarray(from, from + sizeOf(number, most));
}

/** The sender's own memory for a message of bytes. */
const outgoing = Buffer.alloc(HEAD + LARGEST);

function asBytes(sender, number, payload) {
  outgoing.writeUInt32LE(sender, 0);
  outgoing.writeUInt32LE(number, 4);
  outgoing.writeUInt32LE(checksum(sender, number, payload), 8);
  outgoing.writeUInt32LE(payload.length, 12);
  outgoing.set(payload, HEAD);
  return outgoing.subarray(0, HEAD + payload.length);
}

function ofBytes(bytes) {
  const [sender, number, sum, length] = [0, 4, 8, 12].map((at) => bytes.readUInt32LE(at));
  return { sender, number, sum, length, bytes: bytes.subarray(HEAD) };
}

function wrong({ sender, number, sum, length, bytes, extra }, most) {
  if (!(bytes instanceof Uint8Array)) return 'no message';
  const expected = payloadOf(number, most);
  if (bytes.length !== length || length !== expected.length) return `${bytes.length} bytes`;
  if (sum !== checksum(sender, number, expected)) return 'the sum that was sent';
  if (sum !== checksum(sender, number, bytes)) return 'the bytes that came';
  if (Array.isArray(extra)) {
    const [value, conn] = extra;
    if (value.value !== number || conn.recv() !== number) return 'what came with it';
  }
  return undefined;
}

/** Every so many messages one has a value in memory of its own, and a Pipe's end with something to receive. */
const EXTRA_EVERY = 200;

function sendExtra(conn, sender, number, payload, lock) {
  const value = RawValue('i', number);
  const [mine, theirs] = Pipe();
  mine.send(number);
  const message = {
    sender,
    number,
    sum: checksum(sender, number, payload),
    length: payload.length,
    bytes: payload,
    extra: [value, theirs],
  };
  const send = () => conn.send(message);
  if (lock === undefined) send();
  else lock.with(send);
  mine.close();
  theirs.close();
}

// ---- Without deaths ----------------------------------------------------------------------------

/** `pairs` of a sender and a receiver in each direction of one Pipe; more than one with a Lock for what needs it. */
const KINDS = {
  'bytes, both ways': { how: 'bytes' },
  'bytes into memory of ours, both ways': { how: 'into' },
  'values and descriptors, both ways': { how: 'values' },
  'values and descriptors on the event loop, both ways': { how: 'async' },
  'values and descriptors, one way': { how: 'values', duplex: false },
  'small bytes, 3 senders and 3 receivers, no lock': { how: 'bytes', each: 3, most: 200_000 },
  'all sizes, 3 senders and 3 receivers with locks': { how: 'bytes', each: 3, locked: true },
  'values, 2 senders of all with a lock, 2 of small ones without': { how: 'mixed', each: 4 },
};

function run(target) {
  const child = new Process({ target, daemon: true });
  child.start();
  return child;
}

async function ended(kind, children) {
  for (const child of children) {
    await child.joinAsync(seconds + HUNG_S * 3);
    if (child.exitcode !== 0) failures.push({ kind, exitcode: child.exitcode });
    if (child.exitcode === null) child.kill();
    await child.joinAsync();
    child.close();
  }
}

async function send(conn, sender, { how, most, lock, until }) {
  let number = 0;
  for (; performance.timeOrigin + performance.now() < until; number++) {
    const payload = payloadOf(number, most);
    const values = how === 'values' || how === 'async';
    if (values && most === LARGEST && number % EXTRA_EVERY === 0) {
      sendExtra(conn, sender, number, payload, lock);
    } else if (values) {
      const { length } = payload;
      const sum = checksum(sender, number, payload);
      const message = { sender, number, sum, length, bytes: payload };
      if (how === 'async') await conn.sendAsync(message);
      else if (lock === undefined) conn.send(message);
      else lock.with(() => conn.send(message));
    } else {
      const bytes = asBytes(sender, number, payload);
      if (lock === undefined) conn.sendBytes(bytes);
      else lock.with(() => conn.sendBytes(bytes));
    }
  }
  return number;
}

/** A message, null or undefined at the end. */
async function receive(conn, { how, lock }, memory) {
  const read = () => {
    const length = how === 'into' ? conn.recvBytesInto(memory) : undefined;
    const bytes = length === undefined ? conn.recvBytes() : memory.subarray(0, length);
    return bytes.length === 0 ? null : ofBytes(bytes);
  };
  try {
    if (how === 'values') return conn.recv();
    if (how === 'async') return await conn.recvAsync();
    return lock === undefined ? read() : lock.with(read);
  } catch (error) {
    if (error.name === 'EOFError') return undefined;
    throw error;
  }
}

async function move(kind, forSeconds) {
  const { how, each = 1, most = LARGEST, locked = false, duplex = true } = KINDS[kind];
  const ends = Pipe(duplex);
  const results = new Queue();
  const until = performance.timeOrigin + performance.now() + forSeconds * 1000;
  const directions = duplex ? [0, 1] : [0];
  const senders = [];
  const receivers = [];
  for (const direction of directions) {
    // Of a Pipe of one direction the first end receives.
    const [reader, writer] = direction === 0 ? ends : [ends[1], ends[0]];
    const [sendLock, receiveLock] = [new Lock(), new Lock()];
    for (let i = 0; i < each; i++) {
      const sender = direction * 100 + i;
      const small = how === 'mixed' && i % 2 === 1;
      const options = {
        how: how === 'mixed' ? 'values' : how,
        most: small ? 200_000 : most,
        lock: locked || (how === 'mixed' && !small) ? sendLock : undefined,
        until,
      };
      senders.push(
        run(async () => {
          reader.close();
          const sent = await send(writer, sender, options);
          results.put({ sender, sent });
          writer.close();
        }),
      );
    }
    for (let i = 0; i < (how === 'mixed' ? 1 : each); i++) {
      receivers.push(
        run(async () => {
          writer.close();
          const last = new Map();
          const [counts, sums, errors] = [new Map(), new Map(), []];
          const memory = Buffer.alloc(HEAD + LARGEST);
          const options = {
            how: how === 'mixed' ? 'values' : how,
            lock: locked ? receiveLock : undefined,
          };
          for (;;) {
            const message = await receive(reader, options, memory);
            if (message === undefined || message === null) break;
            const { sender, number, extra } = message;
            const limit = how === 'mixed' && sender % 2 === 1 ? 200_000 : most;
            const error = wrong(message, limit);
            extra?.[1].close();
            if (error !== undefined) errors.push(`${number} of ${sender}: ${error}`);
            if (number <= (last.get(sender) ?? -1)) {
              errors.push(`${number} after ${last.get(sender)} of ${sender}`);
            }
            last.set(sender, number);
            counts.set(sender, (counts.get(sender) ?? 0) + 1);
            sums.set(sender, (sums.get(sender) ?? 0) + number);
            if (errors.length > 5) break;
          }
          results.put({ counts, sums, errors });
          reader.close();
        }),
      );
    }
  }
  if (!duplex) for (const end of ends) end.close();
  await ended(kind, senders);
  // Whoever receives holds the other direction open.
  for (const writer of duplex ? ends : []) {
    for (let i = 0; i < each; i++) {
      if (['bytes', 'into'].includes(how)) writer.sendBytes(new Uint8Array(0));
      else writer.send(null);
    }
  }
  await ended(kind, receivers);
  for (const end of ends) end.close();
  const [sent, counts, sums] = [new Map(), new Map(), new Map()];
  while (!results.empty()) {
    const result = results.get();
    if (result.sent !== undefined) {
      sent.set(result.sender, result.sent);
      continue;
    }
    if (result.errors.length > 0) failures.push({ kind, errors: result.errors });
    for (const [from, to] of [
      [result.counts, counts],
      [result.sums, sums],
    ]) {
      for (const [sender, n] of from) to.set(sender, (to.get(sender) ?? 0) + n);
    }
  }
  // As many as were sent, each sender's in order for each receiver, and of the right sum: none twice for one lost.
  let moved = 0;
  if (sent.size !== directions.length * each) failures.push({ kind, senders: sent.size });
  for (const [sender, n] of sent) {
    const [count = 0, sum = 0] = [counts.get(sender), sums.get(sender)];
    moved += count;
    if (count !== n || sum !== (n * (n - 1)) / 2) {
      failures.push({ kind, sender, sent: n, received: count, sum });
    }
  }
  const rate = Math.round(moved / forSeconds).toLocaleString('en');
  console.log(`${kind}: ${moved.toLocaleString('en')} messages, ${rate} per second`);
}

// ---- With deaths -------------------------------------------------------------------------------

/** Whoever is killed shares an end with another one. Large messages need a lock, which recovers. */
const CELLS = {
  'small messages, no locks': { most: 200_000 },
  'small messages on the event loop, no locks': { most: 200_000, asynchronous: true },
  'all sizes and descriptors, with locks': { most: LARGEST, locked: true },
};

const GENERATIONS = 16_384;
const MOST_MARKS = 32 * MIB;

/** Members write down what they do where it survives them. */
class Cell {
  kills = { sender: 0, receiver: 0 };
  waits = [];
  moved = 0;
  #members = [];
  #generation = 0;

  constructor(kind) {
    this.kind = kind;
    Object.assign(this, CELLS[kind]);
    [this.reader, this.writer] = Pipe(false);
    if (this.locked) [this.sendLock, this.receiveLock] = [new Lock(), new Lock()];
    // Plain memory that forks share.
    const memory = (bytes) => native.createSharedBuffer(bytes).memory;
    this.beats = new Int32Array(memory(4 * GENERATIONS));
    this.next = new Int32Array(memory(64));
    /** For each message how often it was received, and 0x80 when it was sent for certain. */
    this.marks = new Uint8Array(memory(MOST_MARKS));
    for (let i = 0; i < 2; i++) {
      this.enter('sender');
      this.enter('receiver');
    }
  }

  enter(role) {
    const generation = this.#generation++;
    const target = () => (role === 'sender' ? this.#send(generation) : this.#receive(generation));
    this.#members.push({ role, generation, child: run(target) });
  }

  async #send(generation) {
    for (;;) {
      const id = Atomics.add(this.next, 0, 1);
      if (id >= MOST_MARKS) return;
      const payload = payloadOf(id, this.most);
      if (this.locked && id % EXTRA_EVERY === 0) {
        sendExtra(this.writer, generation, id, payload, this.sendLock);
      } else if (this.locked) {
        const { length } = payload;
        const sum = checksum(generation, id, payload);
        const message = { sender: generation, number: id, sum, length, bytes: payload };
        this.sendLock.with(() => this.writer.send(message));
      } else if (this.asynchronous) {
        await this.writer.sendBytesAsync(asBytes(generation, id, payload));
      } else {
        this.writer.sendBytes(asBytes(generation, id, payload));
      }
      Atomics.or(this.marks, id, 0x80);
      this.beats[generation]++;
    }
  }

  async #receive(generation) {
    const last = new Map();
    for (;;) {
      if (this.locked) {
        this.see(
          this.receiveLock.with(() => this.reader.recv()),
          last,
        );
      } else {
        const bytes = this.asynchronous
          ? await this.reader.recvBytesAsync()
          : this.reader.recvBytes();
        this.see(ofBytes(bytes), last);
      }
      this.beats[generation]++;
    }
  }

  see(message, last = new Map()) {
    const { sender, number, extra } = message;
    Atomics.add(this.marks, number, 1);
    const error = wrong(message, this.most);
    extra?.[1].close();
    if (error !== undefined) throw new Error(`message ${number}: ${error}`);
    if (number <= (last.get(sender) ?? -1)) throw new Error(`${number} after ${last.get(sender)}`);
    last.set(sender, number);
  }

  async kill() {
    const at = Math.floor(Math.random() * this.#members.length);
    const [victim] = this.#members.splice(at, 1);
    victim.child.kill();
    this.kills[victim.role]++;
    // Half of them are zombies while the others go on.
    if (Math.random() < 0.5) await victim.child.joinAsync();
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
    const stuck = () =>
      this.#members.filter(({ generation }, i) => this.beats[generation] === since[i]);
    for (let nap = 0; stuck().length > 0; nap = Math.min(nap + 1, 4)) {
      if (performance.now() - start > HUNG_S * 1000) {
        const hung = stuck().map(({ role, child }) => `${role} ${child.pid} ${child.exitcode}`);
        failures.push({ kind: this.kind, hung });
        return undefined;
      }
      await delay(nap);
    }
    return performance.now() - start;
  }

  async #end(role) {
    for (const { child } of this.#members.filter((member) => member.role === role)) {
      child.kill();
      this.kills[role]++;
      await child.joinAsync();
      child.close();
    }
  }

  async finish() {
    await this.#end('sender');
    // What they have left is received, by those who have not died.
    for (let i = 0; i < 100 && this.reader.poll(); i++) await delay(50);
    await this.#end('receiver');
    // No end comes: the children of the other cells have copies. Nor does the rest of a message that was cut off.
    for (;;) {
      const signal = AbortSignal.timeout(1000);
      try {
        if (this.locked) this.see(await this.reader.recvAsync({ signal }));
        else this.see(ofBytes(await this.reader.recvBytesAsync(null, { signal })));
      } catch (error) {
        if (error.name === 'TimeoutError') break;
        throw error;
      }
    }
    this.writer.close();
    this.reader.close();
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
    // What a sender was about was not sent for certain: only receivers lose what was.
    if (lost > this.kills.receiver) failures.push({ kind: this.kind, lost, kills: this.kills });
    this.lost = lost;
  }
}

async function kill(kind) {
  const cell = new Cell(kind);
  const end = performance.now() + seconds * 1000;
  while (performance.now() < end && cell.kills.sender + cell.kills.receiver < GENERATIONS - 8) {
    await delay(interval * (0.5 + Math.random()));
    if (!(await cell.kill())) break;
  }
  await cell.finish();
  const { kills, waits, lost, moved } = cell;
  console.log(
    `${kind}: ${kills.sender} senders and ${kills.receiver} receivers killed, ` +
      `${moved.toLocaleString('en')} messages received, ${lost} lost; all went on after ${percentiles(waits)}`,
  );
}

// ---- All of it ---------------------------------------------------------------------------------

// What a lock says when it is taken over from the dead.
process.on('warning', () => {});
{
  // What stays open is open by now.
  const [reader, writer] = Pipe(false);
  const queue = new Queue();
  await ended('warm-up', [run(() => writer.send(RawValue('i', 1)) ?? queue.put(1))]);
  await queue.getAsync();
  await reader.recvAsync();
  reader.close();
  writer.close();
}
const fds = openFds().length;
const kinds = Object.keys(KINDS);
if (seconds > 0) for (const kind of kinds) await move(kind, seconds / kinds.length);
if (interval > 0 && seconds > 0) {
  console.log(`one of four killed about every ${interval} ms (median, 90 %, 99 %, longest)`);
  await Promise.all(Object.keys(CELLS).map(kill));
}
await checkNothingLeft(fds);
conclude();
