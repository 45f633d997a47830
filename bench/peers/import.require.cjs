// Prints how long `require('node-multiprocessing')` took.
const begin = performance.now();
require('node-multiprocessing');
console.log(performance.now() - begin);
