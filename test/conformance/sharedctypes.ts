import { describe } from 'vitest';
import { testCases, type Variant } from './cases.js';

/** What shared values and arrays promise, whatever the start method. */
export function sharedctypesConformance(method: string, { env, how = method }: Variant = {}): void {
  describe(`sharedctypes (${how})`, () => {
    testCases('sharedctypes/sharedctypes.mjs', { method, env });
  });
}
