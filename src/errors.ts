/**
 * The library's error classes, with Python's names and Python's hierarchy.
 *
 * Guarantees: `err.name` is the class's name and stands on the prototype (so a program that has an error
 * from another copy of the package, or from another process, can still tell it by name), and `instanceof`
 * follows CPython: `TimeoutError`, `BufferTooShort` and `AuthenticationError` are `ProcessError`s, and so on.
 * A wrong type is JavaScript's own `TypeError`; a failed system call is an `Error` with `code`, `errno` and
 * `syscall`, made in native/binding/errors.cc. No class is made outside this list.
 *
 * Anyone may import this file; it imports nothing.
 */

/** Gives `Class.prototype.name` as a built-in error has it: own to the prototype, not enumerable. */
function named(Class: abstract new (...args: never[]) => Error, name: string): void {
  Object.defineProperty(Class.prototype, 'name', {
    value: name,
    writable: true,
    enumerable: false,
    configurable: true,
  });
}

/** The base of this module's own errors (`multiprocessing.ProcessError`). */
export class ProcessError extends Error {}

/**
 * A wait with a timeout ran out (`multiprocessing.TimeoutError`). One class serves every timeout of the
 * package, `concurrent.futures.TimeoutError` included.
 */
export class TimeoutError extends ProcessError {}

/**
 * The buffer given to `recvBytesInto` is too small (`multiprocessing.BufferTooShort`). The message that did
 * not fit is not lost: `data` has it, as `args[0]` has in Python.
 */
export class BufferTooShort extends ProcessError {
  /** The complete message that did not fit. */
  readonly data: Uint8Array | undefined;

  constructor(message?: string, data?: Uint8Array, options?: ErrorOptions) {
    super(message ?? 'the buffer is too short for the message', options);
    this.data = data;
  }
}

/** The two ends of a connection do not share a key (`multiprocessing.AuthenticationError`). */
export class AuthenticationError extends ProcessError {}

/** A queue had no item in time (`queue.Empty`). */
export class Empty extends Error {}

/** A queue had no room in time (`queue.Full`). */
export class Full extends Error {}

/** An argument of the right type but with an impossible value, or a closed object (Python's `ValueError`). */
export class ValueError extends Error {}

/** A rule of use was broken, such as starting a process twice (Python's `AssertionError`). */
export class AssertionError extends Error {}

/** An operation in a state that does not allow it (Python's `RuntimeError`). */
export class RuntimeError extends Error {}

/** The other end is closed and everything it sent was read (Python's `EOFError`). */
export class EOFError extends Error {}

/** A barrier was aborted, reset or has lost a waiter (`threading.BrokenBarrierError`, a RuntimeError). */
export class BrokenBarrierError extends RuntimeError {}

/** An executor cannot be used any more (`concurrent.futures.BrokenExecutor`, a RuntimeError). */
export class BrokenExecutor extends RuntimeError {}

/**
 * A worker of an executor died (`concurrent.futures.process.BrokenProcessPool`). `cause` is the WorkerLostError that
 * tells which one, and how.
 */
export class BrokenProcessPool extends BrokenExecutor {}

/** A task's result could not be sent back (`multiprocessing.pool.MaybeEncodingError`). */
export class MaybeEncodingError extends Error {}

/** A call on a manager's server failed there (`multiprocessing.managers.RemoteError`). */
export class RemoteError extends Error {}

/** A value cannot be carried to another process (`pickle.PicklingError`). */
export class PicklingError extends Error {}

/** Bytes are not a value that a process of this version took apart, or name what is not here (`pickle.UnpicklingError`). */
export class UnpicklingError extends Error {}

/** An iterator has no more items (Python's `StopIteration`). */
export class StopIteration extends Error {}

/** The task or future was cancelled before it had a result (`concurrent.futures.CancelledError`). */
export class CancelledError extends Error {}

/** A future has its outcome already (`concurrent.futures.InvalidStateError`). */
export class InvalidStateError extends Error {}

/**
 * Beyond Python: the process that held this robust lock died. The caller of `acquire` holds the lock now;
 * what it protects is suspect.
 */
export class OwnerDiedError extends ProcessError {}

/** Beyond Python: a pool worker died in the middle of this task. */
export class WorkerLostError extends ProcessError {
  /** The worker's process id. */
  readonly pid: number | undefined;
  /** The worker's exit code, `-N` for a signal, null when it is not known. */
  readonly exitcode: number | null;
  /** The signal's name, null when the worker was not killed by one. */
  readonly signal: string | null;

  constructor(
    message?: string,
    details: { pid?: number; exitcode?: number | null; signal?: string | null } = {},
    options?: ErrorOptions,
  ) {
    super(message, options);
    this.pid = details.pid;
    this.exitcode = details.exitcode ?? null;
    this.signal = details.signal ?? null;
  }
}

/** All of them, by name. (Not `import *`: the object that a bundler makes of it is one of getters, and helpers for them.) */
export const ERROR_CLASSES = {
  ProcessError,
  TimeoutError,
  BufferTooShort,
  AuthenticationError,
  Empty,
  Full,
  ValueError,
  AssertionError,
  RuntimeError,
  EOFError,
  BrokenBarrierError,
  BrokenExecutor,
  BrokenProcessPool,
  MaybeEncodingError,
  RemoteError,
  PicklingError,
  UnpicklingError,
  StopIteration,
  CancelledError,
  InvalidStateError,
  OwnerDiedError,
  WorkerLostError,
} as const;

for (const [name, Class] of Object.entries(ERROR_CLASSES)) named(Class, name);
