/** What a killed process leaves behind: locks and their like recover within a second. */

import { describe } from 'vitest';
import { testCases } from '../conformance/cases.js';

describe('a process is killed', () => {
  testCases('synchronize/crash.mjs', { method: 'fork' });
});
