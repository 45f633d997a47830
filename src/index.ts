/**
 * The top level of the package: Python's `multiprocessing` namespace, as named exports and, all in one
 * object, as the default export.
 */

import { defaultContext } from './context.js';

export {
  AssertionError,
  AuthenticationError,
  BrokenBarrierError,
  BrokenExecutor,
  BrokenProcessPool,
  BufferTooShort,
  CancelledError,
  EOFError,
  Empty,
  Full,
  InvalidStateError,
  MaybeEncodingError,
  OwnerDiedError,
  PicklingError,
  ProcessError,
  RemoteError,
  RuntimeError,
  StopIteration,
  TimeoutError,
  UnpicklingError,
  ValueError,
  WorkerLostError,
} from './errors.js';
export { sleep } from './clock.js';
export { cpuCount } from './cpu.js';
export {
  getContext,
  getStartMethod,
  Process,
  setStartMethod,
  type Context,
  type StartMethod,
} from './context.js';
export { Pipe } from './pipe.js';
export type { Connection } from './connection.js';
export {
  activeChildren,
  currentProcess,
  parentProcess,
  type AsyncOptions,
  type ProcessOptions,
  type Target,
} from './process.js';

export { reduction, type Reduced } from './reduction.js';

export {
  Barrier,
  BoundedSemaphore,
  Condition,
  Event,
  Guard,
  Lock,
  RLock,
  Semaphore,
  type LockOptions,
} from './synchronize.js';

export { JoinableQueue, Queue, SimpleQueue } from './queues.js';

export {
  Array,
  RawArray,
  RawSharedArray,
  RawSharedValue,
  RawValue,
  Synchronized,
  SynchronizedArray,
  Value,
  type SharedOptions,
  type TypeCode,
} from './sharedctypes.js';

export type {
  AsyncResult,
  IMapIterator,
  JobOptions,
  MapOptions,
  PoolOptions,
  PoolStats,
  ProgressOptions,
  WorkerStats,
} from './pool.js';

export const { getAllStartMethods, setExecutable, setForkserverPreload, freezeSupport, Pool } =
  defaultContext;
export type Pool = InstanceType<typeof Pool>;

export default defaultContext;
