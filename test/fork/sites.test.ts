/** Row 7: where start() may be called. The tops of modules are programs of their own. */

import { describe, expect, test } from 'vitest';
import { testCases } from '../conformance/cases.js';
import { report, runOk, type Program } from '../support/fixture.js';

describe('start() is called', () => {
  testCases('fork/sites.mjs');
});

/** What follows the start at the top of a module, in whichever module system. */
const BODY = `
  const live = async () => {
    await new Promise((resolve) => setTimeout(resolve, 1));
    await new Promise((resolve) => process.nextTick(resolve));
    await fs.promises.stat('.');
    console.log('child');
  };
  const child = new mp.Process({ target: live });
  try {
    child.start();
    child.join();
    console.log('exit code', child.exitcode);
  } finally {
    console.log('finally');
  }
`;
const IMPORTS = `import mp from 'node-multiprocessing'; import fs from 'node:fs';`;
const REQUIRES = `const mp = require('node-multiprocessing'), fs = require('node:fs');`;
const EXPECTED = 'child\nexit code 0\nfinally\n';

const TOPS: Record<string, { program: Program; output?: string }> = {
  'an ES module': { program: { mjs: IMPORTS + BODY } },
  'an ES module after await': {
    program: { mjs: `${IMPORTS} await null; ${BODY} await null; console.log('end');` },
    output: `${EXPECTED}end\n`,
  },
  'an ES module after await of a timer': {
    program: {
      mjs: `${IMPORTS} await new Promise((resolve) => setTimeout(resolve, 2)); ${BODY} console.log('end');`,
    },
    output: `${EXPECTED}end\n`,
  },
  'an ES module in for await': {
    program: {
      mjs: `${IMPORTS} for await (const i of [1, 2]) { ${BODY} } console.log('end');`,
    },
    output: `${EXPECTED}${EXPECTED}end\n`,
  },
  'an imported ES module': {
    program: {
      mjs: `const text = ${JSON.stringify(IMPORTS + BODY)}.replaceAll("from 'node-multiprocessing'",
              'from ' + JSON.stringify(import.meta.resolve('node-multiprocessing')));
            await import('data:text/javascript,' + encodeURIComponent(text)); console.log('end');`,
    },
    output: `${EXPECTED}end\n`,
  },
  'a CommonJS module': { program: { cjs: REQUIRES + BODY } },
  'a CommonJS module that is required': {
    program: {
      cjs: `const { Module } = require('node:module'); const module_ = new Module(__filename + '.inner');
            module_.filename = module_.id; module_.paths = module.paths;
            module_._compile(${JSON.stringify(REQUIRES + BODY)}, __filename); console.log('end');`,
    },
    output: `${EXPECTED}end\n`,
  },
  'a CommonJS module that an ES module imports': {
    program: {
      mjs: `import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);
            ${REQUIRES} { ${BODY} } console.log('end');`,
    },
    output: `${EXPECTED}end\n`,
  },
  'a CommonJS module in an async main': {
    program: { cjs: `${REQUIRES} (async () => { ${BODY} await null; console.log('end'); })();` },
    output: `${EXPECTED}end\n`,
  },
};

describe('start() is called at the top of', () => {
  for (const [title, { program, output = EXPECTED }] of Object.entries(TOPS)) {
    test(title, async () => {
      const result = await runOk(program);
      expect(result.stdout, report(result)).toBe(output);
      expect(result.stderr).toBe('');
    });
  }

  test('--eval', async () => {
    for (const [flags, text] of [
      [[], REQUIRES + BODY],
      [['--input-type=module'], IMPORTS + BODY],
    ] as const) {
      const program = {
        cjs: `const { execFileSync } = require('node:child_process');
              process.stdout.write(execFileSync(process.execPath, ${JSON.stringify([...flags, '-e', text])}));`,
      };
      const result = await runOk(program);
      expect(result.stdout, report(result)).toBe(EXPECTED);
    }
  });

  test('a module that --require preloads, whose main module then runs in the parent only', async () => {
    const program = {
      cjs: `if (module.parent == null && require.main === module) console.log('main');
            else { ${REQUIRES} ${BODY} }`,
    };
    const again = {
      cjs: `const { execFileSync } = require('node:child_process'); const fs = require('node:fs');
            const text = ${JSON.stringify(program.cjs)}; const file = __filename + '.preload.cjs';
            fs.writeFileSync(file, text);
            try { process.stdout.write(execFileSync(process.execPath, ['--require', file, '-e', 'console.log("main")'])); }
            finally { fs.unlinkSync(file); }`,
    };
    const result = await runOk(again);
    expect(result.stdout, report(result)).toBe(`${EXPECTED}main\n`);
  });
});
