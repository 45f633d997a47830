/**
 * What a Linux binary asks of the system that loads it: the libraries, and the newest version of each of their symbols.
 * Read by readelf (binutils), which knows every architecture.
 */

import { spawnSync } from 'node:child_process';

/** All that a prebuilt addon may load. Node itself loads each of them. */
const LIBRARIES =
  /^(libc|libm|libdl|librt|libpthread)\.so\.\d+$|^ld-linux-(x86-64|aarch64)\.so\.\d$/;

/** The C library of the oldest system that Node 20 runs on: RHEL 8, Debian 10, Ubuntu 18.10. */
export const GLIBC_BASELINE = '2.28';

/** What is not versioned and not the program's own comes from Node. */
const FROM_NODE = /^(napi_|node_api_|uv_)/;

function readelf(file, ...args) {
  const result = spawnSync('readelf', ['--wide', ...args, file], {
    encoding: 'utf8',
    env: { ...process.env, LC_ALL: 'C' },
  });
  if (result.status !== 0) throw new Error(`readelf ${file}: ${result.error ?? result.stderr}`);
  return result.stdout;
}

export function compareVersions(a, b) {
  return a.localeCompare(b, 'en', { numeric: true });
}

/** `{ libraries, versions: { GLIBC: '2.27' }, unversioned: [names], stripped }` of a binary. */
export function requirementsOf(file) {
  const libraries = [...readelf(file, '--dynamic').matchAll(/\(NEEDED\).*\[(.+)\]/g)].map(
    ([, library]) => library,
  );
  const versions = {};
  const unversioned = [];
  for (const line of readelf(file, '--dyn-syms').split('\n')) {
    const symbol = /\sUND\s+(\S+)/.exec(line)?.[1];
    if (symbol === undefined) continue;
    const [, family, version] = /@+([A-Z]+)_([\d.]+)/.exec(symbol) ?? [];
    if (family === undefined) {
      if (!/\sWEAK\s/.test(line)) unversioned.push(symbol);
    } else if (versions[family] === undefined || compareVersions(versions[family], version) < 0) {
      versions[family] = version;
    }
  }
  const stripped = !/\s\.symtab\s/.test(readelf(file, '--sections'));
  return { libraries, versions, unversioned, stripped };
}

/** What is wrong with a binary that is to be published: nothing, or sentences. */
export function problemsOf({ libraries, versions, unversioned, stripped }) {
  const problems = [];
  for (const library of libraries) {
    if (!LIBRARIES.test(library)) problems.push(`it needs ${library}`);
  }
  for (const [family, version] of Object.entries(versions)) {
    if (family !== 'GLIBC') problems.push(`it needs ${family}_${version}`);
    else if (compareVersions(version, GLIBC_BASELINE) > 0) {
      problems.push(`it needs glibc ${version}, more than ${GLIBC_BASELINE}`);
    }
  }
  const missing = unversioned.filter((name) => !FROM_NODE.test(name));
  if (missing.length > 0) problems.push(`nobody has ${missing.join(', ')}`);
  if (!stripped) problems.push('it is not stripped');
  return problems;
}
