/**
 * The codec in one process: what arrives is what structured clone gives, and what goes beyond it.
 */

import { runInNewContext } from 'node:vm';
import { isDeepStrictEqual } from 'node:util';
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BULK_MIN, type Message } from '../src/codec/format.js';
import {
  decode,
  dumps,
  encode,
  loads,
  PicklingError,
  reduction,
  registerInternal,
  TimeoutError,
  UnpicklingError,
} from './support/reduction.js';

const trip = <T>(value: T): T => loads(dumps(value)) as T;

/** As a channel does it: the bulks arrive in memory of their own. */
function deliver({ head, headLength, bulk, fds }: Message): unknown {
  const memory = bulk.map((bytes) => Uint8Array.from(bytes).buffer as ArrayBuffer);
  // Somewhere inside of a larger buffer, as in a ring.
  const around = Buffer.concat([
    Buffer.alloc(3, 255),
    head.subarray(0, headLength),
    Buffer.alloc(5),
  ]);
  return decode(around, 3, 3 + headLength, memory, [...fds]);
}

function expectSame(actual: unknown, expected: unknown): void {
  if (!isDeepStrictEqual(actual, expected)) expect(actual).toStrictEqual(expected);
}

function expectClone(value: unknown): void {
  const expected = structuredClone(value);
  expectSame(trip(value), expected);
  expectSame(deliver(encode(value)), expected);
}

const complaint = (value: unknown): string => {
  try {
    dumps(value);
  } catch (error) {
    expect(error).toBeInstanceOf(PicklingError);
    return (error as Error).message;
  }
  throw new Error('it was carried');
};

const range = (length: number): number[] => Array.from({ length }, (_, i) => i);

