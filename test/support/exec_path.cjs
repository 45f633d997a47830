/** In an emulated node (scripts/test-arm64.mjs): what it starts runs in the emulator, too. */

'use strict';

if (process.arch === 'arm64') process.execPath = process.env.MP_TEST_EXEC_PATH;
