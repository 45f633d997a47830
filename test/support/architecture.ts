/**
 * The rules of who may touch whom, as functions over source texts, so that the architecture test can apply
 * them both to the repository and to samples that break them.
 *
 * A new module of src/ gets its place in LAYERS; without one it is a violation.
 */

import { readFileSync, readdirSync } from 'node:fs';
import path from 'node:path';
import ts from 'typescript';

/**
 * From the bottom up. A module imports from its own layer or from lower ones. A folder counts as one module:
 * `popen` is src/popen/*. Files that only declare types are left out.
 */
export const LAYERS: readonly (readonly string[])[] = [
  [
    'native',
    'errors',
    'arguments',
    'system_error',
    'clock',
    'cpu',
    'lazy_builtin',
    'node_internals',
    'at_fork',
    'fork_child',
    'loans',
    'words',
    'heap',
    'fifo',
    'kinship',
    'waiting',
    'watches',
    'fork',
    'posix',
  ],
  ['process'],
  ['util'],
  ['registry', 'references', 'codec', 'reduction', 'resource_tracker', 'sharing'],
  ['transport', 'connection', 'pipe', 'handles', 'synchronize', 'shared_memory'],
  ['queues', 'sharedctypes', 'compiled', 'spawn'],
  ['forkserver', 'preparation'],
  ['popen'],
  ['pool', 'managers'],
  ['context'],
  ['concurrent'],
  ['spawn_child', 'index', 'entry'],
];

/** Sources by path relative to the repository's root, with forward slashes. */
export type Sources = Record<string, string>;

export interface Import {
  specifier: string;
  typeOnly: boolean;
  /** Inside a function: evaluated when it runs, not when the module is loaded. */
  nested: boolean;
}

/** The imports, re-exports and calls of `import()` and `require()` with a literal, of a TypeScript source. */
export function importsOf(file: string, text: string): Import[] {
  const source = ts.createSourceFile(file, text, ts.ScriptTarget.Latest, true);
  const found: Import[] = [];
  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node) && ts.isStringLiteral(node.moduleSpecifier)) {
      const typeOnly = node.importClause?.phaseModifier === ts.SyntaxKind.TypeKeyword;
      found.push({ specifier: node.moduleSpecifier.text, typeOnly, nested: false });
    } else if (
      ts.isExportDeclaration(node) &&
      node.moduleSpecifier !== undefined &&
      ts.isStringLiteral(node.moduleSpecifier)
    ) {
      found.push({
        specifier: node.moduleSpecifier.text,
        typeOnly: node.isTypeOnly,
        nested: false,
      });
    } else if (ts.isCallExpression(node)) {
      const [argument] = node.arguments;
      const callee = node.expression;
      const loads =
        callee.kind === ts.SyntaxKind.ImportKeyword ||
        (ts.isIdentifier(callee) && callee.text === 'require');
      // With a computed argument it loads a module of the user, which is another matter.
      if (loads && argument !== undefined && ts.isStringLiteralLike(argument)) {
        found.push({ specifier: argument.text, typeOnly: false, nested: true });
      }
    }
    ts.forEachChild(node, visit);
  };
  visit(source);
  return found;
}

/** './x.js' as written in src/popen/fork.ts, as the source's own path: src/popen/x.ts. */
function resolveRelative(from: string, specifier: string): string {
  return path.posix.join(path.posix.dirname(from), specifier).replace(/\.js$/, '.ts');
}

/** src/popen/fork.ts is of the module `popen`, src/queues.ts of `queues`. */
function moduleOf(file: string): string {
  return file.slice('src/'.length).split('/')[0]!.replace(/\.ts$/, '');
}

function layerOf(file: string): number {
  return LAYERS.findIndex((layer) => layer.includes(moduleOf(file)));
}

function isModule(file: string): boolean {
  return /^src\/.*\.ts$/.test(file) && !file.endsWith('.d.ts');
}

