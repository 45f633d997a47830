/**
 * Bytes that no encoder has made: `loads` answers a value or throws an UnpicklingError, at once, with no more
 * memory than the bytes are worth, and no prototype is touched.
 */

import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { dumps, loads, reduction, UnpicklingError } from './support/reduction.js';

class Point {
  x = 1;
  [reduction.setState](state: object): void {
    Object.assign(this, state);
  }
}
class Reduced {
  [reduction.reduce](): unknown[] {
    return [Point, [], { x: 3 }];
  }
}
class Tags extends Map<string, number> {}
reduction.register('hostile.Point', Point);
reduction.register('hostile.Tags', Tags);

const cycle: Record<string, unknown> = { name: 'cycle' };
cycle['self'] = cycle;
const memory = new ArrayBuffer(5000);

/** One of everything that the format has. */
const EVERYTHING = {
  ints: [0, 63, 64, -1, 127, 128, 32_767, 32_768, -32_769, 2 ** 31 - 1],
  doubles: [0.5, -0, NaN, 1e300],
  words: ['', 'a', 'x'.repeat(64), 'é'.repeat(20), 'ж'.repeat(20), '\ud800', 'y'.repeat(300)],
  bigs: [0n, -(2n ** 70n)],
  rows: [
    { a: 1, b: [1] },
    { a: 2, b: [2] },
  ],
  holes: Object.assign(new Array<number>(200), { 100: 1 }),
  extra: Object.assign([1, 2], { x: 1 }),
  wide: Object.fromEntries(Array.from({ length: 20 }, (_, i) => [`key${i}`, i])),
  cycle,
  date: new Date(1),
  map: new Map<unknown, unknown>([[1, new Set([2])]]),
  regExp: /a+/gu,
  boxed: [Object(1), Object('a'), Object(1n)],
  small: Buffer.from('small'),
  large: Buffer.alloc(5000, 1),
  views: [new Uint8Array(memory, 8, 8), new Float64Array(memory, 16, 2), new DataView(memory)],
  little: new Uint16Array(3),
  error: Object.assign(new TypeError('e', { cause: [1] }), { code: 'E' }),
  many: new AggregateError([1], 'm'),
  instance: new Point(),
  derived: new Tags([['t', 1]]),
  reduced: new Reduced(),
  references: [Point, Math.max],
  url: new URL('http://localhost/'),
};

const BUILTINS = [Object, Array, Map, Set, Date, Error, Function, RegExp, Point, Tags, Uint8Array];
const prototypes = (): string =>
  JSON.stringify(
    BUILTINS.map((Class) => [Reflect.ownKeys(Class), Reflect.ownKeys(Class.prototype)]),
    (_, value: unknown) => (typeof value === 'symbol' ? String(value) : value),
  );
const before = prototypes();

const LIMIT_MS = 2000;
/** What bytes begin with whose head has a length: see src/reduction.ts. */
const FLAT = 0x81;

function attempt(bytes: Uint8Array): void {
  const begin = performance.now();
  try {
    loads(bytes);
  } catch (error) {
    if (!(error instanceof UnpicklingError)) throw error;
  }
  if (performance.now() - begin > LIMIT_MS) throw new Error('it took too long');
}

