// The same parent, but its forks happen at the top level of a CommonJS program: the import below is of a
// module that is loaded synchronously where Node can, and else of a copy made for the purpose.
const { readFileSync, writeFileSync, mkdirSync } = require('node:fs');
const path = require('node:path');

const source = readFileSync(path.join(__dirname, 'forks.mjs'), 'utf8');
const directory = path.join(__dirname, '../../.tmp');
mkdirSync(directory, { recursive: true });
const file = path.join(directory, `soak-${process.pid}.cjs`);
writeFileSync(
  file,
  source.replace(/^import (.+) from '(.+)';$/gm, (_, names, id) => {
    const pattern = names.replace(/ as /g, ': ');
    return `const ${pattern} = require('${id}');`;
  }),
);
try {
  require(file);
} finally {
  require('node:fs').rmSync(file, { force: true });
}
