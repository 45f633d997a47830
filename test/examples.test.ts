/**
 * The examples print what CPython prints when it runs the originals.
 *
 * Each original in test/fixtures/python has a transcript beside it, `NN.expected.txt`. The example is compared
 * with the transcript, and, where there is a python3, so is the original: so both are compared with each other,
 * and a machine without Python tests the example all the same. `npm test -- test/examples.test.ts -u` records
 * the transcripts anew, from Python.
 *
 * What legitimately differs from run to run is taken out first, by `canonical`: pids, durations, the order of
 * lines that different processes print at the same time. What one process prints stays in its order, and what
 * a `join`, a fork or a wide margin of time orders is demanded of both sides by `before`.
 */

import { spawnSync } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { execArgv, exampleFiles, makeProgram } from '../scripts/example.mjs';
import { report, runFixture, type RunOptions } from './support/fixture.js';
import { fixtures, root } from './support/paths.js';

interface Comparison {
  /**
   * Matches what children print; what it captures tells the child, or, where the lines do not tell, what may
   * change places. The other lines are the main process's. Absent: every line has its place.
   */
  child?: RegExp;
  /** Each line that matches the first stands before each that matches the second. */
  before?: [RegExp, RegExp][];
  /** Lines that a run may lack. */
  optional?: RegExp;
  /** What differs between runs, and what stands for it. */
  replace?: [RegExp, string][];
  /** The seconds that the program prints as having passed: at least, and less than. */
  seconds?: [number, number];
  /** What stands on stderr; nothing by default. */
  stderr?: RegExp[];
  /** A program of test/fixtures that runs the example, whose command line it gets. */
  driver?: string;
}

const REPR = String.raw`<Process name='Process-1' pid=\d+ parent=\d+`;

/**
 * A child that was sent SIGTERM may have ended by the time it is looked at, or not; also between the two looks:
 * is it alive, and what does it print as.
 */
const JUST_TERMINATED = new RegExp(
  `^(TERMINATED: )${REPR} (?:started> true|stopped exitcode=-SIGTERM> (?:true|false))$`,
  'm',
);

