/**
 * npm's install script: after it the addon can be loaded, or the user knows what to do.
 *
 * As a dependency: node-gyp-build takes the prebuilt binary for this platform and compiles only where there
 * is none. In a checkout: always compiles, and on a bare Debian machine as root first installs the compiler.
 */

import {
  installMissingTools,
  isCheckout,
  missingTools,
  remedy,
  run,
  runBin,
} from './toolchain.mjs';

if (isCheckout) {
  installMissingTools(missingTools());
  // Says the remedy itself when it fails.
  process.exit(run(process.execPath, ['scripts/build.mjs', 'native']));
}
const code = runBin('node-gyp-build', []);
if (code !== 0) console.error(remedy(missingTools()));
process.exit(code);
