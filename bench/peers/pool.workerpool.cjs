/** A worker of workerpool. */

const workerpool = require('workerpool');
workerpool.worker(require('./pool.tasks.cjs'));
