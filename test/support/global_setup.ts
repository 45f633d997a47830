/** Before the first test: an empty place for inline fixtures. */

import { mkdirSync, rmdirSync } from 'node:fs';
import { temporary } from './paths.js';

export function setup(): void {
  mkdirSync(temporary, { recursive: true });
}

export function teardown(): void {
  try {
    // Only when empty: another test run of the same checkout may be using it.
    rmdirSync(temporary);
  } catch {
    // Not empty.
  }
}