/** Rules of src/. Type-only imports are free: they vanish when compiled. */
export function checkTypeScript(sources: Sources): string[] {
  const violations: string[] = [];
  const graph = new Map<string, string[]>();
  for (const [file, text] of Object.entries(sources)) {
    if (!isModule(file)) continue;
    const layer = layerOf(file);
    if (layer < 0)
      violations.push(`${file}: has no place in LAYERS of test/support/architecture.ts`);
    if (file !== 'src/native.ts' && /\bdlopen\b|['"`][^'"`\n]*\.node['"`]/.test(text)) {
      violations.push(`${file}: only src/native.ts loads the addon`);
    }
    const edges: string[] = [];
    for (const { specifier, typeOnly, nested } of importsOf(file, text)) {
      if (nested) violations.push(`${file}: imports '${specifier}' inside a function`);
      if (specifier === 'node-gyp-build' && file !== 'src/native.ts') {
        violations.push(`${file}: only src/native.ts loads the addon`);
      }
      if (typeOnly || !specifier.startsWith('.')) continue;
      const target = resolveRelative(file, specifier);
      edges.push(target);
      const targetLayer = layerOf(target);
      if (layer >= 0 && targetLayer > layer) {
        violations.push(`${file}: imports ${target}, which is of a higher layer`);
      }
    }
    graph.set(file, edges);
  }
  return [...violations, ...cyclesOf(graph).map((cycle) => `import cycle: ${cycle.join(' → ')}`)];
}

/** One path for each import that closes a cycle. */
function cyclesOf(graph: ReadonlyMap<string, string[]>): string[][] {
  const cycles: string[][] = [];
  const done = new Set<string>();
  const walk = (file: string, trail: string[]): void => {
    const start = trail.indexOf(file);
    if (start >= 0) {
      cycles.push([...trail.slice(start), file]);
      return;
    }
    if (done.has(file)) return;
    for (const next of graph.get(file) ?? []) walk(next, [...trail, file]);
    done.add(file);
  };
  for (const file of graph.keys()) walk(file, []);
  return cycles;
}

const NODE_HEADERS =
  /^(napi|node_api|js_native_api|node|node_buffer|node_object_wrap|v8|v8-.*|libplatform\/.*|cppgc\/.*)\.h$/;

/** Rules of native/ and test/native/: binding → core → operating system. */
export function checkNative(sources: Sources): string[] {
  const violations: string[] = [];
  for (const [file, text] of Object.entries(sources)) {
    if (!/\.(cc|h)$/.test(file) || file.includes('/doctest/')) continue;
    if (file.startsWith('native/binding/')) continue;
    for (const [, header = ''] of text.matchAll(/^[ \t]*#[ \t]*include[ \t]*[<"]([^>"]+)[>"]/gm)) {
      if (NODE_HEADERS.test(header)) {
        violations.push(`${file}: includes ${header}, which only native/binding may`);
      }
      if (/(^|\/)binding\//.test(header)) {
        violations.push(`${file}: includes ${header}; the core does not know the binding`);
      }
      // libuv is the one piece of Node that the core may see, in files that the core tests leave out.
      if (/^uv(\/.*)?\.h$/.test(header) && !/\/(fork|loop|platform)[^/]*$/.test(file)) {
        violations.push(`${file}: includes ${header}, which only fork*, loop* and platform* may`);
      }
    }
    if (file.startsWith('native/core/') && /\bthrow\b(?!\()/.test(withoutComments(text))) {
      violations.push(`${file}: throws; the core returns results`);
    }
  }
  return violations;
}

function withoutComments(text: string): string {
  return text.replace(/\/\/.*|\/\*[^]*?\*\/|"(?:\\.|[^"\\\n])*"/g, '');
}

/** The repository's sources below `directories`. */
export function readSources(root: string, ...directories: string[]): Sources {
  const sources: Sources = {};
  for (const directory of directories) {
    for (const entry of readdirSync(path.join(root, directory), {
      recursive: true,
      withFileTypes: true,
    })) {
      if (!entry.isFile()) continue;
      const absolute = path.join(entry.parentPath, entry.name);
      const relative = path.relative(root, absolute).replaceAll(path.sep, '/');
      if (/\.(ts|cc|h)$/.test(relative)) sources[relative] = readFileSync(absolute, 'utf8');
    }
  }
  return sources;
}
