/**
 * The typed boundary between TypeScript and the addon: what each file of native/binding exports,
 * one interface per file, no implementation. TypeScript validates arguments before it calls; the
 * addon does. Conventions: a failing system call throws an Error with `code`, `errno` and
 * `syscall`.
 */

/**
 * native/binding/posix.cc: raw primitives of the operating system. src/posix.ts documents and
 * checks what it passes on; here stand the shapes, and the calls that only the package itself
 * makes. A signal that interrupts a call never ends it (PEP 475). Deadlines are monotonic
 * milliseconds, fractions allowed: 0 polls, negative is for ever.
 */
export interface NativePosix {
  pipe(cloexec: boolean): [readEnd: number, writeEnd: number];
  socketpair(type: number, cloexec: boolean): [number, number];
  /** A file in memory, close-on-exec; `name` is for who lists descriptors. @throws Error ENOSYS there are none here. */
  memoryFile(name: string): number;
  /** From here on nobody can change what such a file holds. */
  freezeMemoryFile(fd: number): void;
  /**
   * Reads at most `length` bytes into the beginning of `bytes`; answers how many, 0 at the end of
   * the file.
   */
  read(fd: number, bytes: Uint8Array, length: number): number;
  write(fd: number, bytes: Uint8Array): number;
  /**
   * Writes everything, waiting for room where the descriptor is non-blocking. Throws EPIPE when the
   * reader is gone; how much was written by then is not known.
   */
  writeAllSync(fd: number, bytes: Uint8Array): void;
  close(fd: number): void;
  dup(fd: number): number;
  dup2(fd: number, target: number, inheritable: boolean): void;
  setInheritable(fd: number, inheritable: boolean): void;
  getInheritable(fd: number): boolean;
  setBlocking(fd: number, blocking: boolean): void;
  getBlocking(fd: number): boolean;
  isatty(fd: number): boolean;
  /**
   * `slots` holds fd, events, revents for each descriptor; revents are filled in. Answers how many
   * are ready.
   */
  poll(slots: Int32Array, timeoutMs: number): number;
  /**
   * Waits until a read (a write) on `fd` would not sleep; false when the time was up. True at once where none
   * ever does, as on a non-blocking descriptor, or on one that is not open.
   */
  waitReady(fd: number, writing: boolean, timeoutMs: number): boolean;
  sendFds(socket: number, bytes: Uint8Array, fds: number[], flags: number): number;
  recvFds(
    socket: number,
    bytes: Uint8Array,
    length: number,
    maxfds: number,
    flags: number,
    withSender?: boolean,
  ): [received: number, fds: number[], messageFlags: number, sender?: number];
  /**
   * What is sent to this socket from now on is received `withSender`: the effective user who has sent it, by the
   * kernel's word.
   */
  admitSenders(socket: number): void;

  /** [0, 0] when the time was up. */
  waitpid(pid: number, options: number, timeoutMs: number): [pid: number, status: number];
  /**
   * Waits for the end of the child `pid`, and reaps it and nothing else; needs no event-loop turn.
   * Answers the raw wait status; null when the time is up and it still runs; -1 when it is not our
   * child, in practice because somebody else has reaped it: its status is lost.
   */
  waitPidTimeout(pid: number, timeoutMs: number): number | null;
  kill(pid: number, signal: number): void;
  /**
   * From the system: right in a forked child from its first instruction, unlike a cached
   * `process.pid`.
   */
  getpid(): number;
  /** Whether this thread is the one the process began with: false in a Worker. */
  isMainThread(): boolean;
  setsid(): void;
  getsid(pid: number): number;
  getpgid(pid: number): number;
  setpgid(pid: number, pgid: number): void;
  _exit(code: number): never;
  spawn(request: SpawnRequest): number;
  /**
   * A number that tells a process from an earlier one with the same pid, or null when there is no
   * such process. A zombie has one. Linux: clock ticks between boot and its start; macOS:
   * microseconds, Windows: 100 ns, of the wall clock. Throws when the process exists but the system
   * hides it.
   */
  processStartTime(pid: number): number | null;
  /**
   * Linux: the calling process gets `signal` when the thread that created it ends; 0 cancels. If
   * that has happened before the call, nothing comes: compare `getppid()` afterwards. ENOSYS
   * elsewhere.
   */
  setPdeathsig(signal: number): void;
  /**
   * The process is killed when its parent has ended, however: what setPdeathsig does where there is such a thing. By a
   * thread; looks four times a second.
   */
  endWithParent(parent: number): void;
  /** Blocks this thread; not a negative number or NaN. */
  sleepMs(milliseconds: number): void;
  schedSetaffinity(pid: number, cpus: number[]): void;
  schedGetaffinity(pid: number): number[];

