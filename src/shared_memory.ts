/**
 * `node-multiprocessing/sharedMemory`: blocks of memory that processes find by name, and a list in one.
 *
 * The counterpart of CPython's `shared_memory.py`, with its names, rules and layout: a process of this package
 * and one of Python open each other's blocks and lists. Guarantees:
 *
 * - `buf` lies straight on the memory. Once closed, it and every other view of the block has length 0: nothing
 *   can reach memory that is gone.
 * - A block that was created has room: up to 64 MiB the memory is allocated at the creation, beyond that there
 *   must be as much free. Otherwise the creation fails with ENOSPC. (CPython allocates nothing, and a process
 *   that touches memory there is no room for dies of SIGBUS.)
 * - No descriptor stays open.
 *
 * Nothing here orders accesses: two processes that use the same bytes at a time need a lock.
 *
 * When a process dies: its mappings go with it. The block stays for as long as it has a name or somebody has it
 * mapped; when all processes of the program have ended that nobody unlinked it, the tracker does (resource_tracker.ts).
 *
 * A program may import this file; so may the layers above it.
 */

import { endianness } from 'node:os';
import { inspect } from 'node:util';
import {
  checkBoolean,
  checkOptions,
  checkText,
  isWellFormed,
  plainBytes,
  wrongType,
} from './arguments.js';
import { AssertionError, ValueError } from './errors.js';
import { native } from './native.js';
import { register as registerReference, registerInternal } from './reduction.js';
import { expect, register, unregister } from './resource_tracker.js';

// -------------------------------------------------------------------------------------------------
// Blocks

export interface SharedMemoryOptions {
  /** Without a leading slash. By default, with `create`, a new one: 'psm_' and 8 hexadecimal digits. */
  name?: string | null | undefined;
  /** True makes a new block, false (the default) opens an existing one. */
  create?: boolean | undefined;
  /** Of a new block, in bytes; ignored when an existing one is opened. */
  size?: number | undefined;
  /**
   * Whether the block is unlinked when this program ends and nobody in it has unlinked it. True by default, also for a
   * block that is only opened: a program that opens another one's block, which is to stay, says false.
   */
  track?: boolean | undefined;
}

const OPTIONS: readonly string[] = ['name', 'create', 'size', 'track'];

/** FreeBSD limits names to 14 characters, slash included: 4 bytes are what is left for chance. */
const PREFIX = '/psm_';
const random = Buffer.alloc(4);

function randomPath(): string {
  native.fillRandom(random);
  return PREFIX + random.toString('hex');
}

/**
 * A block of memory that processes share by its name. Mirrors `multiprocessing.shared_memory.SharedMemory`.
 *
 *   const shm = new SharedMemory({ create: true, size: 4096 });
 *   shm.buf[0] = 42; // seen by everybody who opens `new SharedMemory({ name: shm.name })`
 *   shm.close();
 *   shm.unlink();
 */
export class SharedMemory {
  /** As the system has it: with a slash. */
  readonly #path: string;
  readonly #size: number;
  readonly #buffer: ArrayBuffer;
  /** Undefined: this version of Node has no Uint8Array of this size. */
  readonly #buf: Uint8Array | undefined;
  /** Which block it is: the name may be another's by now. */
  readonly #identity = new BigUint64Array(2);
  readonly #track: boolean;