describe('values', () => {
  const numbers = [0, -0, NaN, Infinity, -Infinity, 0.1, 5e-324, Number.MAX_VALUE, 2 ** 53];
  const edges = [6, 7, 8, 15, 16, 31, 32, 33].flatMap((bits) => [2 ** bits, -(2 ** bits)]);
  it.each([...numbers, ...edges, ...edges.map((n) => n - 1)])('the number %d', (number) => {
    expect(trip(number)).toBe(number);
    expect(trip([number, { number }])).toStrictEqual([number, { number }]);
  });

  it.each([undefined, null, true, false])('%s', (value) => expect(trip(value)).toBe(value));

  it.each([0n, -1n, 255n, 256n, 2n ** 64n, -(2n ** 64n) + 1n, 3n ** 5000n])('a BigInt', (value) =>
    expect(trip(value)).toBe(value),
  );

  it('strings of every length around the limits', () => {
    for (const unit of ['a', 'é', 'ÿ', '\0', 'Ā', '€', '\ud800', '\udc00', '😀']) {
      for (const length of [...range(70), 127, 128, 129, 300, 16_384, 70_000]) {
        const text = unit.repeat(length);
        expect(trip(text)).toBe(text);
        const mixed = `${'a'.repeat(length)}${unit}`;
        expect(trip({ [mixed]: mixed })).toStrictEqual({ [mixed]: mixed });
      }
    }
  });

  it('arrays with holes and properties of their own', () => {
    /* oxlint-disable no-sparse-arrays */
    for (const value of [
      [1, , 3],
      [, ,],
      [undefined, , undefined],
      new Array(100),
      new Array(2 ** 32 - 1),
      Object.assign(new Array(1e6), { 500_000: 1, 999_999: 2 }),
      Object.assign([1, 2, 3], { x: 1 }),
      Object.assign([1, , 3], { x: 1 }),
      Object.assign([, ,], { '1x': 1, y: 2 }),
      Object.assign(range(64), { x: 1 }),
      Object.assign(range(65), { x: 1 }),
      Object.assign(range(1000), { x: 1 }),
      'abc'.match(/b/),
      Object.assign([1], { '-1': 1, 4294967295: 2 }),
    ]) {
      expectClone(value);
    }
  });

  it('rows: arrays of objects with the same keys, and where that ends', () => {
    const shrinking = { a: 1, b: 2 };
    Object.defineProperty(shrinking, 'a', {
      get() {
        delete (this as { b?: number }).b;
        return 1;
      },
      enumerable: true,
    });
    const removed = trip([{ a: 1, b: 2 }, shrinking, { a: 3, b: 4 }]);
    expect(removed).toStrictEqual([{ a: 1, b: 2 }, { a: 1 }, { a: 3, b: 4 }]);
    const bare = Object.assign(Object.create(null) as object, { z: 1 });
    const twice = { a: 1 };
    for (const value of [
      [{ a: 1 }, { a: 2 }, {}, {}, { a: 3 }, { b: 1 }, { b: 2 }],
      [{ a: 1 }, bare, { a: 2 }, { z: 2 }],
      [twice, twice, { a: 2 }, [{ b: 1 }], { a: 5 }],
      [
        { a: 1, b: 2 },
        { b: 1, a: 2 },
        { b: 3, a: 4 },
      ],
      [{ a: { x: 1 } }, { a: { x: 2 } }, { a: [{ y: 1 }, { y: 2 }] }],
      [
        { 2: 1, 1: 2, x: 3 },
        { x: 1, 1: 1, 2: 2 },
      ],
      range(40).map((i) => Object.fromEntries(range(20).map((k) => [`k${k}`, i * k]))),
    ]) {
      expectClone(value);
    }
  });

  it('objects of 14 to 18 keys, integers among them, and __proto__', () => {
    for (const count of [0, 1, 14, 15, 16, 17, 18, 200]) {
      expectClone(Object.fromEntries(range(count).map((i) => [i % 3 ? `key ${i}` : i, i])));
    }
    const polluting = JSON.parse(
      '{"__proto__":{"polluted":1},"constructor":{"prototype":1}}',
    ) as object;
    for (const value of [polluting, [polluting, polluting], [polluting, { ...polluting }]]) {
      expectClone(value);
    }
    expect(({} as { polluted?: number }).polluted).toBeUndefined();
  });

  it('built-in classes', () => {
    expectClone([new Date(0), new Date(8.64e15), new Date(-1)]);
    expect(trip(new Date(NaN)).getTime()).toBeNaN();
    expectClone(
      new Map<unknown, unknown>([
        [1, { a: new Map() }],
        [{ k: 1 }, 'v'],
        [NaN, -0],
      ]),
    );
    expectClone(new Set<unknown>([1, 'a', { b: new Set([[]]) }]));
    expectClone([/a+(?<n>b)/giu, /[/]\n/y]);
    expectClone([Object(1), Object('text'), Object(false), Object(-5n)]);
  });

  it('objects of another realm', () => {
    const value = runInNewContext(
      '({ a: [new Map([[1, new Set([2])]])], d: new Date(5), r: /x/ })',
    ) as {
      a: Map<number, Set<number>>[];
    };
    const there = trip(value);
    expectSame(there, structuredClone(value));
    expect(Object.getPrototypeOf(there)).toBe(Object.prototype);
    const error = trip(runInNewContext('new RangeError("far")') as Error);
    expect(error).toBeInstanceOf(RangeError);
  });

  it('getters are read, what is not enumerable and symbols are left out', () => {
    const value = {
      get a() {
        return { b: 1 };
      },
      [Symbol('s')]: 1,
    };
    Object.defineProperty(value, 'hidden', { value: 1 });
    expectClone(value);
    expectClone(Object.freeze({ a: Object.freeze([1]) }));
  });

  it('identity and cycles', () => {
    const shared = { a: 1 };
    const cycle: Record<string, unknown> = { shared, list: [shared, shared] };
    cycle['self'] = cycle;
    cycle['map'] = new Map<unknown, unknown>([[cycle, shared]]);
    cycle['set'] = new Set([cycle]);
    cycle['many'] = range(50).map((i) => ({ i, cycle }));
    cycle['date'] = new Date(1);
    cycle['again'] = cycle['date'];
    cycle['bytes'] = Buffer.from('abc');
    cycle['bytesAgain'] = cycle['bytes'];
    const there = trip(cycle) as typeof cycle & { list: unknown[]; many: { cycle: unknown }[] };
    expect(there['self']).toBe(there);
    expect(there.list[0]).toBe(there['shared']);
    expect(there.list[1]).toBe(there['shared']);
    expect((there['map'] as Map<unknown, unknown>).get(there)).toBe(there['shared']);
    expect((there['set'] as Set<unknown>).has(there)).toBe(true);
    expect(there.many.every((one) => one.cycle === there)).toBe(true);
    expect(there['again']).toBe(there['date']);
    expect(there['bytesAgain']).toBe(there['bytes']);
  });

  it('depth: as deep as it goes, else refused', () => {
    let nested: unknown = 1;
    for (let i = 0; i < 500; i++) nested = i % 2 ? [nested] : { nested };
    expectSame(trip(nested), nested);
    for (let i = 0; i < 200_000; i++) nested = [nested];
    expect(complaint(nested)).toMatch(/nested too deeply/);
    expect(trip([1])).toEqual([1]);
  });

  it('enumerable properties that somebody gave Object.prototype stay where they are', () => {
    const odd = { value: 1, enumerable: true, configurable: true, writable: true };
    let keys: string[][] = [];
    // oxlint-disable-next-line no-extend-native
    Object.defineProperty(Object.prototype, 'odd', odd);
    try {
      keys = [trip({ a: 1 }), ...trip([{ a: 1 }, { a: 2 }])].map((item) => Object.keys(item));
    } finally {
      delete (Object.prototype as { odd?: number }).odd;
    }
    expect(keys).toEqual([['a'], ['a'], ['a']]);
  });
});

