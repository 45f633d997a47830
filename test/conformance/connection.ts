/**
 * What `Connection`, `Pipe` and `wait` promise, whatever the start method: CPython's `_TestConnection`, `_TestPoll`,
 * `_TestPicklingConnections` and `TestWait`, and what is beyond Python.
 */

import { spawnSync } from 'node:child_process';
import os from 'node:os';
import { describe } from 'vitest';
import { testCases, testCtrlC } from './cases.js';

const python = spawnSync('python3', ['--version']).status === 0;

/** Both processes hold such a message, Python twice. */
const LARGE = 'messages of more than 2 GiB';
const roomForLarge = os.freemem() > 12 * 2 ** 30 && process.env['MP_TEST_LARGE'] === '1';

/** The sender has it once, the receiver twice for a while. */
const HUGE = 'a Buffer of 1 GiB';
const roomForHuge = os.freemem() > 6 * 2 ** 30;

export function connectionConformance(method: string): void {
  describe(`Connection (${method})`, () => {
    testCases('connection/connection.mjs', { method });
  });

  describe(`Connection (${method}): values`, () => {
    testCases('connection/values.mjs', { method }, roomForHuge ? [] : [HUGE]);
  });

  describe(`Connection (${method}): poll and wait`, () => {
    testCases('connection/wait.mjs', { method });
  });

  describe(`Pipe (${method})`, () => {
    testCases('connection/memory.mjs', { method });
  });

  describe(`Connection (${method}, of a descriptor)`, () => {
    const env = { MP_TEST_FRAMED: '1' };
    testCases('connection/connection.mjs', { method, env });
    testCases('connection/wait.mjs', { method, env });
  });

  describe(`Connection (${method}): handles`, () => {
    testCases('connection/handles.mjs', { method });
  });

  describe(`Connection (${method}): through memory`, () => {
    testCases('connection/sharer.mjs', { method });
  });

  describe.runIf(python)(`Connection (${method}): CPython at the other end`, () => {
    testCases('connection/python.mjs', { method }, roomForLarge ? [] : [LARGE]);
  });

  describe(`Connection (${method}): Ctrl-C`, () => {
    const CALLS = ['recv', 'recvBytesInto', 'send', 'poll', 'wait'];
    testCtrlC('connection/interrupted.mjs', method, CALLS);
  });
}
