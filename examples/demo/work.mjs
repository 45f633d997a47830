/** The demo's job, the same code whoever does it, and how it is shared out. */

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { deflateSync } from 'node:zlib';

/** What is found out about one text. */
export function examine(text) {
  const bytes = encode(text);
  return {
    words: countWords(text),
    sha256: createHash('sha256').update(bytes).digest('hex'),
    compressed: deflateSync(bytes).length,
  };
}

let room = Buffer.alloc(0);

/** The text as UTF-8, in the same room each time: what a child costs in memory is what it writes to. */
function encode(text) {
  const length = Buffer.byteLength(text);
  if (length > room.length) room = Buffer.allocUnsafeSlow(length);
  return room.subarray(0, room.write(text));
}

/** Words are what blanks, tabs and line ends separate. Counted in place: a split would copy them all. */
function countWords(text) {
  let words = 0;
  let insideWord = false;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    const isBlank = code === 32 || (code >= 9 && code <= 13);
    if (insideWord === isBlank) {
      insideWord = !isBlank;
      if (insideWord) words++;
    }
  }
  return words;
}

/**
 * Deals the texts to at most `hands` shares of about the same amount: the longest first, each to the share
 * that has least. A share is a list of indices.
 */
export function deal(texts, hands) {
  const shares = Array.from({ length: Math.min(hands, texts.length) }, () => ({
    amount: 0,
    indices: [],
  }));
  const lengthOf = (i) => texts[i].text.length;
  for (const i of [...texts.keys()].sort((a, b) => lengthOf(b) - lengthOf(a))) {
    const share = shares.reduce((least, other) => (other.amount < least.amount ? other : least));
    share.indices.push(i);
    share.amount += lengthOf(i) + 1;
  }
  return shares.map(({ indices }) => indices);
}

/** One digest of all results, in the order of the texts: equal results have equal digests. */
export function digestOf(texts, results) {
  const hash = createHash('sha256');
  texts.forEach(({ file }, i) => hash.update(`${file} ${JSON.stringify(results[i])}\n`));
  return hash.digest('hex');
}

/**
 * `{ private, shared }` in bytes: what of a process's memory is its own and what it shares with others; null where the
 * system does not tell (it is Linux that does).
 */
export function memoryOfProcess(pid = 'self') {
  try {
    const text = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
    const sum = (kind) =>
      [...text.matchAll(new RegExp(`^${kind}_(?:Clean|Dirty):\\s*(\\d+) kB`, 'gm'))].reduce(
        (total, [, kilobytes]) => total + Number(kilobytes) * 1024,
        0,
      );
    return { private: sum('Private'), shared: sum('Shared') };
  } catch {
    return null;
  }
}
