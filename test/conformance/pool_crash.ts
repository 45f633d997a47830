/** Whoever is killed or stopped in a pool costs at most the one task that it has, and nobody waits for ever. */

import { describe } from 'vitest';
import { testCases } from './cases.js';

export function poolCrashes(method: string): void {
  describe(`processes of a pool are killed (${method})`, () => {
    testCases('pool/crash.mjs', { method, timeoutMs: 180_000 });
  });
}
