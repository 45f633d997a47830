/**
 * Charts of what was measured, as small SVG files for docs/img; `node bench/chart.mjs` draws them again from
 * bench/results/latest.json.
 *
 * Two kinds, both with a logarithmic axis, since peers are orders of magnitude apart:
 *
 *   { kind: 'bars', title, subtitle, unit, bars: [{ name, label, value }] }
 *   { kind: 'lines', title, subtitle, unit, xTitle, series: [{ name, label, values: [{ x, y }] }] }
 *
 * An image in a page cannot know whether that page is light or dark, only what the system prefers. So each
 * chart brings its own background, and is legible whichever of the two it gets.
 */

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { figures } from './support/table.mjs';

const WIDTH = 760;
const MARGIN = 24;
const HEADER = 74;
const ROW = 40;

/** Each peer's colour, on light and on dark. */
const INKS = {
  ours: ['#0969da', '#58a6ff'],
  python: ['#9a6700', '#e3b341'],
  childProcess: ['#cf222e', '#ff7b72'],
  spawn: ['#8250df', '#d2a8ff'],
  worker: ['#6e7781', '#9198a1'],
};

// Spelled out, without custom properties: not every viewer of SVG files knows them.
const inks = (shade) =>
  Object.entries(INKS).map(
    ([name, { [shade]: ink }]) =>
      `.${name} .fill, .${name} .name { fill: ${ink} } .${name} .line { stroke: ${ink} }`,
  );

const STYLE = [
  '.page { fill: #ffffff; stroke: #d0d7de }',
  "text { fill: #1f2328; font: 14px system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif }",
  '.title { font-size: 17px; font-weight: 600 }',
  '.soft { fill: #59636e; font-size: 12.5px }',
  '.name { font-weight: 600; font-size: 13px }',
  '.grid { stroke: #d8dee4 }',
  '.line { fill: none; stroke-width: 2.5 }',
  ...inks(0),
  '@media (prefers-color-scheme: dark) {',
  '.page { fill: #0d1117; stroke: #3d444d } .grid { stroke: #2a313c }',
  'text { fill: #f0f6fc } .soft { fill: #9198a1 }',
  ...inks(1),
  '}',
].join('\n');

