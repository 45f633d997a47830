/**
 * The parent of one soak: forks `count` children from one call site, under garbage collection and JIT load, and
 * demands of each that it does its work and says so by its exit code.
 *
 * Arguments: the call site, the number of children. Prints one line of JSON.
 */

import childProcess from 'node:child_process';
import crypto from 'node:crypto';
import dns from 'node:dns';
import fs from 'node:fs';
import http from 'node:http';
import { Readable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import zlib from 'node:zlib';
import { Process } from 'node-multiprocessing';

const AT_ONCE = 4;
const PATIENCE_S = 60;
const PROOF = 40;

// ---- Load: new functions to compile, and garbage of every age -----------------------------------

let generation = 0;
const old = [];

function churn(rounds) {
  let sum = 0;
  for (let i = 0; i < rounds; i++) {
    const f = new Function(
      'a',
      `let s = ${generation++}; for (let i = 0; i < 400; i++) s += a * i; return s;`,
    );
    for (let j = 0; j < 30; j++) sum += f(j);
    const young = Array.from({ length: 2_000 }, (_, k) => ({ k, text: `${k}` }));
    if (i % 4 === 0) old.push(young);
    if (old.length > 60) old.splice(0, 40);
  }
  return sum;
}

// ---- What children do ---------------------------------------------------------------------------

function check(condition, what) {
  if (!condition) throw new Error(`wrong: ${what}`);
}

const KINDS = {
  work() {
    check(churn(20) > 0, 'churn');
  },
  async timers() {
    const order = [];
    setImmediate(() => order.push('immediate'));
    process.nextTick(() => order.push('tick'));
    await delay(5);
    churn(5);
    check(order.join() === 'tick,immediate', order.join());
  },
  async files() {
    check((await fs.promises.readFile(process.execPath, { length: 1 })) !== null, 'readFile');
    const { address } = await dns.promises.lookup('localhost');
    check(address.length > 2, 'lookup');
  },
  async http() {
    const server = http.createServer((_, response) => response.end('hello'));
    await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
    const answer = await fetch(`http://127.0.0.1:${server.address().port}/`);
    check((await answer.text()) === 'hello', 'fetch');
    server.close();
    server.closeAllConnections();
  },
  async spawned() {
    const code = await new Promise((resolve) => {
      childProcess.spawn('true').on('exit', resolve);
    });
    check(code === 0, 'spawn');
  },
  async zipped() {
    const text = Buffer.alloc(200_000, 'abc');
    const packed = await new Promise((resolve, reject) => {
      zlib.gzip(text, (error, result) => (error ? reject(error) : resolve(result)));
    });
    check(zlib.gunzipSync(packed).equals(text), 'zlib');
    const key = await new Promise((resolve, reject) => {
      crypto.pbkdf2('a', 'b', 100, 32, 'sha256', (error, result) =>
        error ? reject(error) : resolve(result),
      );
    });
    check(key.length === 32, 'pbkdf2');
  },
  async threaded() {
    const worker = new Worker("require('node:worker_threads').parentPort.postMessage(42)", {
      eval: true,
    });
    // Both at once: a Worker's exit may follow its message before anybody is asked again.
    const [answer] = await Promise.all([
      new Promise((resolve, reject) => worker.on('message', resolve).on('error', reject)),
      new Promise((resolve) => worker.on('exit', resolve)),
    ]);
    check(answer === 42, 'worker');
  },
  nested() {
    const child = new Process({ target: () => void churn(3) });
    child.start();
    child.join();
    check(child.exitcode === 0, 'nested');
  },
};
const kinds = Object.entries(KINDS);

async function live(kind) {
  await kinds[kind][1]();
  churn(3);
  process.exitCode = PROOF + kind;
}

function liveAtOnce(kind) {
  kinds[kind][1]();
  process.exitCode = PROOF + kind;
}

// ---- The parent ---------------------------------------------------------------------------------

const [site, countText] = process.argv.slice(2);
const count = Number(countText);
const failures = [];
const running = [];
let forked = 0;

function forkOne() {
  churn(2);
  const kind = forked++ % kinds.length;
  const [name, work] = kinds[kind];
  const target = work.constructor.name === 'AsyncFunction' ? live : liveAtOnce;
  const child = new Process({ target, args: [kind], name });
  child.start();
  running.push({ child, kind });
  churn(1);
  while (running.length >= AT_ONCE) reap();
}

function reap() {
  const { child, kind } = running.shift();
  child.join(PATIENCE_S);
  if (child.exitcode === null) {
    failures.push({ hung: child.name, waits: waitsOf(child.pid) });
    child.kill();
    child.join();
  } else if (child.exitcode !== PROOF + kind) {
    failures.push({ name: child.name, exitcode: child.exitcode });
  }
  child.close();
}

function waitsOf(pid) {
  return fs.readdirSync(`/proc/${pid}/task`).map((thread) => {
    const at = (file) => fs.readFileSync(`/proc/${pid}/task/${thread}/${file}`, 'utf8').trim();
    return `${at('comm')}: ${at('wchan')}`;
  });
}

function finish() {
  while (running.length > 0) reap();
  const fds = fs.readdirSync('/proc/self/fd').length;
  console.log(JSON.stringify({ site, forked, failures, fds: fds - fdsBefore }));
}

const again = (next) => (forked < count ? next() : finish());

const SITES = {
  top() {
    while (forked < count) forkOne();
    finish();
  },
  async awaited() {
    while (forked < count) {
      await Promise.resolve();
      forkOne();
    }
    finish();
  },
  timer() {
    setTimeout(() => {
      forkOne();
      again(SITES.timer);
    }, 0);
  },
  tick() {
    // A tick that forks follows an immediate, or the event loop would never turn.
    setImmediate(() => {
      process.nextTick(() => {
        forkOne();
        again(SITES.tick);
      });
    });
  },
  stream() {
    Readable.from([1]).on('data', () => {
      forkOne();
      again(SITES.stream);
    });
  },
};

// The first fork opens what the library keeps; from then on nothing may be added.
const first = new Process({ target() {} });
first.start();
first.join();
first.close();
const fdsBefore = fs.readdirSync('/proc/self/fd').length;
churn(30);
SITES[site === 'commonjs' ? 'top' : site]();
