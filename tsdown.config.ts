/**
 * Builds src/ into lib/.
 *
 * There is exactly one compiled implementation, the CommonJS one, in one file per entry and one for what they
 * share: a file for each module of src/ would double the time that loading the package takes. What `import`
 * finds is a wrapper of a few lines that re-exports it: a process that loads the package both ways has one
 * current process, one set of children, one copy of each class. The wrapper's list of names comes from the
 * compiler, not from running the build.
 */

import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { defineConfig } from 'tsdown';
import manifest from './package.json' with { type: 'json' };

const lib = path.resolve('lib');

/** The public entries are what package.json exports: './posix' is lib/posix.cjs, of src/posix.ts. */
const publicEntries = Object.values(manifest.exports)
  .filter((target): target is Exclude<typeof target, string> => typeof target === 'object')
  .map((target) => path.basename(target.require.default, '.cjs'));

/** What runs first in a child is loaded by path, never imported: each file is an entry of its own. */
const processEntries = existsSync('src/entry')
  ? readdirSync('src/entry')
      .filter((file) => file.endsWith('.ts'))
      .map((file) => `entry/${path.basename(file, '.ts')}`)
  : [];

/** What src/lazy_builtin.ts loads late, parts that would double the time of an import; and what only tests load yet. */
const lateEntries = [
  'codec',
  'compiled',
  'forkChild',
  'forkserver',
  'handles',
  'pool',
  'spawn',
  'spawnChild',
];

/** Sub-paths are camelCase, as every name of the package; sources have CPython's names: shared_memory.ts. */
function sourceOf(entry: string): string {
  const stem = entry.replace(/(?=[A-Z])/g, '_').toLowerCase();
  return `src/${stem}.ts`;
}

function wrapper(entry: string, names: string[]): { code: string; types: string } {
  const file = `./${path.basename(entry)}.cjs`;
  const named = names.filter((name) => name !== 'default');
  const hasDefault = names.includes('default');
  const code = [
    '// Re-exports the one implementation, which is CommonJS, to `import`.',
    // `import` would have node compile its lexer of CommonJS first, for the names that are listed here.
    "import { createRequire } from 'node:module';",
    `const implementation = createRequire(import.meta.url)('${file}');`,
    // Not `const { Array } = …`: a local binding would shadow the global of that name for nobody's good.
    ...named.map((name) => `const $${name} = implementation.${name};`),
    ...(named.length > 0
      ? [`export {\n${named.map((name) => `  $${name} as ${name},`).join('\n')}\n};`]
      : ['export {};']),
    ...(hasDefault ? ['export default implementation.default;'] : []),
  ];
  const types = [
    `export * from '${file}';`,
    ...(hasDefault
      ? [
          `import implementation from '${file}';`,
          'declare const defaultExport: typeof implementation.default;',
          'export default defaultExport;',
        ]
      : []),
  ];
  return { code: code.join('\n') + '\n', types: types.join('\n') + '\n' };
}

/**
 * The bundler has what the files share exported by getters, each with a function of its own. For what is not assigned
 * to later a value does, and is read faster. They are the file's last lines: the source map holds.
 */
const GETTER =
  /Object\.defineProperty\(exports, '([\w$]+)', \{\s*enumerable: true,\s*get: function \(\) \{\s*return ([\w$]+);\s*\}\s*\}\);/g;

const plainExports = {
  name: 'plain-exports',
  renderChunk(code: string) {
    return code.replace(GETTER, (getter: string, name: string, local: string) => {
      const isVariable = code.includes(`\nlet ${local} `) || code.includes(`\nlet ${local};`);
      return isVariable ? getter : `exports.${name} = ${local};`;
    });
  },
};

/**
 * Only strings have other characters than ASCII's. One of them would have node keep the whole text in two bytes a
 * character, and decode it slowly; src/entry/spawn.ts reads ASCII alone.
 */
const plainCharacters = {
  name: 'plain-characters',
  renderChunk: (code: string) =>
    code.replace(/[^\0-\x7f]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`),
};

const DECLARATION = /\.d\.[cm]?ts$/;

export default defineConfig({
  entry: Object.fromEntries(
    [...publicEntries, ...lateEntries, ...processEntries].map((entry) => [entry, sourceOf(entry)]),
  ),
  outDir: 'lib',
  // Emptying lib/ would pull it from under running programs; scripts/build.mjs does so before packing.
  clean: false,
  format: 'cjs',
  fixedExtension: true,
  platform: 'node',
  target: 'node20',
  dts: { sourcemap: true },
  sourcemap: true,
  minify: false,
  treeshake: false,
  outputOptions: {
    exports: 'named',
    // A third of the text, which every process that loads the package would read; src/ and the declarations have them.
    comments: false,
    // The maps name the files of src/, which are in the package.
    sourcemapExcludeSources: true,
    chunkFileNames: '[name].cjs',
    // Declarations are modules as well, and belong into a file of their own.
    codeSplitting: {
      groups: [
        { name: 'shared.d', test: DECLARATION, minShareCount: 2, priority: 2 },
        // Without what late entries alone share.
        {
          name: 'shared',
          test: /^(?!.*(?:node_internals|transport|preparation|src\/forkserver|src\/spawn))/,
          minShareCount: 2,
          priority: 1,
        },
      ],
    },
  },
  plugins: [plainExports, plainCharacters],
  hooks: {
    'build:done': ({ chunks }) => {
      for (const chunk of chunks) {
        if (chunk.type !== 'chunk' || !chunk.isEntry || !chunk.fileName.endsWith('.cjs')) continue;
        const entry = chunk.fileName.slice(0, -'.cjs'.length);
        if (!publicEntries.includes(entry)) continue;
        const { code, types } = wrapper(entry, chunk.exports);
        writeFileSync(path.join(lib, `${entry}.mjs`), code);
        writeFileSync(path.join(lib, `${entry}.d.mts`), types);
      }
    },
  },
});
