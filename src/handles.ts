/**
 * Descriptors and what node builds on them, sent to another process: what `reduction` needs for values that have
 * a descriptor. `sendHandle` and `recvHandle` are CPython's `reduction.send_handle` and `recv_handle`, on the wire
 * as well.
 *
 * A live object is taken apart into its kind, a copy of its descriptor and the state that the system does not keep,
 * and put together again on the other side. Bytes that node has read, or not yet written, are not in the
 * descriptor: an object that has some is refused, never sent without them. What is sent no longer reads here, so
 * that the bytes to come are the receiver's; the sender closes (destroys) its own.
 *
 * When a process dies with a descriptor under way, the system closes it.
 *
 * `reduction` and the contexts may import this file.
 */

import type { Socket as UdpSocket, SocketType } from 'node:dgram';
import type { Server, Socket } from 'node:net';
import { checkInt } from './arguments.js';
import { Connection } from './connection.js';
import { AssertionError, EOFError, RuntimeError, ValueError } from './errors.js';
import { lazyBuiltin } from './lazy_builtin.js';
import { native } from './native.js';

/** A byte that a sender of messages puts between (native/core/bell.h); no handle. */
const RING = 0xbe;

/** The receiver confirms each descriptor where a queued one is lost with its sender. */
const ACKNOWLEDGE = process.platform === 'darwin';
const ACK = 0x41; // 'A'

/**
 * Sends a copy of a descriptor over a Connection. Blocks while there is no room. Not a message: only `recvHandle`
 * takes it.
 *
 * @param destinationPid is Windows' business, as in Python.
 * @throws Error EBADF not open.
 */
export function sendHandle(
  conn: Connection,
  handle: number,
  _destinationPid?: number | null,
): void {
  checkInt(handle, 'handle');
  native.sendFds(conn.fileno(), Uint8Array.of(1), [handle], 0);
  if (!ACKNOWLEDGE) return;
  const answer = new Uint8Array(1);
  if (native.read(conn.fileno(), answer, 1) !== 1 || answer[0] !== ACK) {
    throw new RuntimeError('did not receive acknowledgement of fd');
  }
}

/**
 * Receives a descriptor that `sendHandle` has sent; it is the caller's to close. Blocks until it is there.
 *
 * @throws EOFError the other end is closed. RuntimeError something else was sent.
 */
export function recvHandle(conn: Connection): number {
  const byte = new Uint8Array(1);
  let [got, fds] = native.recvFds(conn.fileno(), byte, 1, 1, 0);
  while (got === 1 && byte[0] === RING) {
    [got, fds] = native.recvFds(conn.fileno(), byte, 1, 1, 0);
  }
  if (got === 0 && fds.length === 0)
    throw new EOFError('the other end of the connection is closed');
  if (ACKNOWLEDGE) native.write(conn.fileno(), Uint8Array.of(ACK));
  const [fd] = fds;
  if (fd === undefined) throw new RuntimeError('received 0 items of ancdata');
  if (byte[0] !== 1) {
    native.close(fd);
    throw new AssertionError(`Len is 1 but msg[0] is ${byte[0]}`);
  }
  return fd;
}

/** What stands in a message for a live object. */
export interface Disassembled {
  kind: 'connection' | 'socket' | 'server' | 'udp';
  /** A copy, the message's to close once it has been sent. */
  fd: number;
  state: HandleState;
}

export interface HandleState {
  readable?: boolean;
  writable?: boolean;
  /** Which end of a Pipe; undefined: any other descriptor. */
  side?: number;
  allowHalfOpen?: boolean;
  pauseOnConnect?: boolean;
  type?: SocketType;
}

interface NodeHandle {
  fd?: number;
  reading?: boolean;
  readStop?(): number;
}

/**
 * Takes a Connection, net.Socket, net.Server or dgram.Socket apart; undefined for anything else.
 *
 * @throws ValueError it has bytes that are not in the descriptor, is not connected or bound, or closed.
 *   Error EMFILE no descriptor left.
 */
