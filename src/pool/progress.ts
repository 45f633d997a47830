/**
 * A bar on the terminal that shows how far a `map` is, with the rate and the time that is left. cli-progress draws it,
 * also while the thread is blocked in a call; it is loaded with the first bar. Where stderr is no terminal nothing is
 * written.
 */

import { createRequire } from 'node:module';
import type * as CliProgress from 'cli-progress';

export interface ProgressOptions {
  /** How many items there are, where the iterable does not say (a generator). */
  total?: number | undefined;
  /** Stands before the bar. */
  label?: string | undefined;
  /** Where it is drawn, if that is a terminal; stderr by default. */
  stream?: NodeJS.WritableStream | undefined;
}

/** What a job tells of itself. */
export interface Progress {
  advance(items: number): void;
  /** There is nothing more to come. */
  stop(): void;
}

const DRAWS_PER_SECOND = 10;
const WITH_TOTAL =
  '{label}{bar} {percentage}% | {value}/{total} | {rate}/s | {duration_formatted}, {eta_formatted} left';
const WITHOUT_TOTAL = '{label}{value} | {rate}/s | {duration_formatted}';

export function progressBar(
  { total, label = '', stream = process.stderr }: ProgressOptions,
  length: number | undefined,
): Progress | undefined {
  if ((stream as Partial<NodeJS.WriteStream>).isTTY !== true) return undefined;
  const items = total ?? length;
  const { SingleBar, Presets } = createRequire(import.meta.url)(
    'cli-progress',
  ) as typeof CliProgress;
  const bar = new SingleBar(
    {
      stream,
      format: items === undefined ? WITHOUT_TOTAL : WITH_TOTAL,
      fps: DRAWS_PER_SECOND,
      // A program that is killed leaves the terminal as it is.
      hideCursor: false,
      linewrap: true,
      etaBuffer: 50,
      // A terminal that is closed, or Ctrl-C, is the program's affair.
      gracefulExit: false,
    },
    Presets.shades_classic,
  );
  const begin = performance.now();
  let done = 0;
  const rate = (): string => {
    const perSecond = (1000 * done) / Math.max(1, performance.now() - begin);
    return perSecond < 10 ? perSecond.toFixed(1) : String(Math.round(perSecond));
  };
  const prefix = label === '' ? '' : `${label} `;
  bar.start(items ?? 0, 0, { label: prefix, rate: '0' });
  let drawn = begin;
  return {
    advance(more) {
      done += more;
      // Its own clock needs turns of the event loop.
      const time = performance.now();
      if (time - drawn < 1000 / DRAWS_PER_SECOND) return;
      drawn = time;
      bar.update(done, { rate: rate() });
    },
    stop() {
      bar.update(done, { rate: rate() });
      bar.stop();
    },
  };
}
