/** A bar on the terminal that shows how far a `map` is. */

import type { OnProgress } from './results.js';

export interface ProgressOptions {
  /** How many items there are, where the iterable does not say. */
  total?: number;
}

export function progressBar(_: ProgressOptions, __: number | undefined): OnProgress | undefined {
  return undefined;
}
