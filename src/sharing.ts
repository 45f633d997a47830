/**
 * References to what lies in memory that processes share: how locks, values, queues and their like travel.
 *
 * A reference has two parts. The piece of memory (src/heap.ts: Segment, Block; src/queues.ts: Channel) travels once
 * per message, as its identity and a way to get at it; each object in it is that piece, its place there and what this
 * memory does not say of it. On arrival
 * - a piece that the receiving thread has is that piece. Else it is attached: by the descriptors themselves, where
 *   the channel carries them (a Connection), or by opening what the sender has open (/proc/<pid>/fd, Linux), or by
 *   fetching them from the sender (src/handles.ts, elsewhere). What is attached is checked against the identity (native/core/segment.h), and its descriptor kept, to be passed on.
 * - an object that the receiving thread has is that object. So an RLock that a process holds is held by it also after
 *   it went through a queue, and tasks that wait for one Lock wait in one line.
 *
 * References are believed as little as other bytes: whatever they say, they give an object, or an UnpicklingError.
 *
 * **When a process dies here.** A sender that ends takes the way of opening its descriptors with it: what it has
 * queued arrives only where the memory is known, or came along. As long as it lives it keeps what is under way
 * (`lend`). The receiver enrols in the owners of an attached segment by itself and so sees, and is seen, as others.
 */

import type { FdPlace } from './codec/format.js';
import { UnpicklingError } from './errors.js';
import type * as Handles from './handles.js';
import { arrive, Block, identityOf, lend, pieceOf, Segment, type Piece } from './heap.js';
import { lazyPart } from './lazy_builtin.js';
import { native } from './native.js';
import {
  BaseProcess,
  isSpawning,
  processState,
  restoreProcess,
  type ProcessState,
} from './process.js';
import {
  registerInternal,
  type InternalDecodeContext,
  type InternalEncodeContext,
} from './reduction.js';

type Reference = [key: string, descriptors: FdPlace[], pid?: number];

/** Whether processes of one user may open each other's descriptors. Where /proc is hidden from them, the user says so. */
const THROUGH_PROC =
  process.platform === 'win32' ||
  (process.platform === 'linux' &&
    !native.plainPosix &&
    process.env.NODE_MULTIPROCESSING_PROC !== 'hidden');

function encodePiece(piece: Piece, context: InternalEncodeContext): Reference {
  const descriptors = piece.descriptors();
  if (context.fds === false) {
    lend(piece);
    const places = THROUGH_PROC
      ? descriptors
      : lazyPart<typeof Handles>('handles').placesOf(piece, descriptors);
    return [piece.key, [...places], native.getpid()];
  }
  return [piece.key, descriptors.map((fd) => (fd < 0 ? -1 : context.addFd(fd)))];
}

export function malformed(): UnpicklingError {
  return new UnpicklingError('a reference to shared memory does not fit what is there');
}

/** Descriptors of this process's own. Either all, or an error and none. */
function descriptorsOf([, places, pid]: Reference, { takeFd }: InternalDecodeContext): number[] {
  const own: number[] = [];
  try {
    for (const place of places) {
      if (typeof place === 'string') own.push(takeFd(place));
      else if (place < 0) own.push(-1);
      else own.push(pid === undefined ? takeFd(place) : native.openOf(pid, place));
    }
  } catch (error) {
    for (const fd of own) if (fd >= 0) native.close(fd);
    throw error;
  }
  return own;
}

const isCount = (value: unknown): value is number =>
  Number.isInteger(value) && (value as number) <= 0x7fff_ffff;
const isPlace = (value: unknown): value is FdPlace => typeof value === 'string' || isCount(value);

function isReference(value: unknown, count: number): value is Reference {
  if (!Array.isArray(value)) return false;
  const [key, descriptors, pid] = value as unknown[];
  return (
    typeof key === 'string' &&
    Array.isArray(descriptors) &&
    descriptors.length === count &&
    descriptors.every(isPlace) &&
    (typeof descriptors[0] === 'string' || (descriptors[0] as number) >= 0) &&
    (pid === undefined || (isCount(pid) && pid > 0))
  );
}