  /**
   * @throws ValueError: the size of a new block is negative or 0, or an existing one has no name or is empty.
   *   Error EEXIST: a new block's name is taken. ENOENT: there is none of this name. ENOSPC: there is no room
   *   for it. EACCES: somebody else's. EINVAL, ENAMETOOLONG: no name that the system has. ENOMEM: no addresses
   *   left. TypeError, RangeError: an option.
   */
  constructor(options: SharedMemoryOptions = {}) {
    const usage = 'new SharedMemory({ name, create, size, track })';
    checkOptions(options, 'SharedMemory', usage, OPTIONS);
    const { name = null, create = false, size = 0, track = true } = options;
    checkBoolean(create, 'create');
    checkBoolean(track, 'track');
    checkBlockSize(size, create);
    if (name !== null) checkText(name, 'name');
    if (name === null && !create) throw new ValueError("'name' can only be None if create=True");

    if (create) {
      [this.#path, this.#buffer] = createBlock(name, size, this.#identity, track);
    } else {
      this.#path = `/${name}`;
      this.#buffer = attachBlock(this.#path, this.#identity);
      if (track) register(this.#path, 'shared_memory', false, this.#identity);
    }
    this.#track = track;
    this.#size = this.#buffer.byteLength;
    this.#buf = viewOf(this.#buffer);
  }

  /**
   * The block's bytes, straight on the memory. After `close()` its length is 0.
   *
   * @throws RangeError: Node 20, and more than 4 GiB: take a view of `buffer`.
   */
  get buf(): Uint8Array {
    if (this.#buf !== undefined) return this.#buf;
    throw new RangeError(
      `Node ${process.versions.node} has no Uint8Array of ${this.#size} bytes: use a DataView, or a typed ` +
        "array of a part, of the block's 'buffer'",
    );
  }

  /** Beyond Python: the block as an ArrayBuffer, for views of other types. After `close()` it is detached. */
  get buffer(): ArrayBuffer {
    return this.#buffer;
  }

  /** What the block is found by, without a slash. */
  get name(): string {
    return this.#path.slice(1);
  }

  /** @internal */
  get _track(): boolean {
    return this.#track;
  }

  /** In bytes: what was asked for, on macOS rounded up to pages, on Windows where it is opened. Stays after `close()`. */
  get size(): number {
    return this.#size;
  }

  /**
   * Ends this object's access to the block: all views of it have length 0 from here on. The block stays for
   * others. A second time does nothing. Do not close a block while an asynchronous call of Node (of zlib,
   * say) works on it: those go by addresses.
   */
  close(): void {
    native.munmap(this.#buffer);
  }

  /**
   * Removes the block's name: nobody can open it any more, and its memory is freed when the last one has
   * closed it. Once per block, by whichever process is the last; open or closed. Does nothing on Windows, as in Python:
   * there a block goes with the last one who closes it.
   *
   * @throws Error ENOENT: it has been unlinked before. EACCES.
   */
  unlink(): void {
    native.shmUnlink(this.#path);
    if (this.#track) unregister(this.#path, 'shared_memory', this.#identity);
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** Python's representation: `SharedMemory('psm_12345678', size=4096)`. */
  toString(): string {
    return `${this.constructor.name}(${inspect(this.name)}, size=${this.#size})`;
  }

  [inspect.custom](): string {
    return this.toString();
  }
}

function checkBlockSize(size: unknown, create: boolean): asserts size is number {
  if (typeof size !== 'number') throw wrongType('size', 'an integer', size);
  // Written so that NaN is caught, as in Python.
  if (!(size >= 0)) throw new ValueError("'size' must be a positive integer");
  if (create && size === 0) {
    throw new ValueError("'size' must be a positive number different from zero");
  }
  if (!Number.isInteger(size)) throw wrongType('size', 'an integer', size);
  if (!Number.isSafeInteger(size)) {
    throw new RangeError(`size must be below 2 ** 53, not ${size}`);
  }
}

function createBlock(
  name: string | null,
  size: number,
  identity: BigUint64Array,
  track: boolean,
): [path: string, buffer: ArrayBuffer] {
  if (name !== null) {
    const path = `/${name}`;
    const buffer = native.sharedCreate(path, size, identity);
    if (track) register(path, 'shared_memory', true, identity);
    return [path, buffer];
  }
  for (;;) {
    const path = randomPath();
    // Nobody else's, unlike a given name: the tracker can know of it before it is there.
    if (track) expect(path, 'shared_memory');
    try {
      const buffer = native.sharedCreate(path, size, identity);
      if (track) register(path, 'shared_memory', true, identity);
      return [path, buffer];
    } catch (error) {
      if (track) unregister(path, 'shared_memory');
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
  }
}

function attachBlock(path: string, identity: BigUint64Array): ArrayBuffer {
  try {
    return native.sharedAttach(path, identity);
  } catch (error) {
    const { code, syscall } = error as NodeJS.ErrnoException;
    if (code === 'EINVAL' && syscall === 'mmap') throw new ValueError('cannot mmap an empty file');
    throw error;
  }
}

/** Elements of a Uint8Array end at 2 ** 32 in Node 20, bytes of an ArrayBuffer do not. */
function viewOf(buffer: ArrayBuffer): Uint8Array | undefined {
  try {
    return new Uint8Array(buffer);
  } catch {
    return undefined;
  }
}

// -------------------------------------------------------------------------------------------------
// Lists
//
// The layout is CPython's, in the byte order of the machine, N being the number of items:
//
//   offset                what
//   0                     N, as an int64
//   8                     N + 1 int64: where each item begins in the data, and where the data ends
//   (N + 2) * 8           the data: 8 bytes for a number, a boolean or None; for text and bytes the next
//                         multiple of 8 that is larger than their length
//   … + data              8 bytes per item: its format, as Python's `struct` writes it, padded by zeros
//   … + data + 8 N        1 byte per item: how to read it, see the codes
//
// The places of an item are fixed for good: text can be replaced by text that fits into the same place.

const VALUE = 0; // int, float or bool, as the format says
const TEXT = 1;
const BYTES = 2;
const NONE = 3;

const INT_FORMAT = 'q';
const FLOAT_FORMAT = 'd';
const BOOL_FORMAT = 'xxxxxxx?';
const NONE_FORMAT = 'xxxxxx?x';

const ALIGNMENT = 8;
const FORMAT_BYTES = 8;
const LITTLE_ENDIAN = endianness() === 'LE';

/** What a list answers: an int that no number holds exactly is a BigInt, bytes are a Buffer. */
export type Item = number | bigint | boolean | string | Buffer | null;

/** What a list can be given. */
export type ItemLike = number | bigint | boolean | string | Uint8Array | Float | null;

/**
 * A number that Python shall see as a float even if it is whole: `new ShareableList([new Float(1)])`. Once an
 * item is a float, it remains one when a number is assigned to it.
 */
export class Float {
  readonly value: number;

  /** @throws TypeError not a number. */
  constructor(value: number) {
    if (typeof value !== 'number') throw wrongType('value', 'a number', value);
    this.value = value;
  }

  valueOf(): number {
    return this.value;
  }
}

/** An item as it is stored. */
interface Packed {
  format: string;
  code: number;
  value: number | bigint | boolean | Uint8Array;
}

const NOTHING = new Uint8Array(0);

/** An item that is no text. `float`: a number shall be one even if it is whole. */
function packed(item: unknown, float: boolean): Packed {
  switch (typeof item) {
    case 'number':
      return float || !Number.isSafeInteger(item) || Object.is(item, -0)
        ? { format: FLOAT_FORMAT, code: VALUE, value: item }
        : { format: INT_FORMAT, code: VALUE, value: BigInt(item) };
    case 'bigint':
      if (BigInt.asIntN(64, item) !== item) {
        throw new RangeError(`an int of a ShareableList must fit into 64 bits, not ${item}`);
      }
      return { format: INT_FORMAT, code: VALUE, value: item };
    case 'boolean':
      return { format: BOOL_FORMAT, code: VALUE, value: item };
    case 'string':
      if (!isWellFormed(item)) throw new ValueError('a string with a lone surrogate has no UTF-8');
      return { format: '', code: TEXT, value: Buffer.from(item) };
    default:
      if (item === null) return { format: NONE_FORMAT, code: NONE, value: NOTHING };
      if (item instanceof Float) return packed(item.value, true);
      if (item instanceof Uint8Array) return { format: '', code: BYTES, value: plainBytes(item) };
      throw wrongType(
        'an item of a ShareableList',
        'a number, a BigInt, a boolean, a string, a Uint8Array or null',
        item,
      );
  }
}

/** Bytes for text or bytes: by the characters, as Python counts; by the bytes where those would not fit. */
function roomFor(item: unknown, bytes: number): number {
  const roomOf = (length: number): number => ALIGNMENT * (Math.floor(length / ALIGNMENT) + 1);
  if (typeof item !== 'string' || item.length === bytes) return roomOf(bytes);
  let characters = 0;
  for (const _ of item) characters++;
  const room = roomOf(characters);
  return bytes <= room ? room : roomOf(bytes);
}

export interface ShareableListOptions {
  /** The name of the block: of a new one with a sequence, of an existing one without. */
  name?: string | null | undefined;
  /** Beyond Python: as of SharedMemory. */
  track?: boolean | undefined;
}

const LIST_OPTIONS: readonly string[] = ['name', 'track'];

/** "0", "17": what an array takes for an index. */
function indexOf(key: string | symbol): number | undefined {
  if (typeof key === 'symbol') return undefined;
  const first = key.charCodeAt(0);
  // Most other keys are names of methods that are not there: `then`, `constructor` and the like.
  if (first > 57 || (first < 48 && first !== 45)) return undefined;
  const index = Number(key);
  return String(index) === key ? index : undefined;
}

/**
 * Stands below ShareableList's prototype: what is neither a field nor a method of a list comes here. So
 * methods cost nothing more, and indices are what they are in an array.
 */
const indices: ProxyHandler<object> = {
  get(target, key, list: unknown): unknown {
    const index = indexOf(key);
    if (index === undefined || !ShareableList.isList(list)) return Reflect.get(target, key, list);
    return index >= 0 ? list.at(index) : undefined;
  },
  set(target, key, value: unknown, list: unknown): boolean {
    const index = indexOf(key);
    if (index === undefined || !ShareableList.isList(list)) {
      return Reflect.set(target, key, value, list);
    }
    // sl[-1] reads as undefined; writing it would be a mistake that nobody notices.
    if (index < 0) throw new RangeError('assignment index out of range');
    list.set(index, value as ItemLike);
    return true;
  },
};

function IndexedBase(): void {}
IndexedBase.prototype = new Proxy({}, indices) as object;
const Indexed = IndexedBase as unknown as new () => object;

/**
 * A list of fixed length in a block of shared memory. Mirrors
 * `multiprocessing.shared_memory.ShareableList`, and has its layout: Python opens it, and the other way round.
 *
 *   const list = new ShareableList(['text', 1, 2.5, true, null, Buffer.from('bytes')]);
 *   const same = new ShareableList(null, { name: list.shm.name }); // in any process
 *   same[1] = 2;
 *
 * Numbers: what is a safe integer becomes a Python int, another number a float; a BigInt becomes an int, a
 * `Float` a float. An item that is a float remains one when a number is assigned to it. An int is read as a
 * number, or as a BigInt if no number holds it exactly. Zeros at the end of text and bytes are lost, as in
 * Python.
 *
 * An item is not written at once: a process that reads it meanwhile may see half of it. Use a lock.
 *
 * `list[i]` is undefined outside of the list, negative `i` included; `at(-1)` is the last item.
 */
export class ShareableList extends Indexed implements Iterable<Item> {
  [index: number]: Item | undefined;

  /** The block: `close()` and `unlink()` it when you are done. */
  readonly shm: SharedMemory;

  readonly #length: number;
  /** Where each item begins in the data; one more for where the data ends. */
  readonly #offsets: Float64Array;
  readonly #bytes: Buffer;
  readonly #view: DataView;
  /** Where the data, the formats and the codes begin. */
  readonly #data: number;
  readonly #formats: number;
  readonly #codes: number;

  /**
   * @param sequence the items of a new list. Null or left out, together with a name: the list of that name.
   * @throws TypeError an item of a type that a list does not hold. RangeError an int beyond 64 bits. ValueError
   *   the block of that name holds no list. AssertionError text or bytes of 10 MB or more. Error EEXIST, ENOENT,
   *   ENOSPC as of SharedMemory. Whatever is thrown, no new block is left behind.
   */
  constructor(sequence?: Iterable<ItemLike> | null, options: ShareableListOptions = {}) {
    super();
    checkOptions(
      options,
      'ShareableList',
      'new ShareableList(items, { name, track })',
      LIST_OPTIONS,
    );
    const { name = null, track } = options;
    if (name === null || (sequence !== undefined && sequence !== null)) {
      const items = packSequence(sequence ?? []);
      this.#offsets = items.offsets;
      this.#length = items.packed.length;
      const size = (this.#length + 2) * 8 + this.#offsets.at(-1)! + this.#length * 9;
      this.shm = new SharedMemory({ name, create: true, size, track });
      try {
        [this.#bytes, this.#view] = viewsOf(this.shm);
        [this.#data, this.#formats, this.#codes] = sectionsOf(this.#length, this.#offsets);
        this.#begin(items.packed);
      } catch (error) {
        discard(this.shm);
        throw error;
      }
    } else {
      this.shm = new SharedMemory({ name, track });
      try {
        [this.#bytes, this.#view] = viewsOf(this.shm);
        this.#offsets = readOffsets(this.#view, name);
        this.#length = this.#offsets.length - 1;
        [this.#data, this.#formats, this.#codes] = sectionsOf(this.#length, this.#offsets);
        if (this.#codes + this.#length > this.#bytes.length) throw noList(name);
      } catch (error) {
        this.shm.close();
        throw error;
      }
    }
  }

  /** @internal Not the prototype, nor an object that only inherits from it. */
  static isList(object: unknown): object is ShareableList {
    return typeof object === 'object' && object !== null && #offsets in object;
  }

  #begin(items: readonly Packed[]): void {
    this.#view.setBigInt64(0, BigInt(this.#length), LITTLE_ENDIAN);
    for (const [i, offset] of this.#offsets.entries()) {
      this.#view.setBigInt64((i + 1) * 8, BigInt(offset), LITTLE_ENDIAN);
    }
    for (const [i, item] of items.entries()) this.#store(i, item);
  }

  /** @throws ValueError the block is closed. */
  #checkOpen(): void {
    if (this.#bytes.length === 0) throw new ValueError('the shared memory of this list is closed');
  }

  /** How many items there are: never changes. */
  get length(): number {
    this.#checkOpen();
    return this.#length;
  }

  /** The formats of all items, as Python's `struct` writes them: '8sdq'. */
  get format(): string {
    this.#checkOpen();
    let format = '';
    for (let i = 0; i < this.#length; i++) format += this.#formatOf(i);
    return format;
  }

  /** The item at `index`; a negative one counts from the end. Undefined outside of the list. */
  at(index: number): Item | undefined {
    this.#checkOpen();
    const position = index < 0 ? index + this.#length : index;
    return position >= 0 && position < this.#length && Number.isInteger(position)
      ? this.#load(position)
      : undefined;
  }

  /**
   * Assigns the item at `index`, as `list[index] = item` does; a negative index counts from the end.
   *
   * @throws RangeError outside of the list; an int beyond 64 bits. ValueError text or bytes longer than the
   *   item's place. TypeError a type that a list does not hold.
   */
  set(index: number, item: ItemLike): void {
    this.#checkOpen();
    const position = index < 0 ? index + this.#length : index;
    if (!(position >= 0 && position < this.#length && Number.isInteger(position))) {
      throw new RangeError('assignment index out of range');
    }
    const isFloat = this.#bytes[this.#formats + position * FORMAT_BYTES] === FLOAT_INITIAL;
    const stored = packed(item, isFloat);
    if (stored.code === TEXT || stored.code === BYTES) {
      const room = this.#offsets[position + 1]! - this.#offsets[position]!;
      if ((stored.value as Uint8Array).length > room) {
        throw new ValueError('bytes/str item exceeds available storage');
      }
      const current = this.#formatOf(position);
      // As Python, a format of text stays. One that does not fit the place is nobody's of us.
      const given = current.endsWith('s') ? Number.parseInt(current) : 0;
      const fits = given >= (stored.value as Uint8Array).length && given <= room;
      stored.format = fits && given > 0 ? current : `${room}s`;
    }
    this.#store(position, stored);
  }

  /** How many items equal `value`: numbers and BigInts by value, bytes by content. */
  count(value: unknown): number {
    let count = 0;
    for (const item of this) if (areEqual(item, value)) count++;
    return count;
  }

  /** The index of the first item that equals `value`. @throws ValueError there is none. */
  index(value: unknown): number {
    let i = 0;
    for (const item of this) {
      if (areEqual(item, value)) return i;
      i++;
    }
    throw new ValueError(`${inspect(value)} not in this container`);
  }

  *[Symbol.iterator](): IterableIterator<Item> {
    this.#checkOpen();
    for (let i = 0; i < this.#length; i++) {
      this.#checkOpen();
      yield this.#load(i);
    }
  }

  /** @internal The items with the types that Python sees, for a copy. */
  *_typed(): IterableIterator<ItemLike> {
    let i = 0;
    for (const item of this) {
      yield typeof item === 'number' && this.#formatOf(i) === FLOAT_FORMAT ? new Float(item) : item;
      i++;
    }
  }

  /** As Python: `ShareableList([1, 2.5, 'text'], name='psm_12345678')`. */
  override toString(): string {
    const name = inspect(this.shm.name);
    const items =
      this.#bytes.length === 0 ? 'closed' : inspect([...this], { breakLength: Infinity });
    return `${this.constructor.name}(${items}, name=${name})`;
  }

  [inspect.custom](): string {
    return this.toString();
  }

  #formatOf(position: number): string {
    const start = this.#formats + position * FORMAT_BYTES;
    let end = start + FORMAT_BYTES;
    while (end > start && this.#bytes[end - 1] === 0) end--;
    return this.#bytes.toString('latin1', start, end);
  }

  #load(position: number): Item {
    const offset = this.#data + this.#offsets[position]!;
    const format = this.#formatOf(position);
    if (format === INT_FORMAT) return unpackInt(this.#view.getBigInt64(offset, LITTLE_ENDIAN));
    if (format === FLOAT_FORMAT) return this.#view.getFloat64(offset, LITTLE_ENDIAN);
    if (format === BOOL_FORMAT) return this.#view.getUint8(offset + 7) !== 0;
    if (format === NONE_FORMAT) return null;
    if (!/^\d{1,7}s$/.test(format)) {
      throw new ValueError(`item ${position} has the unknown format ${inspect(format)}`);
    }
    const code = this.#view.getUint8(this.#codes + position);
    let end = offset + Number.parseInt(format);
    if (end > this.#bytes.length) throw new ValueError(`item ${position} ends beyond the block`);
    while (end > offset && this.#bytes[end - 1] === 0) end--;
    return code === TEXT
      ? this.#decode(offset, end)
      : Buffer.from(this.#bytes.subarray(offset, end));
  }

  #decode(start: number, end: number): string {
    const text = this.#bytes.toString('utf8', start, end);
    // What is no UTF-8 comes out as this character, which text may also contain.
    if (text.includes('\uFFFD') && !isUtf8(this.#bytes.subarray(start, end))) {
      throw new ValueError('the item is not valid UTF-8');
    }
    return text;
  }

  /** Zeros and all, as `struct.pack_into` does. */
  #store(position: number, { format, code, value }: Packed): void {
    const start = this.#formats + position * FORMAT_BYTES;
    this.#bytes.fill(0, start, start + FORMAT_BYTES);
    this.#bytes.write(format, start, 'latin1');
    this.#bytes[this.#codes + position] = code;
    const offset = this.#data + this.#offsets[position]!;
    switch (typeof value) {
      case 'bigint':
        this.#view.setBigInt64(offset, value, LITTLE_ENDIAN);
        break;
      case 'number':
        this.#view.setFloat64(offset, value, LITTLE_ENDIAN);
        break;
      case 'boolean':
        this.#bytes.fill(0, offset, offset + 8);
        this.#bytes[offset + 7] = value ? 1 : 0;
        break;
      default: {
        const room = code === NONE ? 8 : Number.parseInt(format);
        this.#bytes.set(value, offset);
        this.#bytes.fill(0, offset + value.length, offset + room);
      }
    }
  }
}

const FLOAT_INITIAL = FLOAT_FORMAT.charCodeAt(0);

interface PackedSequence {
  packed: Packed[];
  offsets: Float64Array;
}

function packSequence(sequence: Iterable<ItemLike>): PackedSequence {
  if (typeof (sequence as Partial<Iterable<unknown>>)[Symbol.iterator] !== 'function') {
    throw wrongType('sequence', 'an iterable', sequence);
  }
  const all: Packed[] = [];
  const offsets = [0];
  let offset = 0;
  for (const item of sequence instanceof ShareableList ? sequence._typed() : sequence) {
    const stored = packed(item, false);
    let room = ALIGNMENT;
    if (stored.code === TEXT || stored.code === BYTES) {
      room = roomFor(item, (stored.value as Uint8Array).length);
      stored.format = `${room}s`;
      if (stored.format.length > FORMAT_BYTES) {
        throw new AssertionError('text and bytes in a ShareableList must be shorter than 10 MB');
      }
    }
    // An iterable may give the same memory again, with other bytes in it.
    if (stored.code === BYTES) stored.value = new Uint8Array(stored.value as Uint8Array);
    offset += room;
    all.push(stored);
    offsets.push(offset);
  }
  return { packed: all, offsets: Float64Array.from(offsets) };
}

/** Takes a new block back. */
function discard(shm: SharedMemory): void {
  shm.close();
  try {
    shm.unlink();
  } catch {
    // Somebody else has: it is gone.
  }
}

function viewsOf({ buffer }: SharedMemory): [Buffer, DataView] {
  return [Buffer.from(buffer), new DataView(buffer)];
}

function sectionsOf(
  length: number,
  offsets: Float64Array,
): [data: number, formats: number, codes: number] {
  const data = (length + 2) * 8;
  const formats = data + offsets.at(-1)!;
  return [data, formats, formats + length * FORMAT_BYTES];
}

function noList(name: string): ValueError {
  return new ValueError(`the shared memory ${inspect(name)} does not hold a ShareableList`);
}

/** What each item takes of a block at least: its offset, its place in the data, its format and its code. */
const LEAST_ITEM_BYTES = 8 + ALIGNMENT + FORMAT_BYTES + 1;

/**
 * What somebody else has written: believed as far as it stays inside of the block. Nothing is allocated for more
 * items than the block has room for, and nothing is read behind the first item that cannot be.
 */
function readOffsets(view: DataView, name: string): Float64Array {
  const size = view.byteLength;
  const length = size >= 16 ? Number(view.getBigInt64(0, LITTLE_ENDIAN)) : -1;
  if (length < 0 || 16 + length * LEAST_ITEM_BYTES > size) throw noList(name);
  const offsets = new Float64Array(length + 1);
  let least = 0;
  for (let i = 0; i <= length; i++) {
    const offset = Number(view.getBigInt64((i + 1) * 8, LITTLE_ENDIAN));
    if (offset < least || offset > size) throw noList(name);
    offsets[i] = offset;
    least = offset + ALIGNMENT;
  }
  return offsets;
}

function unpackInt(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}

function isUtf8(bytes: Uint8Array): boolean {
  try {
    new TextDecoder('utf-8', { fatal: true }).decode(bytes);
    return true;
  } catch {
    return false;
  }
}

function areEqual(item: Item, value: unknown): boolean {
  if (value instanceof Float) return areEqual(item, value.value);
  if (item instanceof Uint8Array)
    return value instanceof Uint8Array && Buffer.compare(item, value) === 0;
  // A number and a BigInt of the same value are the same int to Python.
  if (typeof item === 'number' || typeof item === 'bigint') {
    // oxlint-disable-next-line eqeqeq
    return (typeof value === 'number' || typeof value === 'bigint') && item == value;
  }
  return item === value;
}

// -------------------------------------------------------------------------------------------------
// To other processes: by name. On arrival the block is opened, and is the receiver's to close.

// Whether it is tracked goes along: a block that is to stay stays.

type Sent = [name: string, track: boolean];

registerInternal(SharedMemory, 'SharedMemory', {
  encode: ({ name, _track }): Sent => [name, _track],
  decode: ([name, track]: Sent) => new SharedMemory({ name, track }),
});
registerInternal(ShareableList, 'ShareableList', {
  except: ['shm'],
  encode: ({ shm: { name, _track } }): Sent => [name, _track],
  decode: ([name, track]: Sent) => new ShareableList(null, { name, track }),
});
registerReference('multiprocessing.shared_memory.Float', Float);