function escape(text) {
  return String(text).replace(
    /[&<>"]/g,
    (c) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' })[c],
  );
}

/** One decimal of a pixel is more than anyone sees. */
const px = (value) => String(Math.round(value * 10) / 10);

function text(x, y, content, { kind = '', anchor = 'start' } = {}) {
  const attributes = `${kind && ` class="${kind}"`}${anchor === 'start' ? '' : ` text-anchor="${anchor}"`}`;
  return `<text x="${px(x)}" y="${px(y)}"${attributes}>${escape(content)}</text>`;
}

const rule = (x1, y1, x2, y2) =>
  `<line class="grid" x1="${px(x1)}" y1="${px(y1)}" x2="${px(x2)}" y2="${px(y2)}"/>`;

function page({ title, subtitle }, height, body) {
  return `${[
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${px(height)}" width="${WIDTH}" height="${px(height)}" role="img" aria-label="${escape(`${title}: ${subtitle}`)}">`,
    `<style>\n${STYLE}\n</style>`,
    `<rect class="page" x="0.5" y="0.5" width="${WIDTH - 1}" height="${px(height - 1)}" rx="8"/>`,
    text(MARGIN, 34, title, { kind: 'title' }),
    text(MARGIN, 55, subtitle, { kind: 'soft' }),
    ...body,
    '</svg>',
  ].join('\n')}\n`;
}

/** A logarithmic scale over `values`, from one of its round numbers (1, 2, 5, 10 …) to another. */
function logScale(values, from, to) {
  const round = [];
  for (let exponent = -4; exponent <= 9; exponent++) {
    for (const digit of [1, 2, 5]) round.push(digit * 10 ** exponent);
  }
  const first = round.findLast((value) => value <= Math.min(...values)) ?? round[0];
  const last = round.find((value) => value >= Math.max(...values)) ?? round.at(-1);
  const position = (value) =>
    from +
    ((Math.log(value) - Math.log(first)) / (Math.log(last) - Math.log(first) || 1)) * (to - from);
  const inside = round.filter((value) => value >= first && value <= last);
  const powers = inside.filter((value) => Number.isInteger(Math.log10(value)));
  // Few round numbers: mark them all; many decades: their beginnings only.
  const ticks = inside.length <= 8 || powers.length < 2 ? inside : powers;
  return { position, ticks };
}

const tick = (value) => String(Number(value.toPrecision(1)));

function bars(chart) {
  const labelEnd = 210;
  const plotEnd = WIDTH - 110;
  const { position, ticks } = logScale(
    // A bar needs a beginning: half of the smallest value, so that this one too has a length.
    chart.bars.flatMap(({ value }) => [value / 2, value]),
    labelEnd + 12,
    plotEnd,
  );
  const bottom = HEADER + chart.bars.length * ROW;
  return page(chart, bottom + 40, [
    ...ticks.flatMap((value) => [
      rule(position(value), HEADER - 4, position(value), bottom),
      text(position(value), bottom + 18, `${tick(value)} ${chart.unit}`, {
        kind: 'soft',
        anchor: 'middle',
      }),
    ]),
    ...chart.bars.map(({ name, label, value }, i) => {
      const y = HEADER + i * ROW;
      const start = position(ticks[0]);
      return [
        `<g class="${name}">`,
        text(labelEnd, y + 21, label, { anchor: 'end' }),
        `<rect class="fill" x="${px(start)}" y="${px(y + 5)}" width="${px(position(value) - start)}" height="${ROW - 16}" rx="3"/>`,
        text(position(value) + 8, y + 21, `${figures(value)} ${chart.unit}`, { kind: 'name' }),
        '</g>',
      ].join('\n');
    }),
  ]);
}

/** Moves labels apart that would lie over each other; each keeps its order and stays as near as it can. */
function spread(positions, gap) {
  const order = positions.map((y, i) => ({ y, i })).sort((a, b) => a.y - b.y);
  for (let pass = 0; pass < 50; pass++) {
    for (let k = 1; k < order.length; k++) {
      const lack = gap - (order[k].y - order[k - 1].y);
      if (lack <= 0) continue;
      order[k - 1].y -= lack / 2;
      order[k].y += lack / 2;
    }
  }
  const moved = [];
  for (const { y, i } of order) moved[i] = y;
  return moved;
}

function lines(chart) {
  const left = 84;
  const right = WIDTH - 240;
  const top = HEADER + 6;
  const bottom = top + 260;
  const names = chart.series[0].values.map(({ x }) => x);
  const xOf = (i) => left + 20 + (i / Math.max(1, names.length - 1)) * (right - left - 40);
  const { position, ticks } = logScale(
    chart.series.flatMap(({ values }) => values.map(({ y }) => y)),
    bottom,
    top,
  );
  const ends = spread(
    chart.series.map(({ values }) => position(values.at(-1).y)),
    34,
  );
  return page(chart, bottom + 62, [
    ...ticks.flatMap((value) => [
      rule(left, position(value), right, position(value)),
      text(left - 10, position(value) + 4.5, `${tick(value)} ${chart.unit}`, {
        kind: 'soft',
        anchor: 'end',
      }),
    ]),
    ...names.map((name, i) => text(xOf(i), bottom + 22, name, { kind: 'soft', anchor: 'middle' })),
    text((left + right) / 2, bottom + 44, chart.xTitle, { kind: 'soft', anchor: 'middle' }),
    ...chart.series.map(({ name, label, values }, s) => {
      const points = values.map(({ y }, i) => `${px(xOf(i))},${px(position(y))}`);
      return [
        `<g class="${name}">`,
        `<polyline class="line" points="${points.join(' ')}"/>`,
        ...values.map(
          ({ y }, i) => `<circle class="fill" cx="${px(xOf(i))}" cy="${px(position(y))}" r="4"/>`,
        ),
        text(right + 12, ends[s] - 3, label, { kind: 'name' }),
        text(
          right + 12,
          ends[s] + 13,
          `${figures(values[0].y)} to ${figures(values.at(-1).y)} ${chart.unit}`,
          { kind: 'soft' },
        ),
        '</g>',
      ].join('\n');
    }),
  ]);
}

/** The text of a chart's SVG file. */
export function toSvg(chart) {
  return { bars, lines }[chart.kind](chart);
}

/** Writes the charts of these results below `folder`. */
export function writeCharts(results, folder) {
  mkdirSync(folder, { recursive: true });
  for (const { charts } of Object.values(results)) {
    for (const chart of charts) writeFileSync(path.join(folder, chart.file), toSvg(chart));
  }
}

const here = fileURLToPath(import.meta.url);
if (process.argv[1] === here) {
  const file = path.join(path.dirname(here), 'results/latest.json');
  writeCharts(JSON.parse(readFileSync(file, 'utf8')), path.join(path.dirname(here), '../docs/img'));
}
