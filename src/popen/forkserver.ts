/**
 * Launching a child by a fork server: the counterpart of CPython's `popen_forkserver.py`. src/forkserver.ts has how the
 * server is asked, src/entry/forkserver.ts what it does.
 *
 * In the eyes of the system the child is the server's, which reaps it and tells the exit code. Whether the child still
 * has its pid is known all the same: the server says that it is about to reap it before it does.
 */

import { onNewIdentity } from '../at_fork.js';
import type * as ForkServer from '../forkserver.js';
import { lazyPart } from '../lazy_builtin.js';
import { native } from '../native.js';
import type { BaseProcess, Popen } from '../process.js';
import { arrangeEnd } from '../util.js';
import { LaunchedPopen, type Held } from './child.js';

/** The code of a child whose status has gone with the server. */
const UNKNOWN = 255;
/** How long the server may take from one of its last two words to the other. */
const REAPING_MS = 1000;

/** What tells a child that this process lives: a forked one must not hold it. */
const sockets = new Set<Held>();

onNewIdentity(() => {
  for (const held of sockets) {
    if (held.fd !== undefined) native.close(held.fd);
    held.fd = undefined;
  }
  sockets.clear();
});

class ForkServerPopen extends LaunchedPopen {
  readonly #server: typeof ForkServer;
  readonly #socket: Held;
  /** The server is reaping it. */
  #ending = false;

  constructor(server: typeof ForkServer, child: BaseProcess, startMethod: string | null) {
    super();
    this.#server = server;
    arrangeEnd();
    const { pid, socket } = server.launchByServer(child, startMethod);
    native.trackChild(pid, child.daemon || child._endsWithParent, socket);
    this.#socket = this.began(pid, () => socket);
    sockets.add(this.#socket);
  }

  protected override reap(milliseconds: number): number | null {
    const socket = this.#socket.fd!;
    const { ENDED, ENDING, makeReady, readReply } = this.#server;
    if (!this.#ending) {
      const reply = readReply(socket, milliseconds);
      if (reply === null) return null;
      this.#ending = reply?.[0] === ENDING;
    }
    const reply = this.#ending ? readReply(socket, REAPING_MS) : undefined;
    if (reply === null) return null;
    sockets.delete(this.#socket);
    // Whoever watches it is to see at any time that the child has ended.
    makeReady(socket);
    return reply?.[0] === ENDED ? reply[1] : UNKNOWN;
  }

  /** By a descriptor, where the system has that, which is of the right process if the child has not ended since. */
  protected override send(signal: number): void {
    if (this.#ending) return;
    const pidfd = native.openPidfd(this.pid);
    try {
      if (this.poll() !== null || this.#ending) return;
      if (pidfd === null) native.kill(this.pid, signal);
      else native.signalPidfd(pidfd, signal);
    } finally {
      if (pidfd !== null) native.close(pidfd);
    }
  }
}

/** Launches `child` by the server. @param startMethod what the child's default is to be. */
export function launch(child: BaseProcess, startMethod: string | null): Popen {
  return new ForkServerPopen(lazyPart<typeof ForkServer>('forkserver'), child, startMethod);
}
