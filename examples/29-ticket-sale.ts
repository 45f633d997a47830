/**
 * A ticket sale: without a Lock every customer sees the last tickets, and more are sold than there are.
 *
 * After test/fixtures/python/29_ticket_sale.py (seed 003).
 */

import { Lock, Process, sleep, Value, type Synchronized } from 'node-multiprocessing';

type Count = Synchronized<'i'>;

function buy(tickets: Count, sold: Count): void {
  const left = tickets.value;
  sleep(0.3); // asking the bank
  if (left > 0) {
    tickets.value = left - 1;
    sold.getLock().with(() => {
      sold.value += 1;
    });
  }
}

function buyUnderLock(lock: Lock, tickets: Count, sold: Count): void {
  lock.with(() => buy(tickets, sold));
}

function sale<Args extends unknown[]>(
  title: string,
  target: (...args: [...Args, Count, Count]) => void,
  ...args: Args
): void {
  const tickets = Value('i', 2);
  const sold = Value('i', 0);
  const customers = Array.from(
    { length: 5 },
    () => new Process({ target, args: [...args, tickets, sold] }),
  );
  for (const customer of customers) customer.start();
  for (const customer of customers) customer.join();
  console.log(`${title}: 2 tickets, 5 customers, ${sold.value} sold, ${tickets.value} left`);
}

sale('without a lock', buy);
sale('with a lock', buyUnderLock, new Lock());
