import { describe } from 'vitest';
import { testCases, type Variant } from './cases.js';

/** What is promised of shared objects that travel, whatever the start method. */
export function sharingConformance(method: string, { env, how = method }: Variant = {}): void {
  describe(`references to shared objects (${how})`, () => {
    testCases('sharing/sharing.mjs', { method, env });
  });
}
