/**
 * Open file descriptors, looked at from inside a fixture:
 *
 *   import { openFds, newFds } from '../support/fds.mjs';
 *   const before = openFds();
 *   …
 *   console.log(JSON.stringify(newFds(before)));   // [] when nothing leaked
 *
 * Linux only: elsewhere the lists are empty.
 */

import { readdirSync, readlinkSync } from 'node:fs';

/** `fd target` for each open descriptor of this process: "5 pipe:[1234]", "7 /dev/shm/psm_1". */
export function openFds() {
  let names;
  try {
    names = readdirSync('/proc/self/fd');
  } catch {
    return [];
  }
  return names.flatMap((name) => {
    try {
      return [`${name} ${readlinkSync(`/proc/self/fd/${name}`)}`];
    } catch {
      return []; // The descriptor that listed the directory.
    }
  });
}

/** Those of now that `before` did not have. */
export function newFds(before) {
  const known = new Set(before);
  return openFds().filter((fd) => !known.has(fd));
}
