/** How the demo writes numbers and its table. */

export const seconds = (ms) => `${(ms / 1000).toFixed(2)} s`;
export const megabytes = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;

export function count(number, noun) {
  return `${number.toLocaleString('en')} ${noun}${number === 1 ? '' : 's'}`;
}

/** ` (passed over: 3 empty, 19 binary)`, or nothing. */
export function skippedText(skipped) {
  const parts = Object.entries(skipped).map(([reason, n]) => `${n.toLocaleString('en')} ${reason}`);
  return parts.length === 0 ? '' : ` (passed over: ${parts.join(', ')})`;
}

const COLUMNS = [
  { title: '', width: 36 },
  { title: 'time', width: 8 },
  { title: 'speed-up', width: 9 },
  { title: 'at work after', width: 14 },
  { title: 'own / child', width: 12 },
  { title: 'shared / child', width: 15 },
];

function printLine(cells) {
  const aligned = cells.map((cell, i) =>
    i === 0 ? cell.padEnd(COLUMNS[i].width) : cell.padStart(COLUMNS[i].width),
  );
  console.log(aligned.join(' ').trimEnd());
}

export function printHeader() {
  printLine(COLUMNS.map(({ title }) => title));
}

const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

/** One way of doing the job. What is said of its children is the mean of them. */
export function printRow({ label, ms, speedUp, children }) {
  const memory = (kind) => {
    const known = children.flatMap((child) => (child.memory === null ? [] : [child.memory[kind]]));
    return known.length === 0 ? '–' : megabytes(mean(known));
  };
  printLine([
    label,
    seconds(ms),
    `${speedUp.toFixed(1)}×`,
    children.length === 0 ? '–' : `${Math.round(mean(children.map(({ readyMs }) => readyMs)))} ms`,
    memory('private'),
    memory('shared'),
  ]);
}
