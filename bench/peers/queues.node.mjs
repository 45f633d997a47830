/**
 * Driver of bench/queues.mjs: what Node itself has, a Worker's MessagePort and the channel of child_process.fork. This
 * file is also what runs at the other end.
 */

import { fork } from 'node:child_process';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { fileURLToPath } from 'node:url';
import { isMainThread, parentPort, Worker } from 'node:worker_threads';
import { bulkOf, checkBulk, checkItem, ITEMS, paced } from './queues.workload.mjs';
import { serve } from './serve.mjs';

const now = () => process.hrtime.bigint();
const own = fileURLToPath(import.meta.url);

/** Both peers behind one face. Buffers are copied by both. */
const PEERS = {
  port() {
    const worker = new Worker(own);
    return {
      on: (listener) => worker.on('message', listener),
      off: (listener) => worker.off('message', listener),
      send: (message) => worker.postMessage(message),
      end: () => worker.terminate(),
    };
  },
  ipc(serialization = 'json') {
    const child = fork(own, ['child'], { serialization, stdio: ['ignore', 2, 2, 'ipc'] });
    return {
      on: (listener) => child.on('message', listener),
      off: (listener) => child.off('message', listener),
      send: (message) => child.send(message),
      end: () =>
        new Promise((resolve) => {
          child.once('exit', resolve);
          child.disconnect();
        }),
    };
  },
  advanced: () => PEERS.ipc('advanced'),
};

// ---- The other end -----------------------------------------------------------------------------

function atOtherEnd(on, send, sendAndWait) {
  const nap = () => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
  on(async (message) => {
    if (typeof message === 'number') return void send(message);
    const { call, kind, count, bytes, rate, seconds } = message;
    if (call === 'ready') send('ready');
    if (call === 'items') for (let i = 0; i < count; i++) send(ITEMS[kind](i));
    if (call === 'bulk') {
      const bulk = bulkOf(bytes);
      for (let i = 0; i < count; i++) await sendAndWait(bulk);
    }
    if (call === 'serving') {
      paced(rate, seconds, nap, send);
      send(null);
    }
    if (call === 'serving turning') {
      // A channel that is written by its event loop needs turns of it.
      const start = performance.now();
      for (let sent = 0; ;) {
        const elapsed = Math.min(performance.now() - start, seconds * 1000);
        for (const due = Math.floor((elapsed / 1000) * rate); sent < due; sent++) send(sent);
        if (elapsed >= seconds * 1000) break;
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
      send(null);
    }
  });
}

if (!isMainThread) {
  const send = (message) => parentPort.postMessage(message);
  atOtherEnd((listener) => parentPort.on('message', listener), send, send);
} else if (process.argv[2] === 'child') {
  atOtherEnd(
    (listener) => process.on('message', listener),
    (message) => process.send(message),
    (message) => new Promise((resolve) => process.send(message, resolve)),
  );
} else {
  await serve({ items, bulk, roundTripAsync, serving });
}

// ---- This end ----------------------------------------------------------------------------------

/** Runs `use` with a peer that is there. */
async function withPeer(name, use) {
  const peer = PEERS[name]();
  await new Promise((resolve) => {
    const hear = () => {
      peer.off(hear);
      resolve();
    };
    peer.on(hear);
    peer.send({ call: 'ready' });
  });
  try {
    return await use(peer);
  } finally {
    await peer.end();
  }
}

/** Messages from the peer, until `hear` answers true. */
function listen(peer, hear) {
  return new Promise((resolve, reject) => {
    peer.on((message) => {
      try {
        if (hear(message)) resolve();
      } catch (error) {
        reject(error);
      }
    });
  });
}

function items({ peer: name, kind, count }) {
  return withPeer(name, async (peer) => {
    let left = count;
    let got;
    const begin = now();
    const all = listen(peer, (message) => {
      got = message;
      return --left === 0;
    });
    peer.send({ call: 'items', kind, count });
    await all;
    const ns = Number(now() - begin) / count;
    checkItem(kind, count - 1, got);
    return { ns };
  });
}

function bulk({ peer: name, bytes, count }) {
  return withPeer(name, async (peer) => {
    let left = count;
    const begin = now();
    const all = listen(peer, (message) => {
      checkBulk(bytes, message);
      return --left === 0;
    });
    peer.send({ call: 'bulk', bytes, count });
    await all;
    return { ns: Number(now() - begin) / count };
  });
}

function roundTripAsync({ peer: name, count }) {
  return withPeer(name, async (peer) => {
    let next = 0;
    const begin = now();
    const all = listen(peer, (message) => {
      if (message !== next) throw new Error('out of order');
      if (++next === count) return true;
      peer.send(next);
      return false;
    });
    peer.send(0);
    await all;
    return { ns: Number(now() - begin) / count };
  });
}

function serving({ peer: name, rate, seconds }) {
  return withPeer(name, async (peer) => {
    let count = 0;
    const all = listen(peer, (message) => {
      if (message === null) return true;
      count++;
      return false;
    });
    const delays = monitorEventLoopDelay({ resolution: 1 });
    delays.enable();
    peer.send({ call: name === 'port' ? 'serving' : 'serving turning', rate, seconds });
    await all;
    delays.disable();
    return { p99: delays.percentile(99), max: delays.max, count };
  });
}