  /** The C library's macros; the predicates answer 0 or not 0. */
  WIFEXITED(status: number): number;
  WEXITSTATUS(status: number): number;
  WIFSIGNALED(status: number): number;
  WTERMSIG(status: number): number;
  WIFSTOPPED(status: number): number;
  WSTOPSIG(status: number): number;
  WIFCONTINUED(status: number): number;
  WCOREDUMP(status: number): number;

  /** Absent: what this platform does not have. */
  readonly posixConstants: { readonly [name in PosixConstant]: number };
  /** Whether it does with what POSIX and macOS have: on macOS, and in the build of `npm run test:portable`. */
  readonly plainPosix: boolean;
}

/** The constants that Node's own `os.constants` and `fs.constants` lack. */
export type PosixConstant =
  | 'WNOHANG'
  | 'WUNTRACED'
  | 'WCONTINUED'
  | 'AF_UNIX'
  | 'SOCK_STREAM'
  | 'SOCK_DGRAM'
  | 'SOCK_SEQPACKET'
  | 'SOCK_NONBLOCK'
  | 'POLLIN'
  | 'POLLPRI'
  | 'POLLOUT'
  | 'POLLERR'
  | 'POLLHUP'
  | 'POLLNVAL'
  | 'POLLRDHUP'
  | 'MSG_DONTWAIT'
  | 'MSG_PEEK'
  | 'MSG_TRUNC'
  | 'MSG_CTRUNC'
  | 'O_CLOEXEC';

/** What posix_spawn is told, as native/core/spawn.h has it. */
export interface SpawnRequest {
  path: string;
  argv: string[];
  /** NAME=value */
  env: string[];
  /** posix_spawnp: look for `path` along PATH. */
  searchPath: boolean;
  fileActions: SpawnFileAction[];
  processGroup: number | undefined;
  newSession: boolean;
  resetIds: boolean;
  signalMask: number[] | undefined;
  defaultSignals: number[] | undefined;
}

/** The kinds are the numbers of POSIX_SPAWN_OPEN, _CLOSE and _DUP2. */
export type SpawnFileAction =
  | { kind: 0; fd: number; path: string; flags: number; mode: number }
  | { kind: 1; fd: number }
  | { kind: 2; fd: number; target: number };

