import { describe } from 'vitest';
import { testCases } from '../conformance/cases.js';

describe('the heap of a forked child', () => {
  testCases('fork/heap.mjs');
});
