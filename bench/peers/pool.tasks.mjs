/** What the workers of every Node pool are asked to do. */

export const trivial = (x) => x;

/** Busy for so many milliseconds. */
export function busy(milliseconds) {
  const end = performance.now() + milliseconds;
  while (performance.now() < end);
  return milliseconds;
}
