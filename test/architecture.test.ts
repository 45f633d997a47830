/**
 * The import order of the code base, enforced: native binding → core → operating system; in src/ the layers
 * of test/support/architecture.ts. Each rule is also shown a sample that breaks it, so that a rule which no
 * longer sees anything fails here.
 */

import { describe, expect, it } from 'vitest';
import { checkNative, checkTypeScript, LAYERS, readSources } from './support/architecture.js';
import { root } from './support/paths.js';

describe('the repository', () => {
  it('keeps the order of the TypeScript layers', () => {
    const sources = readSources(root, 'src');
    expect(Object.keys(sources)).toContain('src/native.ts');
    expect(checkTypeScript(sources)).toEqual([]);
  });

  it('keeps Node out of native/core', () => {
    const sources = readSources(root, 'native', 'test/native', 'test/fuzz');
    expect(Object.keys(sources)).toContain('native/binding/addon.cc');
    expect(checkNative(sources)).toEqual([]);
  });
});

describe('the checker of src/', () => {
  it('accepts imports from lower layers and from the same one', () => {
    expect(
      checkTypeScript({
        'src/errors.ts': 'export class E extends Error {}',
        'src/util.ts': "import { E } from './errors.js';\nexport { E };",
        'src/popen/fork.ts':
          "import { E } from '../util.js';\nexport { shared } from './common.js';",
        'src/popen/common.ts': 'export const shared = 1;',
        'src/node-gyp-build.d.ts': 'declare module "node-gyp-build";',
      }),
    ).toEqual([]);
  });

  it.each([
    ['a higher layer', 'src/util.ts', "import { Pool } from './pool.js';"],
    ['a higher layer, re-exported', 'src/util.ts', "export * from './pool.js';"],
    ['a higher layer, from a folder', 'src/popen/fork.ts', "import { Pool } from '../pool.js';"],
    ['a higher layer, for its effect', 'src/native.ts', "import './index.js';"],
  ])('finds an import from %s', (_, file, text) => {
    expect(checkTypeScript({ [file]: text })).toEqual([
      expect.stringContaining(`${file}: imports src/`),
    ]);
  });

  it('lets types be imported from anywhere', () => {
    const text =
      "import type { Context } from './context.js';\nexport type { Pool } from './pool.js';";
    expect(checkTypeScript({ 'src/synchronize.ts': text })).toEqual([]);
  });

  it('finds a cycle', () => {
    expect(
      checkTypeScript({
        'src/queues.ts': "import './sharedctypes.js';",
        'src/sharedctypes.ts': "import './queues.js';",
      }),
    ).toEqual(['import cycle: src/queues.ts → src/sharedctypes.ts → src/queues.ts']);
  });

  it.each(["import('./util.js')", "require('./util.js')", 'import(`node:fs`)'])(
    'finds %s inside a function',
    (call) => {
      const text = `export function f() { return ${call}; }`;
      expect(checkTypeScript({ 'src/pool.ts': text })).toEqual([
        expect.stringContaining('inside a function'),
      ]);
    },
  );

  it('lets a module of the user be loaded by a computed name', () => {
    const text = 'export const load = (url: string) => import(url);';
    expect(checkTypeScript({ 'src/reduction.ts': text })).toEqual([]);
  });

  it.each([
    "import load from 'node-gyp-build';",
    "createRequire(import.meta.url)('../build/Release/multiprocessing.node');",
    'process.dlopen(module, file);',
  ])('finds another loader of the addon: %s', (text) => {
    expect(checkTypeScript({ 'src/posix.ts': text })).toEqual([
      'src/posix.ts: only src/native.ts loads the addon',
    ]);
    expect(checkTypeScript({ 'src/native.ts': text })).toEqual([]);
  });

  it('finds a module without a place', () => {
    expect(checkTypeScript({ 'src/helpers.ts': '' })).toEqual([
      expect.stringContaining('has no place'),
    ]);
  });

  it('names each module once', () => {
    const names = LAYERS.flat();
    expect(new Set(names).size).toBe(names.length);
  });
});

describe('the checker of native/', () => {
  it.each(['<napi.h>', '"napi.h"', '<node_api.h>', '<v8.h>', '<v8-isolate.h>', '<node.h>'])(
    'finds %s in the core',
    (header) => {
      const text = `#pragma once\n#  include ${header}\n`;
      for (const file of [
        'native/core/ring.h',
        'native/core/loop.cc',
        'test/native/ring_test.cc',
      ]) {
        expect(checkNative({ [file]: text })).toHaveLength(1);
      }
      expect(checkNative({ 'native/binding/ring.cc': text })).toEqual([]);
    },
  );

  it('finds libuv outside fork*, loop* and platform*', () => {
    const text = '#include <uv.h>\n';
    expect(checkNative({ 'native/core/ring.cc': text })).toHaveLength(1);
    expect(checkNative({ 'native/core/loop_fork.cc': text })).toEqual([]);
    expect(checkNative({ 'native/core/platform_workers.cc': text })).toEqual([]);
  });

  it('finds the core including the binding', () => {
    const text = '#include "binding/errors.h"\n';
    expect(checkNative({ 'native/core/ring.cc': text })).toHaveLength(1);
  });

  it('finds a throw in the core, not the word in a comment or a string', () => {
    expect(checkNative({ 'native/core/ring.cc': 'void f() { throw 1; }' })).toHaveLength(1);
    const prose = '// never throws, no throw here\nconst char* s = "throw it";\nvoid f() throw();';
    expect(checkNative({ 'native/core/ring.cc': prose })).toEqual([]);
  });
});
