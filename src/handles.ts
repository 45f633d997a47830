/**
 * Descriptors and what node builds on them, sent to another process: CPython's `reduction.send_handle`,
 * `recv_handle` and `DupFd`, and how sockets and servers travel inside of values.
 *
 * A live object is taken apart into a copy of its descriptor and the state that the system does not keep, and
 * put together again on the other side, without listeners. Bytes that node has read, or not yet written, are not
 * in the descriptor: an object that has some is refused, never sent without them. A socket that is sent no longer
 * reads here (`resume()` has it go on), so that the bytes to come are the receiver's; the sender destroys its own.
 *
 * When a process dies with a descriptor under way, the system closes it.
 *
 * Loaded late, by the codec at the first such object, and by reduction.ts. It loads node's net and dgram only for
 * objects of theirs.
 */

import type { Socket as UdpSocket, SocketType } from 'node:dgram';
import type { Server, Socket } from 'node:net';
import { checkInt } from './arguments.js';
import { currentGeneration } from './at_fork.js';
import type { FdPlace, InternalCodec, InternalEncodeContext } from './codec/format.js';
import { registerInternal } from './codec/hooks.js';
import type { Connection } from './connection.js';
import { AssertionError, EOFError, RuntimeError, UnpicklingError, ValueError } from './errors.js';
import { onTakeBack } from './loans.js';
import { lazyBuiltin } from './lazy_builtin.js';
import { native } from './native.js';

/** A byte that a sender of messages puts between (native/core/bell.h); no handle. */
const RING = 0xbe;

/** The receiver confirms each descriptor where a queued one is lost with its sender. */
const ACKNOWLEDGE = native.plainPosix;
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
  let got = native.read(conn.fileno(), answer, 1);
  while (got === 1 && answer[0] === RING) got = native.read(conn.fileno(), answer, 1);
  if (got !== 1 || answer[0] !== ACK) {
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

// -------------------------------------------------------------------------------------------------
// Descriptors of messages that go through memory: CPython's `resource_sharer`

const TICKET_BYTES = 16;
const TICKET = /^[0-9a-f]{32}$/;
/** Of a sender that is not stopped, which is found out within a second. */
const FETCH_MS = 10_000;

/**
 * Keeps a copy of a descriptor until the receiver of the message fetches it, once, or the message is taken back. A thread
 * gives it out (native/core/resource_sharer.h), so whatever this process does meanwhile is no matter; it has to live.
 *
 * @returns where it is to be fetched. @throws Error EMFILE, ENOMEM.
 */
export function lendFd(fd: number): string {
  const { place, ticket } = share(fd, false);
  onTakeBack(() => native.revokeFd(ticket));
  return place;
}

function share(fd: number, standing: boolean): { place: string; ticket: Uint8Array } {
  const ticket = Buffer.allocUnsafeSlow(TICKET_BYTES);
  native.fillRandom(ticket);
  const address = native.shareFd(fd, ticket, standing);
  return { place: `${native.getpid()}:${ticket.toString('hex')}:${address}`, ticket };
}

/** Of what is shared for as long as it lives: where its descriptors are to be fetched, in which process. */
const standing = new WeakMap<object, { places: readonly FdPlace[]; generation: number }>();
const collectedOwners = new FinalizationRegistry<Uint8Array[]>((tickets) => {
  for (const ticket of tickets) native.revokeFd(ticket);
});

/**
 * Where anybody fetches the descriptors of `owner`, as often as they like, until it is collected.
 *
 * @param fds -1: nothing is needed there. @throws Error EMFILE, ENOMEM.
 */
export function placesOf(owner: object, fds: readonly number[]): readonly FdPlace[] {
  const known = standing.get(owner);
  // The child of a fork has no copies.
  if (known?.generation === currentGeneration()) return known.places;
  const tickets: Uint8Array[] = [];
  try {
    const places = fds.map((fd) => {
      if (fd < 0) return -1;
      const { place, ticket } = share(fd, true);
      tickets.push(ticket);
      return place;
    });
    standing.set(owner, { places, generation: currentGeneration() });
    collectedOwners.register(owner, tickets);
    return places;
  } catch (error) {
    for (const ticket of tickets) native.revokeFd(ticket);
    throw error;
  }
}

/** The descriptor, which is the caller's. @throws UnpicklingError it is not to be had. Error EMFILE. */
export function fetchFd(place: string): number {
  const [pid = '', ticket = '', address = ''] = place.split(':', 3);
  if (!TICKET.test(ticket)) throw new UnpicklingError('a descriptor has no ticket');
  try {
    return native.fetchFd(address, Buffer.from(ticket, 'hex'), FETCH_MS);
  } catch (error) {
    throw notToBeHad(error, pid);
  }
}

const REASONS: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'has ended',
  ECONNRESET: 'has ended',
  ENOENT: 'has ended',
  EPIPE: 'has ended',
  ENXIO: 'has given it to somebody else, or taken it back',
  EACCES: 'is of another user',
  EBUSY: 'is stopped',
  ETIMEDOUT: `has not handed it over within ${FETCH_MS / 1000} s`,
};

