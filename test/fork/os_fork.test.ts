import { describe } from 'vitest';
import { testCases } from '../conformance/cases.js';

describe('posix.fork()', () => {
  testCases('fork/os_fork.mjs');
});