/** native/binding/fork.cc: forking the running process. src/fork.ts tells what happens when. */
export interface NativeFork {
  /** Why this process cannot be forked; null when it can. */
  forkProblem(): string | null;
  /**
   * Once, before the first fork: what the child of an unwinding fork runs. `onChild` at once, on the
   * old stack, with signals blocked; `errnum` is not 0 when the event loop could not be revived;
   * bit n of `stdio`: the parent's stream on descriptor n had a handle. `main` on an empty stack.
   * `idle` after it, when nothing is left to do. `enqueueMicrotask` adds one microtask that does
   * nothing. Answers false when V8's microtask queue is not recognised.
   */
  prepareFork(
    onChild: (errnum: number, stdio: number) => void,
    main: () => void,
    idle: () => void,
    enqueueMicrotask: () => void,
  ): boolean;
  /**
   * Answers the pid in the parent. In the child it answers 0, or, with `unwind`, undefined: then V8
   * unwinds the stack, and every handle of the parent's is silent. Throws EAGAIN, ENOMEM, EMFILE;
   * NOT_FORKABLE, with the reason as message; NOT_AT_REST, when V8's background work did not come to
   * rest within `restTimeoutMs`. A child that the system gives no threads writes "errno syscall" to
   * `reportFd` (-1: to stderr) and ends.
   */
  fork(
    unwind: boolean,
    restTimeoutMs: number,
    reportFd: number,
    hasWorkers: boolean,
  ): number | undefined;
  /** Child that goes on: forgets requests whose threads do not exist. */
  forgetPoolRequests(): void;
  /** Whether anything keeps the event loop going. */
  loopAlive(): boolean;
  /** The same, immediates aside. */
  loopHolds(): boolean;
  /** _exit(2). */
  exitNow(code: number): never;
  /** An Error as a failed system call of this process would throw it. */
  makeErrnoError(errnum: number, syscall: string): Error;
  /** Children to end, and to wait for, when SIGINT or SIGTERM ends this process. */
  trackChild(pid: number, daemon: boolean, sentinel?: number): void;
  untrackChild(pid: number): void;
  /** When this thread ends, however it does: the descriptors are closed, and the child, which ends by that, is reaped. */
  endWithThread(pid: number, fds: number[]): void;
  outliveThread(pid: number): void;
  handleDeathBy(signal: number): void;
  /** Fills `bytes` from the system's source of randomness. */
  fillRandom(bytes: Uint8Array): void;
  /** A descriptor that is readable when the process has ended; null where there is none to have. */
  openPidfd(pid: number): number | null;
  signalPidfd(fd: number, signal: number): void;
  /**
   * SIGKILL to this process once the other end of the socket, on which nothing else will arrive, is closed. Until
   * `outlivePeer`, which only Linux has.
   */
  dieWithPeer(socket: number): void;
  outlivePeer(socket: number): void;
  /**
   * Keeps a copy of `fd` for the first who shows the ticket, 16 random bytes, or, `standing`, for all. Answers where that
   * is to be done.
   */
  shareFd(fd: number, ticket: Uint8Array, standing: boolean): string;
  /** Closes the copy, if it is still there. */
  revokeFd(ticket: Uint8Array): void;
  /** Throws ECONNREFUSED, ENOENT: the sharer has ended; ENXIO: no such ticket; EACCES; EBUSY: it is stopped; ETIMEDOUT; EMFILE. */
  fetchFd(address: string, ticket: Uint8Array, timeoutMs: number): number;
  /** Calls `onReady` once `fd` is readable, on the event loop. Answers how to stop. */
  watchReadable(fd: number, onReady: () => void): FdWatch;
}

/** An interest in a descriptor. It keeps the event loop alive until it fires or is stopped. */
export interface FdWatch {
  stop(): void;
}

/**
 * native/binding/connection.cc: framed messages on descriptors, and waiting for descriptors. `state` is a
 * Float64Array of 9, as FrameState of native/core/frame.h has it; its first element begins as -1. Outcomes
 * below 0 are FrameOutcome there, FRAME in src/transport.ts. A timeout of 0 does not block, -1 has no limit.
 */
export interface NativeConnection {
  /** Answers the payload's length, or an outcome. `fds` takes descriptors that came along. */
  receiveFrame(
    fd: number,
    state: Float64Array,
    room: Uint8Array,
    roomBytes: number,
    timeoutMs: number,
    fds?: number[],
  ): number;
  /** Receives the rest of a payload: `state[0]` bytes, of which `state[1]` are in `payload` already. */
  continueFrame(fd: number, state: Float64Array, payload: Uint8Array, timeoutMs: number): number;
  /** Answers how many bytes of the frame were sent, its header included. */
  sendFrame(fd: number, bytes: Uint8Array, offset: number, size: number, timeoutMs: number): number;
  /**
   * A frame of several parts, from its byte `from` on; answers up to where it has come. Windows: a child, `pid`, has the
   * handles from then on, whether it receives the frame or not.
   */
  sendFrameParts(
    fd: number,
    parts: Uint8Array[],
    fds: readonly number[],
    from: number,
    timeoutMs: number,
    pid?: number,
  ): number;
  /** Of descriptors that are added; with `fd`, of that one, which must be non-blocking, for reading. */
  Watch: new (fd?: number) => Watch;
}

/** One wait at a time for any of some descriptors. Armed, it keeps the event loop alive. */
export interface Watch {
  /** Interests end when they fire. */
  add(fd: number, read: boolean, write: boolean): void;
  remove(fd: number): void;
  arm(onReady: () => void): void;
  disarm(): void;
  /** Frees its descriptor. */
  close(): void;
}

/**
 * The words of a segment: an Int32Array, or an opaque handle where the runtime forbids ArrayBuffers on memory that is
 * not V8's. Only src/words.ts and native code look into it.
 */
export interface Words {
  readonly __words: unique symbol;
}

/** Shared memory that is no segment: an ArrayBuffer, or a handle. */
export type Memory = Words | ArrayBuffer;

