'use strict';

/*
 * What every API test stands on: the package under test, a home of its own for each test, and the check that nothing outlives it.
 *
 * `PM2_PACKAGE` chooses the package: a folder, or the name of a dependency (`pm2-reference` is the published pm2, which shows
 * whether an expectation is true of pm2 or only of us). Default: this repository.
 */

const { execFile } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');

const ROOT = path.join(__dirname, '..', '..');
const FIXTURES = path.join(__dirname, '..', 'fixtures');

/** Longest wait for a condition, in ms. Only a failing test takes it. */
const WAIT_MAX = 60_000;
const POLL = 20;

// pm2's daemon says goodbye with SIGQUIT to the client that killed it. Jest's `process` is a copy that no signal reaches; the real
// one is what a function of Node's own realm sees.
const realProcess = fs.readFileSync.constructor('return process')();
realProcess.removeAllListeners('SIGQUIT');
realProcess.on('SIGQUIT', () => process.emit('SIGQUIT'));

const packageFolder = path.dirname(require.resolve(path.join(resolvePackage(), 'package.json')));
const isReference = JSON.parse(fs.readFileSync(path.join(packageFolder, 'package.json'), 'utf8')).version.startsWith('7.');

/** A test of something that pm2 does otherwise, or not at all: see "Differences from pm2" in the README. */
const testOurs = isReference ? test.skip : test;

function resolvePackage() {
  const chosen = process.env.PM2_PACKAGE;
  if (!chosen) return ROOT;
  return path.isAbsolute(chosen) ? chosen : path.dirname(require.resolve(`${chosen}/package.json`));
}

/** Gives each test of the calling file a home, a folder for its scripts, and an API object; takes it all away afterwards. */
function sandbox() {
  const box = new Sandbox();
  beforeEach(() => box.open());
  afterEach(() => box.close());
  return box;
}

class Sandbox {
  /** Instances that a test made; all are disconnected at its end. */
  #instances = [];
  #extraHomes = [];

  open() {
    this.folder = fs.mkdtempSync('/tmp/p2t');
    this.home = path.join(this.folder, 'h');
    this.pm2 = this.instance();
  }

  /** Another API object on the same home, or with other options. */
  instance(options) {
    const { custom } = require(packageFolder);
    const made = new custom({ pm2_home: this.home, cwd: this.folder, ...options });
    this.#instances.push(made);
    return made;
  }

  /** A second home, watched like the first. */
  extraHome(name) {
    const home = path.join(this.folder, name);
    this.#extraHomes.push(home);
    return home;
  }

  /** Calls a method with a callback, and fails if that runs twice or with an `undefined` error. */
  call(method, ...args) {
    return call(this.pm2, method, ...args);
  }

  /** Starts something and gives the list when all of it is online. */
  async start(...args) {
    await this.call('start', ...args);
    return this.call('list');
  }

  async status(nameOrId) {
    return (await this.call('describe', nameOrId)).map((each) => each.pm2_env.status);
  }

  /** Writes a file into the folder of this test. */
  write(name, text) {
    const file = path.join(this.folder, name);
    fs.mkdirSync(path.dirname(file), { recursive: true });
    fs.writeFileSync(file, text);
    return file;
  }

  read(name) {
    const file = path.resolve(this.folder, name);
    return fs.existsSync(file) ? fs.readFileSync(file, 'utf8') : '';
  }

  log(name) {
    return this.read(path.join(this.home, 'logs', name));
  }

  /** Runs a script in a Node process of its own, which has this test's home in its environment. */
  run(text, { env = {}, args = [], timeout = WAIT_MAX } = {}) {
    const file = this.write(`run-${process.hrtime.bigint()}.js`, text);
    const own = Object.entries(process.env).filter(([name]) => !name.startsWith('PM2_'));
    const variables = { ...Object.fromEntries(own), PM2_HOME: this.home, PM2_UNDER_TEST: packageFolder, ...env };
    const options = { cwd: this.folder, timeout, env: variables };
    return new Promise((resolve) => {
      execFile(process.execPath, [file, ...args], options, (error, stdout, stderr) => {
        resolve({ code: error ? (error.code ?? error.signal) : 0, stdout, stderr });
      });
    });
  }