describe('bytes from nowhere', () => {
  it('everything, as it is', () => {
    expect(Object.keys(loads(dumps(EVERYTHING)) as object)).toEqual(Object.keys(EVERYTHING));
  });

  it.each(Object.entries(EVERYTHING))('%s, cut off at every length', (_, value) => {
    const bytes = dumps(value);
    for (let length = 0; length < bytes.length; length++) {
      expect(() => loads(bytes.subarray(0, length))).toThrow(UnpicklingError);
    }
    expect(() => loads(Buffer.concat([bytes, Buffer.alloc(1)]))).toThrow(UnpicklingError);
  });

  it('the head of everything, cut off at every length', () => {
    const whole = dumps(EVERYTHING);
    const count = whole.readUInt32LE(5);
    const start = 9 + 8 * count;
    const length = whole.readUInt32LE(1);
    for (let shorter = 0; shorter < length; shorter++) {
      const cut = Buffer.concat([
        whole.subarray(0, start + shorter),
        whole.subarray(start + length),
      ]);
      cut.writeUInt32LE(shorter, 1);
      expect(() => loads(cut)).toThrow(UnpicklingError);
    }
  });

  it('every byte replaced by every other', () => {
    for (const value of Object.values(EVERYTHING)) {
      const bytes = dumps(value);
      const end = Math.min(bytes.length, 200);
      for (let at = 0; at < end; at++) {
        const original = bytes[at]!;
        for (let byte = 0; byte < 256; byte++) {
          bytes[at] = byte;
          attempt(bytes);
        }
        bytes[at] = original;
      }
    }
    expect(prototypes()).toBe(before);
  });

  it('several bytes replaced, at random', () => {
    const samples = [...Object.values(EVERYTHING), EVERYTHING].map((value) => dumps(value));
    fc.assert(
      fc.property(
        fc.constantFrom(...samples),
        fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 8 }),
        (sample, changes) => {
          const bytes = Buffer.from(sample);
          for (const [at, byte] of changes) bytes[at % Math.min(bytes.length, 4096)] = byte;
          attempt(bytes);
        },
      ),
      { numRuns: 20_000 },
    );
    expect(prototypes()).toBe(before);
  });

  it('random bytes, with and without a fitting frame', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat(3), (body, flags) => {
        attempt(body);
        const framed = Buffer.alloc(11 + body.length);
        framed[0] = FLAT;
        framed.writeUInt32LE(2 + body.length, 1);
        framed.set([1, flags], 9);
        framed.set(body, 11);
        attempt(framed);
      }),
      { numRuns: 20_000 },
    );
    expect(prototypes()).toBe(before);
  });

  it('claims of enormous lengths cost nothing', () => {
    const huge = [0xff, 0xff, 0xff, 0xff, 0x0f];
    for (let tag = 0x40; tag < 256; tag++) {
      const body = [1, 0, tag, ...huge, ...huge];
      const framed = Buffer.from([FLAT, body.length, 0, 0, 0, 0, 0, 0, 0, ...body]);
      const used = process.memoryUsage();
      attempt(framed);
      const now = process.memoryUsage();
      expect(now.arrayBuffers - used.arrayBuffers).toBeLessThan(1 << 20);
      expect(now.heapUsed - used.heapUsed).toBeLessThan(32 << 20);
    }
    // Arrays that are nothing but holes, nested and repeated.
    const holes = [0xac, 0x80, 0x80, 0x80, 0x08, 0xb5, 0x80, 0x80, 0x80, 0x08];
    const body = [1, 0, 0xac, 200, 1, ...Array.from({ length: 200 }, () => holes).flat()];
    const framed = Buffer.alloc(9 + body.length);
    framed[0] = FLAT;
    framed.writeUInt32LE(body.length, 1);
    framed.set(body, 9);
    const used = process.memoryUsage().heapUsed;
    expect((loads(framed) as unknown[][])[199]!.length).toBe(2 ** 24);
    expect(process.memoryUsage().heapUsed - used).toBeLessThan(8 << 20);
  });

  it('deep nesting', () => {
    for (const tag of [0x91, 0xba, 0xb8, 0xb9, 0xbc, 0xbe, 0xbf]) {
      const body = Buffer.alloc(3_000_000, tag);
      body.set([1, 0]);
      const framed = Buffer.concat([Buffer.from([1, 0, 0, 0, 0, 0, 0, 0, 0]), body]);
      framed.writeUInt32LE(body.length, 1);
      expect(() => loads(framed)).toThrow(UnpicklingError);
    }
    expect(loads(dumps([1]))).toEqual([1]);
  });

  it('no bytes at all are a TypeError', () => {
    for (const bytes of [undefined, null, 'text', [1], new ArrayBuffer(3)]) {
      expect(() => loads(bytes as never)).toThrow(TypeError);
    }
  });

  it('what is not registered here is named, with the remedy', () => {
    const bytes = dumps(Point);
    const at = bytes.indexOf('Point');
    bytes.write('Puint', at);
    expect(() => loads(bytes)).toThrow(/nothing is registered as 'hostile\.Puint'.*register\(\)/);
  });

  it('what a constructor throws is the cause', () => {
    class Picky {
      constructor(really?: boolean) {
        if (!really) throw new RangeError('not like this');
      }
      [reduction.reduce](): unknown[] {
        return [Picky, []];
      }
    }
    reduction.register('hostile.Picky', Picky);
    const bytes = dumps(new Picky(true));
    expect(() => loads(bytes)).toThrow(
      expect.objectContaining({ name: 'UnpicklingError', cause: new RangeError('not like this') }),
    );
    expect(loads(dumps([1]))).toEqual([1]);
  });
});
