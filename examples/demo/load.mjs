/**
 * The demo's input: the texts below a folder, within bounds that hold whatever the folder is.
 *
 * Symbolic links are not followed, so that there are no loops; what is not a regular file, not readable, not
 * text or too large is passed over and counted.
 */

import { lstatSync, readdirSync, readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import { getHeapStatistics } from 'node:v8';

const MB = 1e6;
const MOST_BYTES_PER_FILE = 16 * MB;
const MOST_FILES = 200_000;
/** A text takes up to two bytes of heap for each of its own, and the results want room too. */
const MOST_BYTES = Math.min(128 * MB, getHeapStatistics().heap_size_limit / 8);
/** Where a zero byte tells a binary file, as grep and git have it. */
const HEAD_BYTES = 8192;

/**
 * Answers `{ texts: [{ file, text }], bytes, skipped: { reason: number }, stoppedBy }`; stoppedBy names the
 * bound that ended the search, null when all was read.
 *
 * @throws Error there is no such folder, or it is not one, or not readable.
 */
export function loadTexts(folder) {
  if (!statSync(folder, { throwIfNoEntry: false })?.isDirectory()) {
    throw new Error(`no such folder: ${folder}`);
  }
  const texts = [];
  const skipped = {};
  let bytes = 0;
  let stoppedBy = null;
  for (const file of filesBelow(folder, skipped)) {
    if (texts.length >= MOST_FILES) stoppedBy = `${MOST_FILES.toLocaleString('en')} files`;
    else if (bytes >= MOST_BYTES) stoppedBy = `${Math.floor(MOST_BYTES / MB)} MB of text`;
    if (stoppedBy !== null) break;
    const { content, reason } = readText(file);
    if (content === undefined) {
      skipped[reason] = (skipped[reason] ?? 0) + 1;
    } else {
      texts.push({ file, text: content.toString('utf8') });
      bytes += content.length;
    }
  }
  return { texts, bytes, skipped, stoppedBy };
}

/** The regular files below `folder`, one at a time, in the order of their names. */
function* filesBelow(folder, skipped) {
  const folders = [folder];
  while (folders.length > 0) {
    const current = folders.pop();
    let entries;
    try {
      entries = readdirSync(current, { withFileTypes: true });
    } catch (error) {
      if (current === folder)
        throw new Error(`cannot read ${folder}: ${error.code}`, { cause: error });
      skipped.unreadable = (skipped.unreadable ?? 0) + 1;
      continue;
    }
    entries.sort((a, b) => (a.name < b.name ? -1 : 1));
    for (const entry of entries) {
      if (entry.isFile()) yield path.join(current, entry.name);
    }
    for (const entry of entries.toReversed()) {
      if (entry.isDirectory()) folders.push(path.join(current, entry.name));
    }
  }
}

/** `{ content }` of a text file, or the `{ reason }` why it is none. */
function readText(file) {
  try {
    // Asked first: it also keeps us from the files of /proc, which claim to be empty and may never end.
    const { size } = lstatSync(file);
    if (size === 0) return { reason: 'empty' };
    if (size > MOST_BYTES_PER_FILE) return { reason: 'too large' };
    const content = readFileSync(file);
    return content.subarray(0, HEAD_BYTES).includes(0) ? { reason: 'binary' } : { content };
  } catch {
    return { reason: 'unreadable' };
  }
}