export function disassemble(value: unknown): Disassembled | undefined {
  if (value instanceof Connection) return ofConnection(value);
  // Whoever has such an object has loaded its module: asking costs nothing for what is none.
  if (typeof value !== 'object' || value === null || !('_handle' in value || 'bind' in value)) {
    return undefined;
  }
  const net = lazyBuiltin('node:net');
  if (value instanceof net.Socket) return ofSocket(value);
  if (value instanceof net.Server) return ofServer(value);
  if (value instanceof lazyBuiltin('node:dgram').Socket) return ofUdp(value);
  return undefined;
}

function ofConnection(conn: Connection): Disassembled {
  if (!conn._atRest) {
    throw new ValueError(
      'a Connection in the middle of a message cannot be sent: await what it does first',
    );
  }
  const { readable, writable } = conn;
  const { fd, side } = conn._copy();
  const which = side === undefined ? {} : { side };
  return { kind: 'connection', fd, state: { readable, writable, ...which } };
}

function ofSocket(socket: Socket): Disassembled {
  const refuse = (why: string): never => {
    throw new ValueError(`a socket that ${why} cannot be sent to another process`);
  };
  if ('encrypted' in socket) refuse('is encrypted');
  if (socket.connecting) refuse('is still connecting');
  const handle = (socket as unknown as { _handle: NodeHandle | null })._handle;
  if (handle === null || handle === undefined || socket.destroyed) return refuse('is closed');
  if (handle.fd === undefined || handle.fd < 0) return refuse('has no descriptor');
  // From here on nothing more is read in this process.
  socket.pause();
  handle.reading = false;
  handle.readStop?.();
  if (socket.readableLength > 0) refuse(`has ${socket.readableLength} unread bytes`);
  if (socket.writableLength > 0) refuse(`has ${socket.writableLength} bytes still to write`);
  return {
    kind: 'socket',
    fd: native.dup(handle.fd),
    state: { writable: !socket.writableEnded, allowHalfOpen: socket.allowHalfOpen },
  };
}

function ofServer(server: Server): Disassembled {
  const details = server as unknown as { _handle: NodeHandle | null } & HandleState;
  const fd = details._handle?.fd;
  if (fd === undefined || fd < 0) {
    throw new ValueError('a server that does not listen cannot be sent to another process');
  }
  const { allowHalfOpen = false, pauseOnConnect = false } = details;
  return { kind: 'server', fd: native.dup(fd), state: { allowHalfOpen, pauseOnConnect } };
}

function ofUdp(socket: UdpSocket): Disassembled {
  // Only a getter with a warning is public.
  const symbol = Object.getOwnPropertySymbols(socket).find(
    ({ description }) => description === 'state symbol',
  );
  const state = (socket as unknown as Record<symbol, { handle?: NodeHandle | null } | undefined>)[
    symbol!
  ];
  const fd = state?.handle?.fd;
  if (fd === undefined || fd < 0) {
    throw new ValueError('a UDP socket that is not bound cannot be sent to another process');
  }
  return {
    kind: 'udp',
    fd: native.dup(fd),
    state: { type: socket['type' as never] as SocketType },
  };
}

/** Puts together what `disassemble` took apart; the descriptor is the object's from now on. */
export function assemble({ kind, fd, state }: Disassembled): unknown {
  switch (kind) {
    case 'connection':
      return Connection._of(fd, state.side, state.readable, state.writable);
    case 'socket': {
      const { writable = true, allowHalfOpen = false } = state;
      return new (lazyBuiltin('node:net').Socket)({ fd, readable: true, writable, allowHalfOpen });
    }
    case 'server': {
      const server = lazyBuiltin('node:net').createServer(state);
      return server.listen({ fd });
    }
    case 'udp': {
      const socket = lazyBuiltin('node:dgram').createSocket(state.type ?? 'udp4');
      return socket.bind({ fd });
    }
  }
}
