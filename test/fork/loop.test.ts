import { describe } from 'vitest';
import { testCases } from '../conformance/cases.js';

describe('the event loop of a forked child', () => {
  testCases('fork/loop.mjs');
});
