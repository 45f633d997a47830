import { describe } from 'vitest';
import { testCases } from './cases.js';

/** What shared values and arrays promise, whatever the start method. */
export function sharedctypesConformance(method: string): void {
  describe(`sharedctypes (${method})`, () => {
    testCases('sharedctypes/sharedctypes.mjs', { method });
  });
}