const COMPARISONS: Record<string, Comparison> = {
  '01': {},
  '02': {
    child: /^(Process (?:start|end))$/,
    before: [
      [/^Process start/, /^Process end/],
      [/^Process end/, /^SECONDS/],
    ],
    seconds: [0.9, 1.8],
  },
  '03': {
    child: /^(process\d)/,
    before: [
      [/^process1,end/, /^process2,end/],
      [/^process2,end/, /^process3,end/],
      [/^process3,end/, /^SECONDS/],
    ],
    seconds: [0.9, 1.8],
  },
  '04': { seconds: [0.6, Infinity] },
  '05': { child: /^在?(子)/ },
  '06': {
    child: /^(process start|process end|子.*)$/,
    before: [[/^process start/, /^process end/]],
  },
  '07': {
    child: /^(process)/,
    before: [
      [/^true/, /^process end/],
      [/^process end/, /^false/],
    ],
  },
  '08': {
    optional: /^process start$/,
    replace: [[/^(?:true|false)(?=\nfalse\n主进程\n$)/, 'true or false']],
  },
  '09': { child: /^(\d+$|.*聊天)/, before: [[/^(\d+$|.*聊天)/, /^主线程/]] },
  '10': { child: /^(子)/ },
  '11': { child: /^(Worker: \d)/ },
  '12': { child: /^(.*) (?:Start|Exit)ing$/ },
  '13': {
    child: /^(?:Starting: |Exiting : )(.*)$/,
    before: [[/^Starting/, /^d\.is_alive/]],
  },
  '14': {
    optional: /^Starting worker$/,
    replace: [[JUST_TERMINATED, '$1started or stopped']],
    before: [
      [/^BEFORE/, /^DURING/],
      [/^DURING/, /^JOINED/],
    ],
  },
  '15': { stderr: [/^Process raises:$/m, /\bRuntimeError: There was an error!$/m] },
  '17': { child: /^(In .*)$/ },
  '18': {},
  '19': {
    replace: [
      // As many as the machine has CPUs, twice; who takes which task is chance.
      [/^Creating [1-9]\d* consumers$/m, 'Creating N consumers'],
      [/^Consumer-\d+: Exiting\n(?=[^]*^Consumer-\d+: Exiting$)/gm, ''],
      [/^Consumer-\d+(?=: )/gm, 'Consumer-N'],
    ],
    child: /^((?:Consumer-N|Result): .*)$/,
    before: [
      [/^Creating/, /^Consumer/],
      [/^Consumer/, /^Result/],
    ],
  },
  '20': {
    child: /^(wait_for_event\w*):/,
    before: [
      [/^wait_for_event_timeout: e/, /^main: event is set/],
      [/^main: waiting/, /^wait_for_event: e/],
    ],
  },
  '21': {},
  '22': { child: /^(child)/ },
  '23': { child: /^(PID-N: .*)$/, replace: [[/^PID-\d+/gm, 'PID-N']] },
  '24': {
    // Three at a time are done in any order.
    replace: [[/^(?=\d+$)/gm, 'result ']],
    child: /^(result \d+)$/,
    before: [[/^result [014]$/, /^result 81$/]],
  },
  '25': { replace: [[/^\[42, None, 'hello'\]$/m, "[ 42, null, 'hello' ]"]] },
  '26': {
    child: /^Process pid (\d+) /,
    replace: [[/(?<=^Process )(?=\d+ (?:put|get))/gm, 'pid ']],
    before: ['A', 'B', 'C', 'D'].map((value) => [
      new RegExp(`put ${value} to`),
      new RegExp(`get ${value} from`),
    ]),
  },
  '27': {},
  '28': {
    child: /^(子进程id:\d+|我是子进程)/,
    before: [[/^主进程/, /^(子|我)/]],
  },
  '29': {},
  '30': {
    driver: 'examples/chat_clients.mjs',
    child: /^server: (Process-\d)/,
    replace: [[/(?<=port )\d+$/m, 'PORT']],
  },
  '31': { child: /^(Process: \d)/ },
  '32': {
    child: /^(Process: \d|Child process name: Process-\d)/,
    // The first child does not sleep: it may have ended before it is asked for.
    optional: /^Child process name: Process-1 /,
    // Ours counts the CPUs that the process may use, Python's before 3.13 those of the machine.
    replace: [[/^CPU number:[1-9]\d*$/m, 'CPU number:N']],
    before: [
      [/^CPU number/, /^Child process name/],
      [/^Child process name/, /^Process Ended/],
      [/^Process Ended/, /^Process: 2/],
      [/^Process: 0/, /^Process: 2/],
      [/^Process: 1/, /^Process: 3/],
      [/^Process: 2/, /^Process: 4/],
    ],
  },
  '33': { child: /^Pid: (\d+)/ },
  '34': {},
  '35': {},
  '36': { child: /^Pid: (\d+)/ },
  '37': { child: /^(Producer|Consumer)/, before: [[/^(?:Producer|Consumer)/, /^Ended!/]] },
  '38': {
    child: /^(Producer|Consumer)/,
    replace: [
      // What was put is got afterwards.
      [/^(Producer put {2})(\d[\d.e-]*)$(?=[^]*^Consumer get \2$)/gm, '$1NUMBER'],
      [/^(Consumer get )\d[\d.e-]*$/gm, '$1NUMBER'],
    ],
    before: [[/^(?:Producer|Consumer)/, /^Ended!/]],
  },
  '39': { child: /^(Producer|Consumer)/, before: [[/^(Producer|Consumer)/, /^Ended/]] },
  '40': {
    child: /^((?:Start process: |End process) .*)$/,
    before: [
      [/^Started processes/, /^Start process/],
      [/^Start process: {2}2/, /^End process/],
      [/^End process/, /^Subprocess done/],
    ],
  },
  '41': {},
  '42': {},
  '43': {
    child: /^(.*)$/,
    replace: [[/127\.0\.0\.1:\d{2,}/g, 'SITE']],
    before: [[/^Error/, /^URL {2}\S+nobody/]],
  },
};

