/** Pools, as a part of the package that is loaded when the first one is made (src/lazy_builtin.ts). */

export { Engine } from './pool/engine.js';
export type { Job } from './pool/engine.js';
export { Mode } from './pool/protocol.js';
export { AsyncResult, IMapIterator, Pool } from './pool/pool.js';
export type {
  JobOptions,
  MapOptions,
  PoolConstructor,
  PoolContext,
  PoolOptions,
  PoolStats,
  ProgressOptions,
  TaskFunction,
  WorkerStats,
} from './pool/pool.js';
