/** Driver of bench/process.mjs: `child_process.fork` of Node, of a module that does nothing. */

import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { memoryOf } from '../support/memory.mjs';
import { expectExit, fill, serve } from './serve.mjs';

const MODULE = fileURLToPath(new URL('noop.mjs', import.meta.url));

function start(...args) {
  // Our stdin is the dialogue with the benchmark; a child has no business there.
  return fork(MODULE, args, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'], execArgv: [] });
}

const exit = (child) =>
  new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code, signal) => resolve(signal ?? code));
  });

async function run() {
  const begin = performance.now();
  const code = await exit(start());
  const ms = performance.now() - begin;
  expectExit(code, 0);
  return { ms };
}

async function prove() {
  const secret = 1 + Math.floor(Math.random() * 250);
  expectExit(await exit(start('exit', secret)), secret);
}

async function idle() {
  const child = start('idle');
  await new Promise((resolve) => child.once('message', resolve));
  await new Promise((resolve) => setTimeout(resolve, 300));
  const memory = memoryOf(child.pid);
  child.kill('SIGKILL');
  expectExit(await exit(child), 'SIGKILL');
  return { memory };
}

await serve({ fill, run, prove, idle });
