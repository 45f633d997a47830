/** Who is killed inside a queue costs at most one item, and the others go on within a second. */

import { describe } from 'vitest';
import { testCases } from '../conformance/cases.js';

describe('a process is killed in a queue', () => {
  testCases('queues/crash.mjs', { method: 'fork' });
});