/** As `Atomics` has them, for an Int32Array. */
export interface WordAccess {
  load(words: Words, index: number): number;
  store(words: Words, index: number, value: number): unknown;
  exchange(words: Words, index: number, value: number): number;
  compareExchange(words: Words, index: number, expected: number, replacement: number): number;
  add(words: Words, index: number, value: number): number;
  and(words: Words, index: number, value: number): number;
  or(words: Words, index: number, value: number): number;
}

/** native/binding/distant.cc. Offsets are in bytes, and elements as wide as those of the typed array. */
export interface DistantAccess extends WordAccess {
  /** As many elements as `into` has, each in one untorn access. */
  readElements(memory: Memory, byteOffset: number, into: NodeJS.TypedArray): void;
  writeElements(memory: Memory, byteOffset: number, from: NodeJS.TypedArray): void;
  /** Of one element each. `expected` becomes what was there; answers whether it was that before. */
  exchangeElement(
    memory: Memory,
    byteOffset: number,
    expected: NodeJS.TypedArray,
    replacement: NodeJS.TypedArray,
  ): boolean;
}

/**
 * native/binding/sync.cc: segments, locks and waits. A word is named by what stands for its whole
 * segment and its index there. Milliseconds as above.
 */
export interface NativeSync {
  /** Only where ArrayBuffers on shared memory are forbidden: what stands for Atomics and typed arrays. */
  readonly distant?: DistantAccess;
  createSegment(): { words: Words; fd: number };
  /** Zeroed bytes that every later fork shares, in a mapping of their own. */
  createSharedBuffer(bytes: number): PlainMemory;
  /**
   * A descriptor of the segment or pipe that is `fd` in the process `pid`. Throws ENOENT, EACCES, EMFILE; EPROTO: it
   * is neither; ENOSYS: only Linux has this, for other processes.
   */
  openOf(pid: number, fd: number): number;
  /**
   * The segment behind a descriptor, which is the segment's from here on, or closed. `identity` is a Uint32Array of 4.
   * Throws EPROTO: it is not the one of this identity.
   */
  attachSegment(fd: number, identity: Uint32Array): { words: Words; fd: number };
  attachSharedBuffer(fd: number, identity: Uint32Array): PlainMemory;
  /**
   * The calling thread's name in the locks of this segment; from now on its normal end leaves them locked. Throws
   * EAGAIN: it has 16,384 users that live.
   */
  enrol(words: Words): number;
  isDead(words: Words, token: number): boolean;
  /** 0: not acquired; 1: acquired; 2: acquired, its owner had died. */
  acquireLock(words: Words, index: number, token: number, timeoutMs: number): 0 | 1 | 2;
  /** False: it is not held. */
  releaseLock(words: Words, index: number): boolean;
  acquireSemaphore(words: Words, index: number, timeoutMs: number): boolean;
  /** False: its value is `max`. */
  releaseSemaphore(words: Words, index: number, max: number): boolean;
  /** Sleeps while the word is `expected`, a quarter of a second at most; may return for nothing. */
  park(words: Words, index: number, expected: number, timeoutMs: number): void;
  unpark(words: Words, index: number, count: number): void;
  SegmentListener: new (words: Words, onReady: (ids: number[]) => void) => SegmentListener;
}

/** Memory without slots. `words` is what comes before its bytes, which begin at `offset` of `memory`. */
export interface PlainMemory {
  words: Words;
  memory: Memory;
  offset: number;
  bytes: number;
  fd: number;
}

/** native/binding/weak_table.cc: objects by number, as long as somebody else holds them. */
export interface NativeWeakTable {
  WeakTable: new <T extends object>() => WeakTable<T>;
}

export interface WeakTable<T extends object> {
  set(key: number, object: T): void;
  get(key: number): T | undefined;
  keys(): number[];
}

/** native/binding/channel.cc: queues of messages in shared memory (native/core/channel.h). */
export interface NativeChannel {
  Channel: {
    new (maxItems: number): Channel;
    /** As `attachSegment`, by the three descriptors that `fds` has answered. */
    new (fd: number, bell: number, ringer: number, identity: Uint32Array): Channel;
  };
}