/** What came of it when the sender's memory could not be had. */
function unavailable(error: unknown, pid: number | undefined): unknown {
  const { code } = error as NodeJS.ErrnoException;
  const remedy =
    'make the object before the fork, let its sender live until it has arrived, or send it through a Connection ' +
    '(Pipe), which carries the memory itself';
  if (code === 'ENOENT' || code === 'ESRCH' || code === 'EPROTO') {
    const where = pid === undefined ? 'came along' : `process ${pid} had`;
    return new UnpicklingError(
      `the shared memory of the object is not what ${where}` +
        `${pid === undefined ? '' : ': it has ended, or given the memory up'}. Remedy: ${remedy}`,
      { cause: error },
    );
  }
  if (code === 'EACCES' || code === 'EPERM' || code === 'ENOSYS') {
    return new UnpicklingError(
      `this process cannot open the shared memory of process ${pid}. Remedy: ${remedy}`,
      { cause: error },
    );
  }
  return error;
}

/**
 * Has pieces of a class travel, each once per message, for the references of what lies in them.
 *
 * @param count how many descriptors `attach` takes; they are its to close, whatever happens.
 */
export function registerPiece<T extends Piece>(
  Class: abstract new (...args: never[]) => T,
  tag: string,
  count: number,
  attach: (descriptors: number[], identity: Uint32Array) => T,
): void {
  registerInternal(Class, tag, {
    except: ['words', 'key', 'objects', 'size', 'token'],
    encode: encodePiece,
    decode(payload: unknown, context) {
      const identity = isReference(payload, count) ? identityOf(payload[0]) : undefined;
      if (identity === undefined) throw malformed();
      const reference = payload as Reference;
      const [key, , pid] = reference;
      const known = pieceOf(key);
      if (known !== undefined && !(known instanceof Class)) throw malformed();
      let piece = known;
      if (piece === undefined) {
        try {
          piece = attach(descriptorsOf(reference, context), identity);
        } catch (error) {
          throw unavailable(error, pid);
        }
      }
      if (pid !== undefined) arrive(piece);
      return piece;
    },
  });
}

/** The object that this thread has at a place of a piece, or the one that is made there now. */
export function objectAt<T extends object>(
  piece: Piece,
  at: number,
  Class: abstract new (...args: never[]) => T,
  context: InternalDecodeContext,
  make: () => T,
): T {
  const known = piece.objects.get(at);
  if (known === undefined) return make();
  if (!(known instanceof Class)) throw malformed();
  context.wasHere();
  return known;
}

registerPiece(Segment, 'Segment', 1, ([fd], identity) => {
  return new Segment(native.attachSegment(fd!, identity));
});

registerPiece(Block, 'Block', 1, ([fd], identity) => {
  return new Block(native.attachSharedBuffer(fd!, identity));
});

/** Has objects of a class refused. @param why what such an object "is", and what to do instead. */
export function refuseToSend(
  Class: abstract new (...args: never[]) => object,
  tag: string,
  why: string,
): void {
  registerInternal(Class, tag, {
    encode: (_, context) => context.refuse(why),
    decode() {
      throw malformed();
    },
  });
}

/** A process travels to the one that it becomes, and to nobody else. */
registerInternal(BaseProcess, 'Process', {
  except: [
    '_identity',
    '_parentPid',
    '_parentName',
    '_popen',
    '_closed',
    '_endsWithParent',
    '_target',
    '_isClass',
    '_args',
    '_kwargs',
    '_name',
  ],
  encode(child, context) {
    if (!isSpawning(child)) {
      context.refuse(
        'is a process, which only the one that has started it can join: send what it shall work on, or its pid',
      );
    }
    return processState(child);
  },
  decode(payload: unknown) {
    return restoreProcess(payload as ProcessState);
  },
});
