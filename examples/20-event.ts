/**
 * An Event: one process waits until it is set, another one gives up after two seconds.
 *
 * After test/fixtures/python/20_event.py (seed 001).
 */

import { Event, Process, sleep } from 'node-multiprocessing';

function waitForEvent(e: Event): void {
  console.log('wait_for_event: starting');
  e.wait();
  console.log('wait_for_event: e.is_set()->', e.isSet());
}

function waitForEventTimeout(e: Event, t: number): void {
  console.log('wait_for_event_timeout: starting');
  e.wait(t);
  console.log('wait_for_event_timeout: e.is_set()->', e.isSet());
}

const e = new Event();
const w1 = new Process({ name: 'block', target: waitForEvent, args: [e] });
w1.start();

const w2 = new Process({ name: 'nonblock', target: waitForEventTimeout, args: [e, 2] });
w2.start();
console.log('main: waiting before calling Event.set()');
sleep(3);
e.set();
console.log('main: event is set');
