/**
 * Tests drive fixtures in fresh Node processes (test/support/fixture.ts) and never fork inside a worker of
 * the test runner. Most of a test's time is spent by its fixtures, which keep several processes busy
 * themselves, so only a few files run at a time: on two cores, one.
 */

import os from 'node:os';
import { defineConfig } from 'vitest/config';

/** As in test/support/fixture.ts. */
const slowness = Number(process.env['MP_TEST_SLOWNESS'] ?? 1);

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    pool: 'forks',
    maxWorkers: Math.max(2, Math.min(4, Math.floor(os.availableParallelism() / 2))),
    // Longer than the fixtures' own hard limit, so that a hang is reported with the fixture's output.
    testTimeout: 60_000 * slowness,
    hookTimeout: 60_000,
    teardownTimeout: 10_000,
    globalSetup: 'test/support/global_setup.ts',
    coverage: { include: ['src/**'] },
  },
});