describe('binary data', () => {
  const classes = [
    Int8Array,
    Uint8Array,
    Uint8ClampedArray,
    Int16Array,
    Uint16Array,
    Int32Array,
    Uint32Array,
    Float32Array,
    Float64Array,
  ];
  const lengths = [0, 1, 31, 32, 33, 511, 512, BULK_MIN - 1, BULK_MIN, BULK_MIN + 1, 100_000];

  it.each(lengths)('every class, %d elements', (length) => {
    for (const Class of classes) expectClone(Class.from(range(length)));
    expectClone(BigInt64Array.from(range(length), BigInt));
    expectClone(Uint8Array.from(range(length)).buffer);
    expectClone(new DataView(Uint8Array.from(range(length)).buffer));
    const buffer = Buffer.from(range(length));
    for (const there of [trip(buffer), deliver(encode(buffer)) as Buffer]) {
      expect(Buffer.isBuffer(there)).toBe(true);
      expect(there.equals(buffer)).toBe(true);
    }
  });

  it('large data is not copied, neither here nor there', () => {
    const buffer = Buffer.alloc(BULK_MIN, 7);
    const numbers = new Float64Array(BULK_MIN);
    const message = encode({ buffer, numbers });
    expect(message.headLength).toBeLessThan(200);
    expect(message.bulk.map(({ buffer }) => buffer)).toEqual([buffer.buffer, numbers.buffer]);
    const memory = message.bulk.map((bytes) => Uint8Array.from(bytes).buffer as ArrayBuffer);
    const there = decode(message.head, 0, message.headLength, memory) as {
      buffer: Buffer;
      numbers: Float64Array;
    };
    expect(there.buffer.buffer).toBe(memory[0]);
    expect(there.numbers.buffer).toBe(memory[1]);
    expect(encode(Buffer.alloc(BULK_MIN - 1)).bulk).toEqual([]);
  });

  it('views of one ArrayBuffer share one on arrival, of no more than they show', () => {
    const memory = new ArrayBuffer(1_000_000);
    new Uint8Array(memory).forEach((_, i, all) => (all[i] = i));
    const [a, b, c] = trip([
      new Uint8Array(memory, 1000, 10),
      new Float64Array(memory, 1016, 2),
      new DataView(memory, 1003, 4),
    ] as const);
    expect(b.buffer).toBe(a.buffer);
    expect(c.buffer).toBe(a.buffer);
    expect(a.buffer.byteLength).toBe(32);
    expectSame([...a], [...new Uint8Array(memory, 1000, 10)]);
    c.setUint8(0, 99);
    expect(a[3]).toBe(99);
    // Asked for itself, it comes whole.
    const [view, whole] = trip([new Uint8Array(memory, 1000, 10), memory] as const);
    expect(whole.byteLength).toBe(1_000_000);
    expect(view.buffer).toBe(whole);
    expect(view.byteOffset).toBe(1000);
  });

  it("a Buffer is its own bytes: node's pool stays", () => {
    const [one, two] = [Buffer.from('one'), Buffer.from('two')];
    expect(dumps([one, two]).length).toBeLessThan(40);
    expectSame(trip([one, two]), [one, two]);
  });

  it('what has no bytes of its own is refused', () => {
    const detached = new ArrayBuffer(8);
    const view = new Uint8Array(detached);
    structuredClone(detached, { transfer: [detached] });
    const resizable = Reflect.construct(ArrayBuffer, [4, { maxByteLength: 8 }]) as ArrayBuffer;
    expect(complaint({ view })).toMatch(/value\.view: .*detached/);
    expect(complaint({ detached })).toMatch(/detached/);
    expect(complaint(new SharedArrayBuffer(8))).toMatch(/SharedMemory/);
    expect(complaint(new Uint8Array(new SharedArrayBuffer(8)))).toMatch(/SharedMemory/);
    expect(complaint([new Uint8Array(resizable)])).toMatch(/value\[0\]: .*slice/);
  });
});

