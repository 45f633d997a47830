/**
 * Functions and classes that a forked child has because they were there at the fork: between a process and its
 * forked children any of them travels, closures included, by a number.
 *
 * Numbers count upwards and are never given twice; a child goes on counting where its parent was. So whoever was
 * forked when the count was n knows the numbers below n, and neither side may send the other one a number that
 * only it has given. Nothing is kept alive here:
 * whoever sends a function keeps it until the message is dealt with.
 */

const numbers = new WeakMap<object, number>();
const living = new Map<number, WeakRef<object>>();
const collected = new FinalizationRegistry<number>((number) => living.delete(number));
let count = 0;

/** How many numbers were given so far, here and in those that this process descends from. */
export function kinCount(): number {
  return count;
}

export function kinNumber(value: object): number | undefined {
  return numbers.get(value);
}

/** Gives it a number, if it has none. */
export function adopt(value: object): number {
  const known = numbers.get(value);
  if (known !== undefined) return known;
  const number = count++;
  numbers.set(value, number);
  living.set(number, new WeakRef(value));
  collected.register(value, number);
  return number;
}

export function kinOf(number: number): object | undefined {
  return living.get(number)?.deref();
}

/** All of them that are still there: a child must keep what it was forked for. */
export function allKin(): object[] {
  return [...living.values()].flatMap((held) => held.deref() ?? []);
}
