'use strict';

/**
 * Measures two packages against each other: `node bench/run.js [--only name,…] [--rounds n] [--a path] [--b path] [--json file]`.
 *
 * A is this repository, B the published pm2. The rounds alternate (A B A B …, and B A B A … every other time), each phase in
 * fresh processes, each round in a PM2_HOME of its own, of which nothing is left afterwards.
 */

const { spawn } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');
const { parseArgs } = require('node:util');
const homes = require('./lib/home');
const packages = require('./lib/packages');
const { summary } = require('./lib/statistics');
const { judge, table, machine } = require('./lib/report');

/** A phase that takes longer has hung; a case may have a limit of its own, `phaseMs`. */
const PHASE_MS = 180_000;

/** Without a word on the command line: enough for a median that holds, few enough for a coffee break. */
const DEFAULT_ROUNDS = 5;

function caseNames() {
  return fs
    .readdirSync(path.join(__dirname, 'cases'))
    .filter((file) => file.endsWith('.js'))
    .map((file) => path.basename(file, '.js'))
    .sort();
}

function options() {
  const { values } = parseArgs({
    options: {
      only: { type: 'string', multiple: true },
      rounds: { type: 'string' },
      a: { type: 'string' },
      b: { type: 'string' },
      json: { type: 'string' },
      list: { type: 'boolean' },
    },
  });
  const only = (values.only || []).flatMap((names) => names.split(','));
  const names = caseNames().filter((name) => only.length === 0 || only.includes(name));
  const unknown = only.filter((name) => !caseNames().includes(name));
  if (unknown.length) throw new Error(`no such benchmark: ${unknown.join(', ')}; there are: ${caseNames().join(', ')}`);
  if (values.rounds !== undefined && !(Number(values.rounds) >= 1)) throw new Error(`--rounds ${values.rounds}: a number from 1`);
  return {
    names,
    rounds: values.rounds && Number(values.rounds),
    a: path.resolve(values.a || packages.OURS),
    b: values.b ? path.resolve(values.b) : packages.reference(),
    json: values.json,
    list: values.list,
  };
}

/** The environment of a round: the caller's without anything that would steer either package. */
function environment(home, resultFile) {
  const env = { ...process.env, PM2_HOME: home, BENCH_RESULT: resultFile };
  for (const name of Object.keys(env)) {
    if (/^(PM2_|NODE_CHANNEL|NODE_OPTIONS|pm_|pm2_)/.test(name) && name !== 'PM2_HOME') delete env[name];
  }
  return env;
}

/** Runs one phase and gives what it wrote. */
function phase(caseName, name, packagePath, home, limit = PHASE_MS) {
  const resultFile = path.join(home, 'bench-result.json');
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [path.join(__dirname, 'child.js'), caseName, name, packagePath], {
      cwd: home,
      env: environment(home, resultFile),
      stdio: ['ignore', 'ignore', 'pipe'],
      timeout: limit,
      killSignal: 'SIGKILL',
    });
    let errors = '';
    child.stderr.on('data', (chunk) => {
      errors += chunk;
    });
    child.on('error', reject);
    // 'exit', not 'close': a daemon may have inherited stderr and keep it open.
    child.on('exit', (code, signal) => {
      child.stderr.destroy();
      if (code !== 0) reject(new Error(`${caseName}/${name} with ${packagePath}: ${signal || `exit ${code}`}\n${errors}`));
      else resolve(JSON.parse(fs.readFileSync(resultFile, 'utf8')));
    });
  });
}

/** One round of one case with one package: the phases it has, in order; what is left over is removed. */
async function round(caseName, theCase, packagePath) {
  const home = homes.create();
  try {
    if (theCase.prepare) await phase(caseName, 'prepare', packagePath, home, theCase.phaseMs);
    return await phase(caseName, 'measure', packagePath, home, theCase.phaseMs);
  } finally {
    await homes.destroy(home);
  }
}

async function runCase(name, settings) {
  const theCase = require(path.join(__dirname, 'cases', name));
  const rounds = settings.rounds || theCase.rounds || DEFAULT_ROUNDS;
  const samples = { a: [], b: [] };
  for (let i = 0; i < rounds; i += 1) {
    for (const side of i % 2 ? ['b', 'a'] : ['a', 'b']) {
      samples[side].push(await round(name, theCase, settings[side]));
      process.stderr.write(side);
    }
  }
  process.stderr.write(` ${name}\n`);
  return theCase.metrics.map((metric) => {
    const of = (side) => summary(samples[side].map((sample) => metric.value(sample)));
    return judge({ case: name, label: metric.label, unit: metric.unit, target: metric.target, a: of('a'), b: of('b') });
  });
}

async function main() {
  const settings = options();
  if (settings.list) {
    process.stdout.write(`${settings.names.join('\n')}\n`);
    return;
  }
  const results = [];
  for (const name of settings.names) {
    results.push(...(await runCase(name, settings)));
  }
  const where = machine();
  process.stdout.write(`\n${table(results)}\n\n${where.text}\n`);
  if (settings.json) fs.writeFileSync(settings.json, `${JSON.stringify({ machine: where, results }, null, 2)}\n`);
}

main().catch((error) => {
  process.stderr.write(`${error.message}\n`);
  process.exit(1);
});