describe('errors', () => {
  it('keep class, name, message, stack, cause and properties', () => {
    const error = Object.assign(new TypeError('why', { cause: { deep: [1] } }), { code: 'EWHY' });
    const there = trip(error);
    expect(there).toBeInstanceOf(TypeError);
    expect(there).toMatchObject({ message: 'why', stack: error.stack, code: 'EWHY' });
    expect(there.cause).toEqual({ deep: [1] });
    expect(Object.keys(there)).toEqual(['code']);
    expect(Object.getOwnPropertyNames(there).sort()).toEqual(
      Object.getOwnPropertyNames(error).sort(),
    );
    const many = trip(new AggregateError([new Error('1'), 2], 'several'));
    expect(many).toBeInstanceOf(AggregateError);
    expect(many.errors.map(String)).toEqual(['Error: 1', '2']);
  });

  it('refer to themselves', () => {
    const error = new Error('loop') as Error & { self: unknown };
    error.self = error;
    error.cause = [error];
    const there = trip(error);
    expect(there.self).toBe(there);
    expect(there.cause).toEqual([there]);
  });

  it("are of the package's own classes, and of node's", () => {
    expect(trip(new TimeoutError('late'))).toBeInstanceOf(TimeoutError);
    const wrong = (() => {
      try {
        return Buffer.alloc('x' as never);
      } catch (error) {
        return error as Error;
      }
    })();
    expect(trip(wrong)).toMatchObject({ name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE' });
    expect(trip(wrong)).toBeInstanceOf(TypeError);
    const abort = trip(new DOMException('stop', 'AbortError'));
    expect(abort).toBeInstanceOf(DOMException);
    expect([abort.name, abort.message]).toEqual(['AbortError', 'stop']);
  });

  it('of a class that nobody can find arrive as the nearest one above, unless asked otherwise', () => {
    class Unknown extends RangeError {
      code = 7;
    }
    const there = trip(new Unknown('far'));
    expect(there.constructor).toBe(RangeError);
    expect(there).toMatchObject({ message: 'far', code: 7 });
    class Named extends RangeError {
      override name = 'Named';
    }
    expect(trip(new Named('x'))).toMatchObject({ name: 'Named' });
    expect(() => encode(new Unknown('far'), { errors: 'refuse' })).toThrow(/register\(Unknown\)/);
  });
});

describe('classes', () => {
  class Point {
    static made = 0;
    x: number;
    y: number;
    constructor(x: number, y: number) {
      Point.made++;
      this.x = x;
      this.y = y;
    }
    get sum(): number {
      return this.x + this.y;
    }
    set z(_: number) {
      throw new Error('setters are not called');
    }
  }

  it('are refused with the place and the remedy until they are registered', () => {
    class Other {
      field = 1;
    }
    expect(complaint({ tasks: [1, { callback: new Other() }] })).toBe(
      'cannot pickle value.tasks[1].callback: it is an Other, a class that no other process can find: call ' +
        'reduction.register(Other) before the fork, or at the top level of its module; or export it',
    );
    expect(complaint([Other])).toMatch(/value\[0\].*the function 'Other'.*reduction\.register/);
    reduction.register(Other);
    expect(trip([new Other(), Other])).toEqual([new Other(), Other]);
    expect(trip(Other)).toBe(Other);
  });

  it('keep their methods; the constructor is not run, setters are not called', () => {
    reduction.register('test.Point', Point);
    const point = Object.assign(new Point(1, 2), { extra: new Map([[1, new Point(3, 4)]]) });
    Object.defineProperty(point, 'z', { value: 9, enumerable: true });
    const made = Point.made;
    const there = trip(point);
    expect(Point.made).toBe(made);
    expect(there.sum).toBe(3);
    expect(there.extra.get(1)!.sum).toBe(7);
    expect(Object.getOwnPropertyDescriptor(there, 'z')?.value).toBe(9);
    expect(() => reduction.register('test.Point', () => {})).toThrow(/'test.Point' is registered/);
    reduction.register('test.Point', Point);
  });

  it('that extend built-in ones keep both', () => {
    class Tags extends Map<string, unknown> {
      label = 'tags';
      override set(): never {
        throw new Error('not called on arrival');
      }
    }
    class Stack extends Array<number> {}
    class Bytes extends Uint8Array {}
    class Failure extends Error {
      code = 'X';
    }
    for (const Class of [Tags, Stack, Bytes, Failure]) reduction.register(Class as typeof Tags);
    const tags = new Tags();
    Map.prototype.set.call(tags, 'self', tags);
    const there = trip(tags);
    expect(there).toBeInstanceOf(Tags);
    expect(there.get('self')).toBe(there);
    expect(there.label).toBe('tags');
    const stack = trip(Object.assign(Stack.of(1, 2, 3), { top: 3 }));
    expect(stack).toBeInstanceOf(Stack);
    expect([[...stack], stack.top]).toEqual([[1, 2, 3], 3]);
    expect(trip(Bytes.of(1, 2))).toEqual(Bytes.of(1, 2));
    expect(trip(new Bytes(10_000))).toBeInstanceOf(Bytes);
    const failure = trip(new Failure('no'));
    expect(failure).toBeInstanceOf(Failure);
    expect(failure).toMatchObject({ code: 'X', message: 'no' });
  });

  it('with private members need a hook', () => {
    class Safe {
      #secret: number;
      constructor(secret: number) {
        this.#secret = secret;
      }
      get secret(): number {
        return this.#secret;
      }
    }
    class Derived extends Safe {}
    class Harmless {
      colour = '#fff'; // #not = private;
      text = `
        #neither = 1;
      `;
    }
    reduction.register(Harmless);
    expect(trip(new Harmless())).toEqual(new Harmless());
    reduction.register(Derived);
    expect(complaint({ d: new Derived(1) })).toMatch(
      /value\.d: it is a Derived.*private.*reduce hook/,
    );
    reduction.register(Safe, (safe) => [Safe, [safe.secret]]);
    expect(trip(new Safe(42)).secret).toBe(42);
  });

  it('hooks: reduce, setState, a state with a cycle, functions as callable', () => {
    class Node {
      name: string;
      next: unknown;
      constructor(name: string) {
        this.name = `made ${name}`;
      }
      [reduction.reduce](): unknown[] {
        return [Node, [this.name], { next: this.next }];
      }
    }
    reduction.register('test.Node', Node);
    const node = new Node('a');
    node.next = [node];
    const there = trip(node);
    expect(there.name).toBe('made made a');
    expect(there.next).toEqual([there]);

    class Account {
      total = 0;
      [reduction.reduce](): unknown[] {
        return [Account, [], this.total];
      }
      [reduction.setState](total: number): void {
        this.total = -total;
      }
    }
    reduction.register(Account);
    expect(trip(Object.assign(new Account(), { total: 5 })).total).toBe(-5);

    class Adder {
      by: number;
      constructor(by: number) {
        this.by = by;
      }
      [reduction.reduce](): unknown[] {
        return [adder, [this.by], { label: `plus ${this.by}` }];
      }
    }
    const adder =
      (by: number): object =>
      (x: number) =>
        x + by;
    reduction.register('test.adder', adder);
    reduction.register('test.Adder', Adder);
    const plus = trip(new Adder(2)) as unknown as { (x: number): number; label: string };
    expect([plus(40), plus.label]).toEqual([42, 'plus 2']);

    const fromText = (text: string): object => ({ text });
    reduction.register('test.fromText', fromText);
    class Text {
      [reduction.reduce](): unknown[] {
        return [fromText, ['abc']];
      }
    }
    expect(trip([new Text()])).toEqual([{ text: 'abc' }]);

    class Loop {
      [reduction.reduce](): unknown[] {
        return [fromText, [[this]]];
      }
    }
    expect(complaint(new Loop())).toMatch(/argument of its own reduce hook/);
    class Wrong {
      [reduction.reduce](): unknown {
        return { a: 1 };
      }
    }
    expect(complaint({ w: new Wrong() })).toMatch(/value\.w: .*must answer/);
  });

  it('hooks, getters and constructors may encode and decode themselves', () => {
    class Nested {
      value: unknown;
      constructor(bytes: Uint8Array) {
        this.value = loads(bytes);
      }
      [reduction.reduce](): unknown[] {
        return [
          Nested,
          [dumps({ inner: this.value, big: Buffer.alloc(9000), long: 'x'.repeat(1e5) })],
        ];
      }
    }
    reduction.register('test.Nested', Nested);
    const nested = Object.assign(Object.create(Nested.prototype) as Nested, { value: [1, [2]] });
    const shared = { shared: true };
    const value = {
      before: shared,
      nested,
      get getter() {
        expect(() => dumps(() => {})).toThrow(PicklingError);
        expect(() => loads(Buffer.from('nonsense'))).toThrow(UnpicklingError);
        return trip({ shared });
      },
      map: new Map([[1, shared]]),
      after: shared,
    };
    const there = trip(value);
    expect((there.nested.value as unknown as { inner: unknown }).inner).toEqual([1, [2]]);
    expect(there.getter).toEqual({ shared });
    expect(there.after).toBe(there.before);
    expect(there.map.get(1)).toBe(there.before);
  });

  it('of the library travel by what they register, with their descriptors', () => {
    class Handle {
      #fd: number;
      constructor(fd: number) {
        this.#fd = fd;
      }
      get fd(): number {
        return this.#fd;
      }
    }
    class Special extends Handle {}
    registerInternal(Handle, 'test-handle', {
      encode: (handle, context) => ({ index: context.addFd(handle.fd) }),
      decode: ({ index }: { index: number }, context) => new Handle(context.takeFd(index)),
    });
    reduction.register(Special);
    const message = encode({ a: new Handle(7), b: [new Special(8)] });
    expect(message.fds).toEqual([7, 8]);
    const fds = [70, 80, 90];
    const there = decode(message.head, 0, message.headLength, [], fds) as {
      a: Handle;
      b: Special[];
    };
    expect([there.a.fd, there.b[0]!.fd]).toEqual([70, 80]);
    expect(there.b[0]).toBeInstanceOf(Special);
    expect(fds).toEqual([-1, -1, 90]);
    expect(encode({}).fds).toEqual([]);
  });
});

describe('what cannot be carried', () => {
  const cases: Record<string, unknown> = {
    symbol: Symbol('s'),
    closure: () => {},
    promise: Promise.resolve(),
    weakMap: new WeakMap(),
    weakRef: new WeakRef({}),
    proxy: new Proxy({}, {}),
    arrayProxy: new Proxy([], {}),
    generator: (function* () {})(),
    created: Object.create({ inherited: 1 }),
    pretender: Object.create(Map.prototype),
    parameters: new URLSearchParams('a=1'),
    emitter: new EventTarget(),
    controller: new AbortController(),
    console,
  };
  it.each(Object.keys(cases))('%s', (name) => {
    expect(complaint({ deep: [{ [name]: cases[name] }] })).toMatch(
      new RegExp(`^cannot pickle value\\.deep\\[0\\]\\.${name}: it `),
    );
    // Nothing is left behind.
    expect(trip({ a: [1, { b: 2 }] })).toEqual({ a: [1, { b: 2 }] });
  });

  it('arguments, and places in maps, sets and odd keys', () => {
    function args(this: void): unknown {
      // oxlint-disable-next-line prefer-rest-params
      return arguments;
    }
    expect(complaint(args())).toMatch(/arguments/);
    expect(complaint([Reflect.apply(args, undefined, [1])])).toMatch(/value\[0\]: .*arguments/);
    const fn = (): void => {};
    expect(complaint(new Map([['k', fn]]))).toMatch(/value\.get\("k"\): /);
    expect(complaint(new Map([[fn, 1]]))).toMatch(/value\.keys\(\)\[0\]: /);
    expect(complaint(new Set([1, fn]))).toMatch(/value\.values\(\)\[1\]: /);
    expect(complaint({ 'odd key': fn })).toMatch(/value\["odd key"\]: /);
    expect(complaint(Object.assign(new Error('e'), { cause: { fn } }))).toMatch(
      /value\.cause\.fn: /,
    );
    expect(() => encode({ fn }, { name: 'args' })).toThrow(/cannot pickle args\.fn: /);
  });

  it('what a getter throws comes through', () => {
    const value = {
      get a(): never {
        throw new RangeError('mine');
      },
    };
    expect(() => dumps(value)).toThrow(new RangeError('mine'));
    expect(trip([1])).toEqual([1]);
  });
});

describe('what can, though structured clone cannot', () => {
  it("URLs, functions of JavaScript and of node's modules", () => {
    const url = new URL('https://example.org/a?b#c');
    expect(trip(url).href).toBe(url.href);
    const known = [Math.max, Map, parseInt, Object.keys, URL];
    expect(trip(known)).toEqual(known);
  });
});

describe('properties', () => {
  const anything = fc.anything({
    withBigInt: true,
    withBoxedValues: true,
    withDate: true,
    withMap: true,
    withSet: true,
    withNullPrototype: true,
    withObjectString: true,
    withSparseArray: true,
    withTypedArray: true,
    withUnicodeString: true,
    maxDepth: 4,
  });

  it('a round trip gives what structured clone gives', () => {
    fc.assert(
      fc.property(anything, (value) => {
        const expected: unknown = structuredClone(value);
        expectSame(trip(value), expected);
        expectSame(deliver(encode(value)), expected);
      }),
      { numRuns: 2000 },
    );
  });

  it('strings of any units survive exactly', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 0xffff })), (units) => {
        const text = String.fromCharCode(...units);
        expect(trip({ [text]: text })).toEqual(structuredClone({ [text]: text }));
      }),
      { numRuns: 1000 },
    );
  });

  it('shared references and cycles have the same shape', () => {
    const graph = fc.array(fc.tuple(fc.nat(3), fc.array(fc.nat(40), { maxLength: 6 })), {
      minLength: 1,
      maxLength: 40,
    });
    fc.assert(
      fc.property(graph, (nodes) => {
        const objects = nodes.map(([kind]) => [{}, [], new Map(), new Set()][kind]!);
        nodes.forEach(([, edges], from) => {
          const object = objects[from]!;
          edges.forEach((edge, i) => {
            const to = objects[edge % objects.length]!;
            if (Array.isArray(object)) object.push(to as never);
            else if (object instanceof Map) object.set(to as never, i as never);
            else if (object instanceof Set) object.add(to as never);
            else (object as Record<string, unknown>)[`e${i}`] = to;
          });
        });
        expect(shapeOf(trip(objects))).toEqual(shapeOf(objects));
      }),
      { numRuns: 500 },
    );
  });

  /** Every object with a number, in the order of the walk. */
  function shapeOf(root: unknown): string[] {
    const numbers = new Map<unknown, number>();
    const lines: string[] = [];
    const visit = (value: unknown): string => {
      if (typeof value !== 'object' || value === null) return String(value);
      const known = numbers.get(value);
      if (known !== undefined) return `#${known}`;
      const number = numbers.size;
      numbers.set(value, number);
      const parts =
        value instanceof Map
          ? [...value].flat()
          : value instanceof Set
            ? [...value]
            : Object.entries(value).flat();
      lines[number] = '';
      lines[number] = `${value.constructor.name}(${parts.map(visit).join(' ')})`;
      return `#${number}`;
    };
    visit(root);
    return lines;
  }
});
