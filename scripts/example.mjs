/**
 * Runs an example: `npm run example -- 05`, and whatever follows is the program's. Without a number: lists them.
 *
 * Node 20 does not run TypeScript, so the example is stripped of its types into test/.tmp, inside the package,
 * where 'node-multiprocessing' resolves to lib/. Stacks name the lines of the original. Types are checked by
 * `npm run typecheck`, not here.
 */

import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import ts from 'typescript';
import { root } from './toolchain.mjs';

const directory = path.join(root, 'examples');
const temporary = path.join(root, 'test/.tmp');

/** The flags of node that an example runs under. */
export const execArgv = ['--enable-source-maps'];

/** The file names of all the examples, in order. */
export function exampleFiles() {
  return readdirSync(directory)
    .filter((file) => /^\d\d-.*\.ts$/.test(file))
    .sort();
}

/** Makes a program of the example `number`: its path, and a function that removes it. */
export function makeProgram(number) {
  const source = exampleFiles().find((file) => file.startsWith(`${number}-`));
  if (source === undefined) throw new Error(`there is no example ${number}`);
  const { outputText } = ts.transpileModule(readFileSync(path.join(directory, source), 'utf8'), {
    fileName: source,
    reportDiagnostics: false,
    compilerOptions: {
      target: ts.ScriptTarget.ES2022,
      module: ts.ModuleKind.ESNext,
      verbatimModuleSyntax: true,
      inlineSourceMap: true,
      inlineSources: true,
      sourceRoot: pathToFileURL(directory + path.sep).href,
    },
  });
  mkdirSync(temporary, { recursive: true });
  const file = path.join(temporary, `${path.basename(source, '.ts')}-${randomUUID()}.mjs`);
  writeFileSync(file, outputText);
  return { file, remove: () => rmSync(file, { force: true }) };
}

function list() {
  for (const file of exampleFiles()) console.log(path.basename(file, '.ts'));
  console.log('\nnpm run example -- 05');
}

function main([number, ...args]) {
  if (number === undefined) {
    list();
    return;
  }
  const { file, remove } = makeProgram(number);
  const child = spawn(process.execPath, [...execArgv, file, ...args], { stdio: 'inherit' });
  // Ctrl-C reaches the example by itself; we stay to clean up after it.
  process.on('SIGINT', () => {});
  for (const signal of ['SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));
  child.on('exit', (code, signal) => {
    remove();
    process.exitCode = code ?? 1;
    if (signal === null) return;
    process.removeAllListeners(signal);
    process.kill(process.pid, signal);
  });
}

if (process.argv[1] === import.meta.filename) main(process.argv.slice(2));