/** Calls that take a token take the calling thread's. What fails throws an Error with `code`. */
export interface Channel {
  token(): number;
  /** Puts the first `length` bytes, 4096 at most. False: no room in time. */
  put(bytes: Uint8Array, length: number, token: number, timeoutMs: number, tag?: number): boolean;
  putParts(parts: Uint8Array[], token: number, timeoutMs: number, tag?: number): boolean;
  /** Whether there is one, which another process may take first. False: none in time, or `wakeAll` was called since `recalls`. */
  waitForMessage(token: number, timeoutMs: number, recalls?: number): boolean;
  /** How often `wakeAll` was called. */
  recalls(): number;
  /** How many bytes were got; -1: there is nothing; -2: the next one is large and stays, see `sizes`. */
  get(bytes: Uint8Array, token: number): number;
  /**
   * The same, and the claim of this number says which message it is before it is taken. -4: the next one's tag is newer
   * than `own`, and it stays; -5: it is older, and newer than `orphaned`.
   */
  get(bytes: Uint8Array, token: number, claim: number, own: number, orphaned: number): number;
  /** The sizes of the parts of the message that was found to be large. */
  sizes(): number[];
  /** As `get`; -3: it was large, had the sizes of these parts, and they are filled. */
  getInto(
    parts: Uint8Array[],
    bytes: Uint8Array,
    token: number,
    claim?: number,
    own?: number,
    orphaned?: number,
  ): number;
  /** Whether another message was taken than the first `taken`, modulo 2 ** 31; false: none in time, or `wakeAll`. */
  waitForTake(taken: number, timeoutMs: number, recalls: number): boolean;
  /** Whoever waits for a message waits no longer. */
  wakeAll(): void;
  size(): number;
  hasRoom(): boolean;
  /** How many were put and not reported done. */
  unfinished(): number;
  /** False: there is none to report. */
  done(): boolean;
  waitUntilDone(timeoutMs: number): boolean;
  /** Readable after a message has come, once `resetBell` was called. */
  bellFd(): number;
  /** The bell is silent until the next message, or rings at once if there is one. It is wanted. */
  resetBell(): void;
  /** The word's value, which says from now on that somebody waits for another one. */
  awaitWord(byteOffset: number): number;
  /**
   * Words of the channel's memory: where to wait for room and for the last report, and the claims. To be called once; the
   * channel is there as long as the words are kept.
   */
  words(): { words: Words; room: number; done: number; claims: number };
  /**
   * Gives memory and descriptors back at once, where the runtime allows that, and else when they are collected. The
   * words, and every method, must not be used afterwards.
   */
  release(words: Words): void;
  /** Of its memory, of its bell and, -1 where that is the same, of what rings the bell. */
  fds(): [fd: number, bell: number, ringer: number];
  /** 0: no limit. */
  maxItems(): number;
  /** How many chunks of memory are in use, here or in another process's hands. */
  usedChunks(): number;
}

/** native/binding/pipe.cc: the ends of a Pipe (native/core/pipe.h). Outcomes are PipeOutcome there. */
export interface NativePipe {
  PipeEnd: {
    /** The first end; without `duplex` it receives. */
    new (duplex: boolean): PipeEnd;
    /** The other one. */
    new (first: PipeEnd): PipeEnd;
    /** One that came from another process. It owns the descriptors, also when it throws. */
    new (socket: number, memory: number, side: number): PipeEnd;
  };
}

/** Calls that take a token take the calling thread's. A timeout of 0 does not block, -1 has no limit. */
export interface PipeEnd {
  token(): number;
  /** The socket. */
  fd(): number;
  memoryFd(): number;
  side(): number;
  /** Sends one part, blocking. */
  send(bytes: Uint8Array, offset: number, size: number, token: number): void;
  /** Goes on from `from`; answers up to where it has come, or -1: all has left. */
  sendParts(
    parts: Uint8Array[],
    fds: readonly number[],
    from: number,
    token: number,
    timeoutMs: number,
  ): number;
  receive(
    scratch: Uint8Array,
    payload: Uint8Array | undefined,
    large: Uint8Array | undefined,
    token: number,
    timeoutMs: number,
  ): number;
  /** Of the message that has begun. */
  incomingLength(): number;
  /** Of the next one. */
  largeLength(): number;
  takeFds(): number[];
  amidst(): boolean;
  /** A message received in part is another process's. */
  forget(): void;
  /** Whether there is something to receive, or the end. */
  ready(): boolean;
  waitUntilReady(token: number, timeoutMs: number): boolean;
  /**
   * The socket becomes readable when there is something to receive, or room to send (0). There is (1). It is readable
   * for another receiver, and tells nothing (2).
   */
  arm(receive: boolean, send: boolean, token: number): 0 | 1 | 2;
  close(): void;
}

