/**
 * `node-multiprocessing/concurrent`: the process pool's part of Python's `concurrent.futures`.
 *
 * An executor gives calls to worker processes and answers futures; `wait` and `asCompleted` wait for several of them.
 */

export {
  BrokenExecutor,
  BrokenProcessPool,
  CancelledError,
  InvalidStateError,
  TimeoutError,
} from './errors.js';
export {
  ProcessPoolExecutor,
  type ExecutorContext,
  type ExecutorMapOptions,
  type ExecutorOptions,
  type ShutdownOptions,
} from './concurrent/executor.js';
export { Future } from './concurrent/future.js';
export {
  ALL_COMPLETED,
  asCompleted,
  FIRST_COMPLETED,
  FIRST_EXCEPTION,
  wait,
  waitAsync,
  type BothWays,
  type DoneAndNotDone,
  type ReturnWhen,
  type WaitOptions,
} from './concurrent/waiting.js';