/** Where a number is a pid: after a word that says so, or alone on a line. */
const PID = /(?<=(?:pid|id|parent|child)[-=:>\s]+|^)\d+(?![.\d])/gim;

/** What a run printed, without what legitimately differs: the main process's lines, then each child's. */
function canonical(text: string, comparison: Comparison): string {
  expect(text === '' || text.endsWith('\n'), 'the last line is complete').toBe(true);
  const { child, before = [] } = comparison;
  const lines = constant(text, comparison);
  for (const [first, second] of before) demandOrder(lines, first, second);

  const main: string[] = [];
  const children = new Map<string, string[]>();
  for (const line of lines) {
    const who = child?.exec(line)?.[1];
    if (who === undefined) main.push(line);
    else children.set(who, [...(children.get(who) ?? []), line]);
  }
  // Children in an order that does not depend on their pids, so that each pid gets the same name in every run.
  const masked = (paragraph: string): string => paragraph.replace(PID, 'P');
  const paragraphs = [...children.values()].map((group) => group.join('\n'));
  paragraphs.sort((a, b) => compare(masked(a), masked(b)));
  const names = new Map<string, string>();
  const named = [main.join('\n'), ...paragraphs].map((paragraph) =>
    paragraph.replace(PID, (pid) => {
      if (!names.has(pid)) names.set(pid, `P${names.size + 1}`);
      return names.get(pid)!;
    }),
  );
  const all = [...named.slice(0, 1), ...named.slice(1).sort(compare)];
  return `${all.filter((paragraph) => paragraph !== '').join('\n\n')}\n`;
}

function compare(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}

/** The lines that every run prints, alike in every run but for pids and places. */
function constant(text: string, { optional, replace = [], seconds }: Comparison): string[] {
  let rest = text;
  if (optional !== undefined) {
    const lines = text.split('\n').filter((line) => !optional.test(line));
    rest = lines.join('\n');
  }
  if (seconds !== undefined) rest = withoutSeconds(rest, seconds);
  for (const [what, by] of replace) rest = rest.replace(what, by);
  return rest.split('\n').slice(0, -1);
}

function withoutSeconds(text: string, [least, limit]: [number, number]): string {
  return text.replace(/^\d+\.\d+$/m, (seconds) => {
    expect(Number(seconds), 'seconds that have passed').toBeGreaterThanOrEqual(least);
    expect(Number(seconds), 'seconds that have passed').toBeLessThan(limit);
    return 'SECONDS';
  });
}

function demandOrder(lines: readonly string[], first: RegExp, second: RegExp): void {
  const last = lines.findLastIndex((line) => first.test(line));
  const next = lines.findIndex((line) => second.test(line));
  const inOrder = last >= 0 && next > last;
  expect(inOrder, `${first} comes before ${second} in\n${lines.join('\n')}`).toBe(true);
}

const originals = path.join(fixtures, 'python');
const python = spawnSync('python3', ['--version']).status === 0;

/** The examples start their processes by the default method, which is fork on Linux. */
const forks = process.platform === 'linux';

/** The Node that runs the examples. */
const node = process.env['MP_TEST_NODE'] ?? process.execPath;

interface Command {
  interpreter: string;
  flags?: string[];
  file: string;
  args?: string[];
  env?: RunOptions['env'];
}

/** Runs an example or an original, which must end as both do: with 0, and nothing unexpected on stderr. */
async function transcript(command: Command, comparison: Comparison): Promise<string> {
  const { interpreter, flags = [], file, args = [], env = {} } = command;
  const { driver, stderr = [] } = comparison;
  const result =
    driver === undefined
      ? await runFixture(file, { node: interpreter, execArgv: flags, args, env })
      : await runFixture(driver, { args: [interpreter, ...flags, file, ...args], env });
  expect({ code: result.code, signal: result.signal }, report(result)).toEqual({
    code: 0,
    signal: null,
  });
  if (stderr.length === 0) expect(result.stderr).toBe('');
  for (const line of stderr) expect(result.stderr).toMatch(line);
  return result.stdout;
}

