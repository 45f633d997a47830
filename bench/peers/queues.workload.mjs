/** What goes through the queues of bench/queues.mjs, the same for all peers. */

export const ITEMS = {
  number: (i) => i,
  object: (i) => ({ id: i, name: `item ${i}`, values: [i, i + 0.5], done: false }),
};

/** Throws unless the last item arrived as it was sent. */
export function checkItem(kind, i, got) {
  const wanted = JSON.stringify(ITEMS[kind](i));
  if (JSON.stringify(got) !== wanted)
    throw new Error(`${JSON.stringify(got)} instead of ${wanted}`);
}

export const bulkOf = (bytes) => Buffer.alloc(bytes, 1);

export function checkBulk(bytes, got) {
  if (got.length !== bytes || got[0] !== 1 || got[bytes - 1] !== 1) throw new Error('damaged');
}

/** Calls `send(n)` at a steady rate for so long, in portions of about a millisecond. */
export function paced(rate, seconds, nap, send) {
  const start = performance.now();
  let sent = 0;
  for (;;) {
    const elapsed = performance.now() - start;
    const due = Math.floor((Math.min(elapsed, seconds * 1000) / 1000) * rate);
    while (sent < due) send(sent++);
    if (elapsed >= seconds * 1000) return sent;
    nap();
  }
}
