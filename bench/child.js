'use strict';

/**
 * One phase of one benchmark in a process of its own: `node child.js <case> <phase> <package>`.
 *
 * Nothing of the package is loaded before the case asks for it, so that loading can be measured too.
 * The result goes to the file named by BENCH_RESULT: stdout belongs to the package under test.
 */

const fs = require('node:fs');
const path = require('node:path');
const { context } = require('./lib/context');

const [caseName, phase, packagePath] = process.argv.slice(2);
const theCase = require(path.join(__dirname, 'cases', caseName));

theCase[phase](context(packagePath)).then(
  (result) => {
    fs.writeFileSync(process.env.BENCH_RESULT, JSON.stringify(result || {}));
    process.exit(0);
  },
  (error) => {
    process.stderr.write(`${error && error.stack ? error.stack : JSON.stringify(error)}\n`);
    process.exit(1);
  },
);