async function runExample(
  number: string,
  comparison: Comparison,
  args: string[] = [],
): Promise<string> {
  const { file, remove } = makeProgram(number);
  try {
    const command = { interpreter: node, flags: execArgv, file, args };
    const printed = await transcript(command, comparison);
    return canonical(printed, comparison);
  } finally {
    remove();
  }
}

async function runOriginal(
  number: string,
  comparison: Comparison,
  args: string[] = [],
): Promise<string> {
  const env = {
    PYTHONPATH: path.join(originals, 'site'),
    PYTHONDONTWRITEBYTECODE: '1',
    PYTHONUTF8: '1',
  };
  const file = path.join(originals, originalOf(number)!);
  const printed = await transcript({ interpreter: 'python3', file, args, env }, comparison);
  const inJavaScript = printed.replace(/\b(?:True|False)\b/g, (word) => word.toLowerCase());
  return canonical(inJavaScript, comparison);
}

function originalOf(number: string): string | undefined {
  return readdirSync(originals).find((file) => file.startsWith(`${number}_`));
}

function transcriptOf(number: string): string {
  return path.join(originals, `${number}.expected.txt`);
}

const numbers = exampleFiles().map((file) => file.slice(0, 2));

describe('every example', () => {
  it('has an original and a comparison', () => {
    expect(Object.keys(COMPARISONS).sort()).toEqual(numbers);
    for (const number of numbers) expect(originalOf(number), number).toBeDefined();
  });

  it('stands in examples/README.md, with its claim', () => {
    const readme = readFileSync(path.join(root, 'examples/README.md'), 'utf8');
    for (const file of exampleFiles()) {
      const number = file.slice(0, 2);
      const text = readFileSync(path.join(root, 'examples', file), 'utf8');
      const header = /^\/\*\*\n((?: \* .+\n)+)/.exec(text)?.[1] ?? '';
      const claim = header.replace(/^ \* /, '').trim().replaceAll('\n * ', ' ');
      expect(readme).toContain(
        `\n| [${number}](${file}) | ${claim} | \`npm run example -- ${number}\` |\n`,
      );
    }
  });

  // There node listens for SIGWINCH from its first output on, also in the parent of a fork.
  it.runIf(forks && python)('prints the same on a terminal', async () => {
    const terminal = path.join(originals, 'on_terminal.py');
    const { file, remove } = makeProgram('14');
    try {
      const printed = await transcript(
        {
          interpreter: 'python3',
          file: terminal,
          args: [node, ...execArgv, file],
          env: { NO_COLOR: '1', FORCE_COLOR: undefined },
        },
        {},
      );
      expect(canonical(printed.replaceAll('\r\n', '\n'), COMPARISONS['14']!)).toBe(
        readFileSync(transcriptOf('14'), 'utf8'),
      );
    } finally {
      remove();
    }
  });

  it.runIf(forks)('runs by its number alone', async () => {
    const launcher = path.join(root, 'scripts/example.mjs');
    const result = await runFixture(launcher, { args: ['15'] });
    expect(result, report(result)).toMatchObject({ code: 0, signal: null });
    expect(result.stdout).toContain('raises.exitcode = 1');
    expect(result.stderr).toMatch(/examples[\\/]15-exit-codes\.ts:\d+/);
  });
});

describe.runIf(forks)('prints what CPython prints:', () => {
  for (const file of exampleFiles()) {
    const number = file.slice(0, 2);
    const comparison = COMPARISONS[number] ?? {};
    it(path.basename(file, '.ts'), async () => {
      expect(await runExample(number, comparison)).toBe(readFileSync(transcriptOf(number), 'utf8'));
    });
    it.skipIf(!python)(`${originalOf(number)} by python3`, async () => {
      await expect(await runOriginal(number, comparison)).toMatchFileSnapshot(transcriptOf(number));
    });
  }
});

describe.runIf(forks)('prints the same by every start method:', () => {
  const number = '21';
  it.each(['spawn', 'forkserver'])('21-start-method, %s', async (method) => {
    const expected = readFileSync(transcriptOf(number), 'utf8');
    expect(await runExample(number, {}, [method])).toBe(expected);
    if (python) expect(await runOriginal(number, {}, [method])).toBe(expected);
  });
});
