/**
 * How a child ended is its `exitcode`: the one given to exit, 0, 1 after an uncaught error, -N for signal N.
 * What the target returns is no exit code.
 *
 * After test/fixtures/python/15_exit_codes.py (seed 001), whose functions' names are in what it prints.
 */

import { Process, RuntimeError, sleep } from 'node-multiprocessing';

function exit_error(): void {
  process.exit(1);
}

function exit_ok(): void {}

function return_value(): number {
  return 1;
}

function raises(): void {
  throw new RuntimeError('There was an error!');
}

function terminated(): void {
  sleep(3);
}

const jobs: Process[] = [];
for (const f of [exit_error, exit_ok, return_value, raises, terminated]) {
  console.log('Starting process for', f.name);
  const j = new Process({ target: f, name: f.name });
  jobs.push(j);
  j.start();
}

jobs.at(-1)?.terminate();

for (const j of jobs) {
  j.join();
  console.log(`${j.name.padStart(15)}.exitcode = ${j.exitcode}`);
}