/** What an asynchronous wait is for: WatchFor in native/core/listener.h. */
export interface SegmentListener {
  /** `onReady` gets `id` once, when it is worth a try. */
  watch(id: number, index: number, what: number, expected: number): void;
  forget(id: number): void;
  /** Keeps the event loop alive, or no longer. */
  ref(): void;
  unref(): void;
}

/**
 * native/binding/shared_memory.cc: shared memory, mappings, named semaphores. An ArrayBuffer that is
 * answered lies straight on the mapping, which is removed by `munmap`, or when the ArrayBuffer is
 * collected.
 */
export interface NativeSharedMemory {
  shmOpen(name: string, flags: number, mode: number): number;
  shmUnlink(name: string): void;
  ftruncate(fd: number, length: number): void;
  posixFallocate(fd: number, offset: number, length: number): void;
  /** A length of 0: all of the file from the offset on. A negative `fd`: anonymous memory. */
  mmap(fd: number, length: number, flags: number, protection: number, offset: number): ArrayBuffer;
  /** Detaches the ArrayBuffer first. Answers false when there is nothing to unmap (any more). */
  munmap(buffer: ArrayBuffer): boolean;
  /** For tests: whether ArrayBuffers are made by V8's own call, or by Node-API's. */
  preferDirectBuffers(direct: boolean): void;

  /**
   * A new block, zeroed, mode 0600. `identity` gets two numbers that tell it from a later one of the
   * same name.
   */
  sharedCreate(name: string, size: number, identity: BigUint64Array): ArrayBuffer;
  /** An existing block, whole; EINVAL of mmap when it is empty. */
  sharedAttach(name: string, identity: BigUint64Array): ArrayBuffer;
  /** Unlinks the name if it still means that block; answers whether it did. */
  sharedUnlink(name: string, identity: BigUint64Array): boolean;
  /** Whether the name still means that block, as far as can be seen. */
  sharedIs(name: string, identity: BigUint64Array): boolean;

  semOpen(name: string, flags: number, mode: number, value: number): SemaphoreHandle;
  semUnlink(name: string): void;
  /** Answers false when the time was up. */
  semWait(semaphore: SemaphoreHandle, timeoutMs: number): boolean;
  semPost(semaphore: SemaphoreHandle): void;
  semGetValue(semaphore: SemaphoreHandle): number;
  /** Afterwards the handle must not be used. */
  semClose(semaphore: SemaphoreHandle): void;

  /** Absent: what this platform does not have. */
  readonly memoryConstants: { readonly [name in MemoryConstant]: number };
}

/**
 * native/binding/resource_tracker.cc: the pipe to the resource tracker. All threads of a process have the same one, and
 * its forked children.
 */
export interface NativeResourceTracker {
  /** `fd` is -1 where there is none; `generation` changes with each tracker. */
  trackerLink(): [fd: number, generation: number];
  /**
   * Takes over `fd` as the pipe, unless another thread has replaced the one of `generation` already: then it is closed,
   * and the answer is false.
   */
  trackerReplace(generation: number, fd: number): boolean;
  trackerClose(): void;
  /**
   * Sends a message as a whole or not at all. Answers 0; 1 when there was no room for it in time; 2 when the tracker
   * has ended; 3 when there is none. ENAMETOOLONG: more than PIPE_BUF bytes.
   */
  trackerTell(message: string, timeoutMs: number): number;
  /** The file that the addon was loaded from. */
  addonFile(): string;
}

/** An open semaphore. */
export interface SemaphoreHandle {
  readonly __semaphore: unique symbol;
}

export type MemoryConstant =
  | 'PROT_NONE'
  | 'PROT_READ'
  | 'PROT_WRITE'
  | 'PROT_EXEC'
  | 'MAP_SHARED'
  | 'MAP_PRIVATE'
  | 'MAP_ANONYMOUS'
  | 'MAP_NORESERVE'
  | 'MAP_POPULATE'
  | 'SEM_VALUE_MAX';

/** Everything that `multiprocessing.node` exports. */
export interface Native
  extends
    NativePosix,
    NativeFork,
    NativeConnection,
    NativeSync,
    NativeChannel,
    NativeWeakTable,
    NativePipe,
    NativeSharedMemory,
    NativeResourceTracker {}
