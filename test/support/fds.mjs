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

import { constants, readdirSync, readFileSync, readlinkSync } from 'node:fs';

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

/** Whether such a line is a queue's bell: a pipe that is open in both directions at once. */
export function isBell(fd) {
  if (!fd.includes('pipe:')) return false;
  let info;
  try {
    info = readFileSync(`/proc/self/fdinfo/${fd.split(' ')[0]}`, 'utf8');
  } catch {
    return true; // The collector has closed it meanwhile.
  }
  const [, text] = /^flags:\s*([0-7]+)/m.exec(info);
  const flags = Number.parseInt(text, 8);
  // In the portable build (npm run test:portable) it has two ends.
  const portable = process.env.MP_TEST_PORTABLE !== undefined;
  return (flags & (portable ? constants.O_NONBLOCK : constants.O_RDWR)) !== 0;
}
