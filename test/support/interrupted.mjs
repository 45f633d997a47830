/**
 * Blocks in a call while SIGINT arrives: what the fixtures `interrupted.mjs` have in common. Their arguments are the call,
 * the start method, and 'listener' where the program listens for SIGINT.
 */

import { sleep } from 'node-multiprocessing';
import { kill, write } from 'node-multiprocessing/posix';
import { home, mp } from '../fixtures/process/cases.mjs';

home(import.meta.url, (text) => eval(text));

export const [call, , listener] = process.argv.slice(2);

/**
 * @param calls each answers whether it has waited for what it should.
 * @param finish in a child, once the signals are there: what the call waits for.
 * @param begin in the child, at once; `started` in the parent, when there is a child.
 */
export function interrupt(calls, finish, { begin = () => {}, started = () => {} } = {}) {
  if (mp.parentProcess() !== null) return;
  const helper = new mp.Process({
    daemon: true,
    target: (parent) => {
      begin();
      // The parent is in its call soon; hit it there.
      for (let i = 0; i < 3; i++) {
        sleep(0.2);
        kill(parent, 'SIGINT');
      }
      sleep(0.2);
      if (listener === undefined) sleep(10);
      finish();
    },
    args: [process.pid],
  });
  helper.start();
  started();
  if (listener !== undefined) {
    process.on('SIGINT', () => {
      write(1, 'heard\n');
      helper.join();
      process.exit(helper.exitcode);
    });
    setTimeout(() => {}, 10_000);
  }
  write(1, 'waiting\n');
  if (calls[call]()) write(1, 'waited\n');
}
