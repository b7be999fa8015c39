'use strict';

// The same script on the published pm2 and on ours must see the same values, errors, events and files, but for what `allowed.js` lists.

const fs = require('node:fs');
const path = require('node:path');
const { REFERENCE, UNDER_TEST, homes, runExactly } = require('../compat/helper');
const { ALLOWED } = require('./allowed');
const { differences } = require('./compare');
const { normalise } = require('./normalise');

const newHome = homes();

const SCENARIOS = fs
  .readdirSync(path.join(__dirname, 'scenarios'))
  .filter((file) => file.endsWith('.js'))
  .map((file) => path.basename(file, '.js'));

/** Less than the limit of the test, so that it is this message which is seen; each wait inside has a shorter one. */
const PATIENCE_MS = 240_000;

/** The transcript of a scenario with one package. The environment is as small as it can be, because it ends up in every record. */
async function transcript(scenario, folder) {
  const home = newHome();
  const resultFile = path.join(path.dirname(home), `${path.basename(home)}.json`);
  const env = { PATH: process.env.PATH, HOME: home, PM2_HOME: home, LANG: 'C.UTF-8', TZ: 'UTC' };
  try {
    const ended = await runExactly(process.execPath, [path.join(__dirname, 'child.js'), scenario, folder, resultFile], env, {
      patience: PATIENCE_MS,
    });
    if (ended.code !== 0) throw new Error(`${scenario} with ${folder}: ${ended.signal || ended.code}\n${ended.stdout}\n${ended.stderr}`);
    return normalise(JSON.parse(fs.readFileSync(resultFile, 'utf8')), home);
  } finally {
    fs.rmSync(resultFile, { force: true });
  }
}

test.each(SCENARIOS)(
  '%s: ours does what the published pm2 does',
  async (scenario) => {
    const [reference, ours] = await Promise.all([transcript(scenario, REFERENCE), transcript(scenario, UNDER_TEST)]);
    const found = differences(scenario, reference, ours, ALLOWED, UNDER_TEST === REFERENCE);
    // One line each: the difference of two big objects is nothing to read.
    expect(found.map(({ path: where, ...sides }) => `${where}: ${JSON.stringify(sides)}`)).toEqual([]);
  },
  250_000,
);
