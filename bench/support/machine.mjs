/** Where the figures come from, told in general terms: a benchmark is about ratios. */

import { spawnSync } from 'node:child_process';
import os from 'node:os';
import process from 'node:process';

/** The version of the Python in PATH, null where there is none. */
export function pythonVersion() {
  const script =
    'import platform; print(platform.python_implementation(), platform.python_version())';
  const { status, stdout } = spawnSync('python3', ['-c', script], { encoding: 'utf8' });
  return status === 0 ? stdout.trim() : null;
}

export function machine() {
  return {
    cores: os.availableParallelism(),
    system: `${{ linux: 'Linux', darwin: 'macOS', win32: 'Windows' }[process.platform] ?? process.platform} ${process.arch}`,
    node: `Node ${process.versions.node}`,
    python: pythonVersion() ?? 'no python3',
    date: new Date().toISOString().slice(0, 10),
  };
}

export function describeMachine({ cores, system, node, python, date }) {
  return `${cores} core${cores === 1 ? '' : 's'}, ${system}, ${node}, ${python}, ${date}`;
}

/** A complaint when something else keeps the machine busy; null when it is quiet. */
export function busy() {
  const [load] = os.loadavg();
  if (load <= os.availableParallelism() * 0.3) return null;
  return `the machine is busy (load ${load.toFixed(1)}): compare the ratios, and run again when it is quiet`;
}
