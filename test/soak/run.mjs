/**
 * `npm run test:soak [-- versions… --forks=2000]`: forks under load on each Node version, and demands 0 hangs,
 * 0 crashes and 0 leaked descriptors. Without versions: 20, 22, 24 and 26, which npm brings into .tmp/. The
 * figures of the last run that was kept stand in docs/fork.md.
 */

import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const here = path.dirname(fileURLToPath(import.meta.url));
const root = path.join(here, '../..');
const SITES = ['commonjs', 'top', 'awaited', 'timer', 'tick', 'stream'];

const options = process.argv.slice(2);
const forks = Number(options.find((o) => o.startsWith('--forks='))?.split('=')[1] ?? 2000);
const asked = options.filter((o) => /^\d+$/.test(o));
const versions = asked.length > 0 ? asked : ['20', '22', '24', '26'];

/** The executable of a Node version, installed by npm below .tmp/ when it is not there. */
function nodeOf(version) {
  const directory = path.join(root, '.tmp', `node-${version}`);
  const executable = path.join(directory, 'node_modules/node/bin/node');
  if (!existsSync(executable)) {
    mkdirSync(directory, { recursive: true });
    writeFileSync(path.join(directory, 'package.json'), '{ "private": true }');
    execFileSync(
      'npm',
      ['install', '--no-audit', '--no-fund', '--foreground-scripts', `node@${version}`],
      {
        cwd: directory,
        stdio: 'ignore',
      },
    );
  }
  return executable;
}

function soak(node, site, count) {
  const program = path.join(here, site === 'commonjs' ? 'commonjs.cjs' : 'forks.mjs');
  return new Promise((resolve) => {
    const child = spawn(node, [program, site, String(count)], {
      cwd: root,
      stdio: ['ignore', 'pipe', 2],
    });
    let output = '';
    child.stdout.on('data', (chunk) => (output += chunk));
    child.on('close', (code, signal) => {
      const line = output.trim().split('\n').at(-1) ?? '';
      try {
        resolve({ ...JSON.parse(line), code, signal });
      } catch {
        resolve({ site, forked: 0, failures: [{ parent: { code, signal, output } }], fds: 0 });
      }
    });
  });
}

let failed = false;
for (const version of versions) {
  const node = nodeOf(version);
  const name = execFileSync(node, ['--version'], { encoding: 'utf8' }).trim();
  const started = performance.now();
  let forked = 0;
  let leaked = 0;
  const failures = [];
  for (const site of SITES) {
    const result = await soak(node, site, Math.ceil(forks / SITES.length));
    forked += result.forked;
    leaked += Math.max(0, result.fds);
    failures.push(...result.failures.map((failure) => ({ site, ...failure })));
  }
  const hangs = failures.filter((failure) => 'hung' in failure).length;
  const seconds = ((performance.now() - started) / 1000).toFixed(0);
  console.log(
    `${name}: ${forked} forks from ${SITES.length} call sites in ${seconds} s: ` +
      `${hangs} hangs, ${failures.length - hangs} other failures, ${leaked} leaked descriptors`,
  );
  for (const failure of failures.slice(0, 10)) console.log('  ', JSON.stringify(failure));
  failed ||= failures.length > 0 || leaked > 0 || forked < forks;
}
process.exitCode = failed ? 1 : 0;
