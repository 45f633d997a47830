/**
 * A table: `{ title, columns, rows, notes? }`, all of it text; a column that starts with '>' is aligned to
 * the right. Printed for the terminal or as Markdown, from the same cells.
 */

const isRight = (column) => column.startsWith('>');
const label = (column) => (isRight(column) ? column.slice(1) : column);

/** Characters, not UTF-16 units: '×' and 'µ' are one wide. */
const width = (text) => [...text].length;

function widths({ columns, rows }) {
  return columns.map((column, i) =>
    Math.max(width(label(column)), ...rows.map((row) => width(row[i] ?? ''))),
  );
}

function pad(text, size, right) {
  const blanks = ' '.repeat(Math.max(0, size - width(text)));
  return right ? blanks + text : text + blanks;
}

export function toText(table) {
  const sizes = widths(table);
  const line = (cells) =>
    table.columns
      .map((column, i) => pad(cells[i] ?? '', sizes[i], isRight(column)))
      .join('  ')
      .trimEnd();
  return [
    table.title,
    '',
    line(table.columns.map(label)),
    sizes.map((size) => '─'.repeat(size)).join('  '),
    ...table.rows.map(line),
    ...(table.notes ?? []).flatMap((note, i) => (i === 0 ? ['', note] : [note])),
  ].join('\n');
}

export function toMarkdown(table) {
  const line = (cells) => `| ${cells.join(' | ')} |`;
  return [
    ...(table.title ? [`**${table.title}**`, ''] : []),
    line(table.columns.map(label)),
    line(table.columns.map((column) => (isRight(column) ? '--:' : ':--'))),
    ...table.rows.map((row) => line(table.columns.map((_, i) => row[i] ?? ''))),
    ...(table.notes ?? []).flatMap((note) => ['', note]),
  ].join('\n');
}

/** 0.4567 → '0.457', 12.34 → '12.3', 123.4 → '123': three figures, as many as such times deserve. */
export function figures(value) {
  if (!Number.isFinite(value)) return '–';
  const magnitude = Math.abs(value);
  return value.toFixed(
    magnitude >= 99.95 ? 0 : magnitude >= 9.995 ? 1 : magnitude >= 0.9995 ? 2 : 3,
  );
}

export const milliseconds = (value) => `${figures(value)} ms`;
export const mebibytes = (bytes) => `${figures(bytes / 2 ** 20)} MiB`;
export const times = (ratio) => `${figures(ratio)}×`;

/** How many times, and, with a target, whether that is reached. */
export function timesOf(ratio, target) {
  if (target === undefined) return times(ratio);
  return `${times(ratio)}  ${verdict(ratio >= target, `≥ ${target}×`)}`;
}

/** The last column: what was wanted, and whether it was reached. */
export function verdict(met, target) {
  return `${met ? 'met' : 'MISSED'} (${target})`;
}