function notToBeHad(error: unknown, pid: string): unknown {
  const reason = REASONS[(error as NodeJS.ErrnoException).code ?? ''];
  if (reason === undefined) return error;
  return new UnpicklingError(
    `a descriptor of the object is to be fetched from its sender, process ${pid}, which ${reason}. Remedy: let the ` +
      'sender live until the object has arrived, or send it through a Connection (Pipe), which carries the descriptor',
    { cause: error },
  );
}

// -------------------------------------------------------------------------------------------------
// A descriptor inside of a value

/** Closes what nobody has detached. */
const forgotten = new FinalizationRegistry<number>((fd) => {
  try {
    native.close(fd);
  } catch {
    // Somebody has closed the number.
  }
});

/**
 * A copy of a descriptor that travels in a value: `conn.send({ log: new DupFd(fd) })`, and over there
 * `value.log.detach()`. Mirrors `reduction.DupFd`; the sender's copy is open until `close()`.
 *
 * @throws Error EBADF not open; EMFILE.
 */
export class DupFd {
  #fd: number;

  constructor(fd: number) {
    checkInt(fd, 'fd');
    this.#fd = native.dup(fd);
    forgotten.register(this, this.#fd, this);
  }

  /** The descriptor, which is the caller's from here on. @throws ValueError there is none any more. */
  detach(): number {
    const fd = this.#fd;
    if (fd < 0) throw new ValueError('the descriptor has been detached or closed');
    this.#fd = -1;
    forgotten.unregister(this);
    return fd;
  }

  close(): void {
    if (this.#fd >= 0) native.close(this.detach());
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** @internal */
  static _codec: InternalCodec<DupFd> = {
    encode: (value, context) =>
      value.#fd < 0 ? context.refuse('is a DupFd without a descriptor') : context.addFd(value.#fd),
    decode(place: FdPlace, context) {
      const fd = context.takeFd(place);
      try {
        const copy = new DupFd(fd);
        context.onFailure(() => copy.close());
        return copy;
      } finally {
        native.close(fd);
      }
    },
  };
}

registerInternal(DupFd, 'DupFd', DupFd._codec);

// -------------------------------------------------------------------------------------------------
// What node has

interface NodeHandle {
  fd?: number;
  reading?: boolean;
  readStop?(): number;
}

/** On Windows node's sockets are none of the numbers that are passed on. */
function checkPlatform(context: InternalEncodeContext, what: string): void {
  if (process.platform !== 'win32') return;
  context.refuse(
    `is a ${what}, which cannot be sent on Windows: send what was read, or have each process listen, or connect, ` +
      'by itself',
  );
}

type Sent<State> = [fd: FdPlace, state: State];

/** Objects of other classes than node's own would lose what their class adds. */
function checkClass(value: object, Class: { prototype: object }, remedy: string): string {
  const prototype = Object.getPrototypeOf(value) as { constructor: { name: string } };
  return prototype === Class.prototype ? '' : `is a ${prototype.constructor.name}: ${remedy}`;
}

function ofSocket(socket: Socket, context: InternalEncodeContext): Sent<object> {
  checkPlatform(context, 'socket');
  const { Socket: Class } = lazyBuiltin('node:net');
  const other = checkClass(socket, Class, 'only a plain net.Socket can be sent');
  if ('encrypted' in socket) {
    context.refuse('is an encrypted socket, whose keys stay here: send the net.Socket before TLS');
  }
  if (other !== '') context.refuse(other);
  if (socket.connecting) {
    context.refuse("is a socket that is still connecting: send it after its 'connect'");
  }
  const handle = (socket as unknown as { _handle: NodeHandle | null })._handle;
  if (handle === null || handle === undefined || socket.destroyed) {
    return context.refuse('is a socket that is closed');
  }
  if (handle.fd === undefined || handle.fd < 0) {
    return context.refuse('is a socket without a descriptor');
  }
  if (socket.readableLength > 0) {
    context.refuse(
      `is a socket with ${socket.readableLength} unread bytes: read() them first, and have the server make ` +
        'its sockets with pauseOnConnect',
    );
  }
  if (socket.writableLength > 0) {
    context.refuse(
      `is a socket with ${socket.writableLength} bytes still to write: send it in the callback of write()`,
    );
  }
  if (socket.writableEnded && !socket.writableFinished) {
    context.refuse("is a socket that is being ended: send it after its 'finish'");
  }
  const fd = context.addFd(handle.fd);
  // From here on nothing more is read in this process, until somebody resumes it.
  socket.pause();
  handle.reading = false;
  handle.readStop?.();
  (socket as unknown as { _readableState: { reading: boolean } })._readableState.reading = false;
  const { allowHalfOpen, writable } = socket;
  return [fd, { allowHalfOpen, writable, readable: socket.readable || socket.readableEnded }];
}

const socketCodec: InternalCodec<Socket> = {
  except: 'all',
  encode: ofSocket,
  decode([place, state]: Sent<object>, context) {
    const fd = context.takeFd(place);
    const socket = owned(fd, () => new (lazyBuiltin('node:net').Socket)({ ...state, fd }));
    context.onFailure(() => socket.destroy());
    return socket;
  },
};

function ofServer(server: Server, context: InternalEncodeContext): Sent<object> {
  checkPlatform(context, 'server');
  const { Server: Class } = lazyBuiltin('node:net');
  const other = checkClass(
    server,
    Class,
    'send a net.Server, and have one of this class take its connections there, ' +
      "server.on('connection', (socket) => other.emit('connection', socket))",
  );
  if (other !== '') context.refuse(other);
  const details = server as unknown as {
    _handle: NodeHandle | null;
    allowHalfOpen?: boolean;
    pauseOnConnect?: boolean;
  };
  const fd = details._handle?.fd;
  if (fd === undefined || fd < 0) {
    return context.refuse("is a server that does not listen: send it after its 'listening'");
  }
  const { allowHalfOpen = false, pauseOnConnect = false } = details;
  return [context.addFd(fd), { allowHalfOpen, pauseOnConnect }];
}

const serverCodec: InternalCodec<Server> = {
  except: 'all',
  encode: ofServer,
  decode([place, state]: Sent<object>, context) {
    const fd = context.takeFd(place);
    const server = owned(fd, () => lazyBuiltin('node:net').createServer(state).listen({ fd }));
    context.onFailure(() => server.close());
    return server;
  },
};

interface UdpState {
  handle?: NodeHandle | null;
  connectState?: number;
}

const CONNECTED = 2;

function ofUdp(socket: UdpSocket, context: InternalEncodeContext): Sent<SocketType> {
  checkPlatform(context, 'UDP socket');
  const { Socket: Class } = lazyBuiltin('node:dgram');
  const other = checkClass(socket, Class as never, 'only a plain dgram.Socket can be sent');
  if (other !== '') context.refuse(other);
  // Only a getter with a warning is public.
  const symbol = Object.getOwnPropertySymbols(socket).find(
    ({ description }) => description === 'state symbol',
  );
  const state = (socket as unknown as Record<symbol, UdpState | undefined>)[symbol!];
  const fd = state?.handle?.fd;
  if (fd === undefined || fd < 0) {
    return context.refuse("is a UDP socket that is not bound: send it after its 'listening'");
  }
  if (state?.connectState === CONNECTED) {
    context.refuse('is a connected UDP socket: disconnect() it first, and connect() it there');
  }
  const queued = socket.getSendQueueCount?.() ?? 0;
  if (queued > 0) {
    context.refuse(
      `is a UDP socket with ${queued} datagrams still to send: send it in the callback of send()`,
    );
  }
  return [context.addFd(fd), socket['type' as never] as SocketType];
}

const udpCodec: InternalCodec<UdpSocket> = {
  except: 'all',
  encode: ofUdp,
  decode([place, type]: Sent<SocketType>, context) {
    const fd = context.takeFd(place);
    const socket = owned(fd, () => lazyBuiltin('node:dgram').createSocket(type).bind({ fd }));
    context.onFailure(() => socket.close());
    return socket;
  },
};

/** Makes the object that the descriptor shall belong to. */
function owned<T>(fd: number, make: () => T): T {
  try {
    return make();
  } catch (error) {
    native.close(fd);
    throw error;
  }
}

const known = new Set<string>();

/** Teaches the codec the classes of a module of node. Whether it did not know them. */
export function register(module: 'net' | 'dgram'): boolean {
  if (known.has(module)) return false;
  known.add(module);
  if (module === 'net') {
    const net = lazyBuiltin('node:net');
    registerInternal(net.Socket, 'net.Socket', socketCodec);
    registerInternal(net.Server, 'net.Server', serverCodec);
  } else {
    registerInternal(lazyBuiltin('node:dgram').Socket, 'dgram.Socket', udpCodec);
  }
  return true;
}
