/** Whoever is killed or stopped in a pool costs at most the one task that it has, and nobody waits for ever. */

import { describe } from 'vitest';
import { testCases } from '../conformance/cases.js';

describe('processes of a pool are killed', () => {
  testCases('pool/crash.mjs', { method: 'fork', timeoutMs: 180_000 });
});