  async close() {
    const homes = [this.home, ...this.#extraHomes];
    const kept = this.#instances;
    this.#instances = [];
    this.#extraHomes = [];
    for (const home of homes) if (isLaunched(home)) await kill(home);
    for (const each of kept) await new Promise((resolve) => each.disconnect(resolve));
    const left = await settled(homes);
    for (const pid of left.keys()) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // It has just ended.
      }
    }
    fs.rmSync(this.folder, { recursive: true, force: true });
    expect([...left.values()]).toEqual([]);
  }
}

/** One call with a callback as a promise. */
function call(pm2, method, ...args) {
  return new Promise((resolve, reject) => {
    let calls = 0;
    pm2[method](...args, (error, value) => {
      calls += 1;
      if (calls > 1) throw new Error(`the callback of ${method} ran twice`);
      if (error === undefined) reject(new Error(`the callback of ${method} got undefined for an error`));
      else if (error === null) resolve(value);
      else reject(error);
    });
  });
}

/** The error of a call that must fail. */
async function failure(promise) {
  let value;
  try {
    value = await promise;
  } catch (error) {
    return error;
  }
  throw new Error(`expected a failure, got ${JSON.stringify(value)?.slice(0, 200)}`);
}

/** Waits until `condition` gives something truthy, and gives that. */
async function until(condition, what = condition.toString()) {
  const end = Date.now() + WAIT_MAX;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (Date.now() > end) throw new Error(`waited in vain for: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, POLL));
  }
}

function isLaunched(home) {
  // A daemon on its way out has removed its pid file; asking it again would launch another.
  return fs.existsSync(path.join(home, 'pm2.pid'));
}

/** Ends the daemon of a home through an instance of its own. */
async function kill(home) {
  const { custom } = require(packageFolder);
  const pm2 = new custom({ pm2_home: home });
  const killed = new Promise((resolve) => pm2.kill(resolve));
  await Promise.race([killed, new Promise((resolve) => setTimeout(resolve, WAIT_MAX).unref())]);
  await new Promise((resolve) => pm2.disconnect(resolve));
}

/** What still lives once everything has had the time to end. */
async function settled(homes) {
  const left = () => new Map(homes.flatMap((home) => [...living(home)]));
  const end = Date.now() + WAIT_MAX;
  while (left().size > 0 && Date.now() < end) await new Promise((resolve) => setTimeout(resolve, POLL));
  return left();
}

/** Pid → command of every process that has this home in its environment, but for this one. */
function living(home) {
  const found = new Map();
  for (const pid of fs.readdirSync('/proc').filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)) {
    try {
      const variables = fs.readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0');
      if (!variables.includes(`PM2_HOME=${home}`)) continue;
      found.set(Number(pid), fs.readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' '));
    } catch {
      // It has just ended, or is not ours to look at.
    }
  }
  return found;
}

/** The keeper's child that is the daemon of a home, or null while there is none. */
function daemonPid(home) {
  try {
    const keeper = fs.readFileSync(path.join(home, 'pm2.pid'), 'utf8').trim();
    const children = fs.readFileSync(`/proc/${keeper}/task/${keeper}/children`, 'utf8').trim().split(' ');
    return Number(children.find(isDaemon) ?? Number.NaN) || null;
  } catch {
    return null;
  }
}

function isDaemon(pid) {
  try {
    return fs.readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('__daemon');
  } catch {
    // It has just ended.
    return false;
  }
}

function isAlive(pid) {
  try {
    // A zombie has ended.
    return !/^State:\tZ/m.test(fs.readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}

module.exports = {
  Sandbox,
  sandbox,
  call,
  failure,
  until,
  living,
  daemonPid,
  isAlive,
  isReference,
  testOurs,
  packageFolder,
  ROOT,
  FIXTURES,
};
