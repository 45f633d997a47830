/**
 * A fixed piece of work that leans on what this package touches in V8: the background compiler and the
 * collector. It runs in a fresh process, after the preparation that the argument names, and prints the
 * milliseconds of each part and a checksum as JSON.
 *
 *   node workload.mjs nothing | import | fork
 */

const preparations = {
  nothing() {},
  async import() {
    await import('node-multiprocessing');
  },
  async fork() {
    const { getContext } = await import('node-multiprocessing');
    const { Process } = getContext('fork');
    const child = new Process({ target: () => process.exit(7) });
    child.start();
    child.join();
    if (child.exitcode !== 7) throw new Error(`the child ended with ${child.exitcode}`);
  },
};

const TABLE = Array.from({ length: 256 }, (_, i) => ({
  name: `entry number ${i}`,
  weight: (i * 2654435761) % 1000,
}));

const parts = {
  /** Hundreds of functions, each seen for the first time and hot soon after: work for the compiler. */
  freshCode() {
    let sum = 0;
    for (let n = 0; n < 250; n++) {
      const step = new Function(
        'table',
        `let sum = ${n};
         for (let i = 0; i < 20000; i++) {
           const entry = table[(i * ${2 * n + 1}) & 255];
           sum = (sum + entry.weight * ${n + 1} + (entry.name.charCodeAt(i % entry.name.length) ^ i)) | 0;
         }
         return sum;`,
      );
      sum = (sum + step(TABLE)) | 0;
    }
    return sum;
  },

  /** A few functions that run for long: what remains once all is compiled. */
  hotLoops() {
    let sum = 0;
    const counts = new Map();
    for (let round = 0; round < 180; round++) {
      for (let i = 0; i < 20_000; i++) {
        const key = (i * 7919 + round) % 5003;
        counts.set(key, (counts.get(key) ?? 0) + 1);
      }
      const sorted = [...counts.entries()].sort(([a, x], [b, y]) => x - y || a - b);
      sum = (sum + sorted[round][0]) | 0;
      sum = (sum + JSON.parse(JSON.stringify(TABLE)).length) | 0;
    }
    return sum;
  },

  /** Trees that live for a while and die: work for the collector, young and old generation. */
  allocation() {
    const keep = Array.from({ length: 40 }, () => null);
    const grow = (depth, seed) =>
      depth === 0
        ? { seed, left: null, right: null, text: `leaf ${seed}` }
        : { seed, left: grow(depth - 1, seed * 2), right: grow(depth - 1, seed * 2 + 1), text: '' };
    const count = (tree) => (tree === null ? 0 : 1 + count(tree.left) + count(tree.right));
    let sum = 0;
    for (let i = 0; i < 160; i++) {
      const slot = (i * 17) % keep.length;
      sum += count(keep[slot]);
      keep[slot] = grow(13, i);
    }
    return sum;
  },
};

await preparations[process.argv[2]]();
const milliseconds = {};
let checksum = 0;
for (const [name, part] of Object.entries(parts)) {
  const begin = performance.now();
  checksum = (checksum * 31 + part()) | 0;
  milliseconds[name] = performance.now() - begin;
}
console.log(JSON.stringify({ milliseconds, checksum }));
