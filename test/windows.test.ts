/** What Windows adds, on Windows. Elsewhere `npm run test:windows` runs the same cases under wine. */

import { describe } from 'vitest';
import { testCases } from './conformance/cases.js';

describe.runIf(process.platform === 'win32')('Windows', () => {
  testCases('windows/windows.mjs', { method: 'spawn', timeoutMs: 55_000 });
});
