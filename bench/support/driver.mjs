/**
 * A driver is a process of its own in which one peer is measured: it has its own heap and its own clock, and
 * works only when asked. The benchmark asks the drivers in turn, one repetition each, so that what disturbs
 * the machine disturbs all of them.
 *
 * The dialogue is lines of JSON: a request on the driver's stdin, one answer on its descriptor 3. bench/peers
 * has the other side (serve.mjs, serve.py). A driver that dies, or says something else, fails the benchmark.
 */

import { spawn } from 'node:child_process';
import process from 'node:process';
import { createInterface } from 'node:readline';

/** The longest that one answer may take: filling a large heap included. */
const PATIENCE_MS = 300_000;

export class Driver {
  #name;
  #child;
  #lines;
  #ended;

  /** @param name for messages. @param command the program. @param args its arguments. */
  constructor(name, command, args) {
    this.#name = name;
    this.#child = spawn(command, args, { stdio: ['pipe', 'inherit', 'inherit', 'pipe'] });
    this.#lines = createInterface({ input: this.#child.stdio[3] })[Symbol.asyncIterator]();
    this.#child.stdin.on('error', () => {}); // Its death is told by the end of its answers.
    this.#ended = new Promise((resolve) => {
      this.#child.once('error', (error) => resolve(error.message));
      this.#child.once('exit', (code, signal) => resolve(signal ?? code));
    });
  }

  static node(name, file, execArgv = [], args = []) {
    return new Driver(name, process.execPath, [...execArgv, file, ...args]);
  }

  static python(name, file, args = []) {
    return new Driver(name, 'python3', [file, ...args]);
  }

  /** Sends a request and answers what the driver replies. Throws when the driver fails or does not reply. */
  async ask(request) {
    this.#child.stdin.write(`${JSON.stringify(request)}\n`);
    const late = setTimeout(() => this.#child.kill('SIGKILL'), PATIENCE_MS);
    try {
      const { value, done } = await this.#lines.next();
      if (done) throw new Error(`${this.#name}: the driver ended (${await this.#ended})`);
      const answer = JSON.parse(value);
      if (answer.error !== undefined) throw new Error(`${this.#name}: ${answer.error}`);
      return answer;
    } finally {
      clearTimeout(late);
    }
  }

  /** Ends the driver: by itself, or, when it does not, by force. */
  async stop() {
    this.#child.stdin.end();
    const late = setTimeout(() => this.#child.kill('SIGKILL'), 10_000);
    const how = await this.#ended;
    clearTimeout(late);
    if (how !== 0) throw new Error(`${this.#name}: the driver ended with ${how}`);
  }

  kill() {
    this.#child.kill('SIGKILL');
  }
}

/** `values` in a random order: no peer always runs right after the same other one. */
export function shuffled(values) {
  const order = values.map((value) => [Math.random(), value]);
  return order.sort(([a], [b]) => a - b).map(([, value]) => value);
}
