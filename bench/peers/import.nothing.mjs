// The yardstick of bench/import.mjs: an empty module. Prints how long its import took.
const begin = performance.now();
await import('./empty.mjs');
console.log(performance.now() - begin);
