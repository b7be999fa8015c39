'use strict';

/** Runs one scenario with one package: `node child.js <scenario> <package> <result file>`. */

const fs = require('node:fs');
const path = require('node:path');
const { World } = require('./world');

const [scenario, folder, resultFile] = process.argv.slice(2);
const { run } = require(path.join(__dirname, 'scenarios', scenario));

async function main() {
  // Before the package is loaded: it remembers the directory of that moment.
  const world = new World(process.env.PM2_HOME);
  process.chdir(world.work);
  world.pm2 = require(folder);
  await world.begin();
  await run(world);
  await world.settle();
  fs.writeFileSync(resultFile, JSON.stringify(world.transcript()));
}

main().then(
  () => process.exit(0),
  (error) => {
    process.stderr.write(`${(error && error.stack) || error}\n`);
    process.exit(1);
  },
);
