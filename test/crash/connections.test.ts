/** The process at the other end of a pipe is killed. */

import { describe } from 'vitest';
import { testCases } from '../conformance/cases.js';

describe('the peer is killed', () => {
  testCases('connection/crash.mjs', { method: 'fork' });
});
