// Prints how long `import 'node-multiprocessing'` took.
const begin = performance.now();
await import('node-multiprocessing');
console.log(performance.now() - begin);
