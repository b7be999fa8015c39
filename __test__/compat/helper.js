'use strict';

/**
 * What the tests with published programs share: where the programs are, a PM2_HOME per test, and the promise that no process
 * is left of it.
 *
 * `PM2_UNDER_TEST` (a folder with a pm2 package) replaces this repository's package as the one that starts the daemon, so that a test
 * can be tried on the published pm2 first. `PM2_REFERENCE` replaces the development dependency `pm2-reference`, and `PM2_CLIENTS` is a
 * further folder to look for published clients in.
 */

const { spawn } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { setTimeout: pause } = require('node:timers/promises');
const { processesOf, managerOf } = require('../../bench/lib/processes');

const ROOT = path.resolve(__dirname, '..', '..');

/** How long anything may take before a test fails instead of hanging. */
const PATIENCE_MS = 100_000;

// Two of the longest waits, and what comes before and after.
jest.setTimeout(3 * PATIENCE_MS);

/** Folder of an installed package: beside this repository's own, else beside the reference. */
function installed(name) {
  const paths = [ROOT];
  if (process.env.PM2_REFERENCE) paths.push(path.dirname(process.env.PM2_REFERENCE));
  if (process.env.PM2_CLIENTS) paths.push(path.resolve(process.env.PM2_CLIENTS));
  return path.dirname(require.resolve(`${name}/package.json`, { paths }));
}

/** As `installed`, or null. */
function maybeInstalled(name) {
  try {
    return installed(name);
  } catch {
    return null;
  }
}

/** The published pm2 7.0.4. */
const REFERENCE = process.env.PM2_REFERENCE ? path.resolve(process.env.PM2_REFERENCE) : installed('pm2-reference');

/** The package whose daemon is tested. */
const UNDER_TEST = process.env.PM2_UNDER_TEST ? path.resolve(process.env.PM2_UNDER_TEST) : ROOT;

/** The caller's environment without what would steer pm2, with `PM2_HOME` set. */
function environment(home, extra) {
  const env = { ...process.env, PM2_HOME: home, ...extra };
  for (const name of Object.keys(env)) {
    if (/^(PM2_|NODE_CHANNEL|NODE_OPTIONS|JEST_|pm_|pm2_)/.test(name) && name !== 'PM2_HOME') delete env[name];
  }
  return env;
}

/** Runs a program for a home to its end. Gives `{ code, signal, stdout, stderr }`; a program that does not end is killed and fails. */
function run(command, args, { home, cwd, env, input } = {}) {
  return runExactly(command, args, environment(home, env), { cwd: cwd || home, input });
}

/** As `run`, with this environment and nothing else in it, and no longer than `patience` ms. */
function runExactly(command, args, env, { cwd, input, patience = PATIENCE_MS } = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd, env, stdio: ['pipe', 'pipe', 'pipe'] });
    const text = { stdout: '', stderr: '' };
    const deadline = setTimeout(() => {
      child.kill('SIGKILL');
      reject(new Error(`${command} ${args.join(' ').slice(0, 200)} does not end\n${text.stdout}\n${text.stderr}`));
    }, patience);
    for (const stream of ['stdout', 'stderr']) {
      child[stream].on('data', (chunk) => {
        text[stream] += chunk;
      });
    }
    child.stdin.on('error', () => {});
    child.stdin.end(input || '');
    child.on('error', reject);
    child.on('exit', (code, signal) => {
      clearTimeout(deadline);
      // What was written before the exit is in the pipe; a daemon that inherited it would keep it open for ever.
      setImmediate(() => {
        child.stdout.destroy();
        child.stderr.destroy();
        resolve({ code, signal, ...text });
      });
    });
  });
}

/**
 * Starts a program that does not end by itself. Gives `{ output(), hasEnded(), end() }`; `end` kills it and waits until it is gone.
 */
function live(file, { home, env } = {}) {
  const child = spawn(process.execPath, [file], { cwd: home, env: environment(home, env), stdio: ['ignore', 'pipe', 'pipe'] });
  let text = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk) => {
      text += chunk;
    });
  }
  const gone = new Promise((resolve) => child.on('exit', resolve));
  return {
    output: () => text,
    hasEnded: () => child.exitCode !== null || child.signalCode !== null,
    end: () => {
      child.kill('SIGKILL');
      return gone;
    },
  };
}

/** The published CLI: `cli(home, 'restart', 'app')`. Colours are taken out of what it printed. */
function cli(home, ...args) {
  return cliOf(REFERENCE, home, ...args);
}

/** The command line of the pm2 package in `folder`. */
async function cliOf(folder, home, ...args) {
  const result = await run(process.execPath, [path.join(folder, 'bin', 'pm2'), ...args], { home, cwd: home });
  // biome-ignore lint/suspicious/noControlCharactersInRegex: that is what colours begin with.
  const plain = (text) => text.replace(/\u001b\[[0-9;]*m/g, '');
  return { ...result, stdout: plain(result.stdout), stderr: plain(result.stderr) };
}

/** What is put around a piece of script that runs in a process of its own. */
function wrapped(folder, body, argument) {
  return `
    'use strict';
    const pm2 = require(${JSON.stringify(folder)});
    const call = (object, method, ...args) => new Promise((resolve, reject) => {
      object[method](...args, (error, value) => (error ? reject(error) : resolve(value)));
    });
    const until = async (condition) => {
      for (;;) {
        const value = await condition();
        if (value) return value;
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
    };
    const body = ${body.toString()};
    Promise.resolve(body({ pm2, call, until }, ${JSON.stringify(argument)})).then(
      (value) => {
        require('node:fs').writeFileSync(process.env.TEST_RESULT, JSON.stringify({ value: value === undefined ? null : value }));
        pm2.disconnect(() => process.exit(0));
        setTimeout(() => process.exit(0), 1000);
      },
      (error) => {
        console.error(error && error.stack ? error.stack : error);
        process.exit(1);
      },
    );`;
}

let results = 0;

/**
 * Runs `body({ pm2, call, until }, argument)` with the package in `folder`, in a process of its own, and gives its value.
 * `body` travels as text: it sees nothing of the test around it.
 */
async function script(folder, home, body, argument) {
  results += 1;
  const file = path.join(home, `result-${process.pid}-${results}.json`);
  const ended = await run(process.execPath, ['-e', wrapped(folder, body, argument)], {
    home,
    cwd: home,
    env: { TEST_RESULT: file },
  });
  if (ended.code !== 0) throw new Error(`script ended with ${ended.signal || ended.code}\n${ended.stdout}\n${ended.stderr}`);
  const { value } = JSON.parse(fs.readFileSync(file, 'utf8'));
  fs.unlinkSync(file);
  return value;
}

/** Has the package under test start its daemon; gives the pids of the manager. */
async function startDaemon(home) {
  await script(UNDER_TEST, home, async ({ pm2, call }) => {
    await call(pm2, 'connect');
  });
  return managerOf(home);
}

/** Waits for a condition; the message says for what. */
async function waitFor(what, condition) {
  const end = Date.now() + PATIENCE_MS;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (Date.now() > end) throw new Error(`waited in vain for: ${what}`);
    await pause(20);
  }
}

/** Ends what runs for a home the way a user does (SIGTERM to the pid in `pm2.pid`); gives the command lines of what stayed. */
async function endHome(home) {
  const [first] = managerOf(home);
  if (first) process.kill(first, 'SIGTERM');
  const end = Date.now() + PATIENCE_MS;
  while (processesOf(home).length > 0 && Date.now() < end) await pause(20);
  const left = processesOf(home);
  const names = left.map((pid) => {
    let words = '';
    try {
      words = fs.readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim();
    } catch {
      // Gone while we looked: still worth a line, it was late.
    }
    return `${pid} ${words}`;
  });
  for (const pid of left) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      // Gone by itself.
    }
  }
  return names;
}

/**
 * A function that gives each test its own PM2_HOME. After the test the daemon is asked to end; a process that stays fails the test
 * (and is killed). Call it at the top of a test file.
 */
function homes() {
  const made = [];
  afterEach(async () => {
    const left = [];
    for (const { base, home } of made.splice(0)) {
      left.push(...(await endHome(home)));
      fs.rmSync(base, { recursive: true, force: true });
    }
    if (left.length) throw new Error(`processes are left:\n${left.join('\n')}`);
  });
  return (inside = '') => {
    // Short, because the path of a socket ends after about a hundred bytes.
    const base = fs.realpathSync(fs.mkdtempSync(path.join(os.tmpdir(), 'pc.')));
    const home = path.join(base, inside);
    fs.mkdirSync(home, { recursive: true });
    made.push({ base, home });
    return home;
  };
}

/** Writes an app into the home's own folder and gives its path. */
function writeApp(home, name, source) {
  const file = path.join(home, name);
  fs.writeFileSync(file, source);
  return file;
}

/** An app that says it is there, answers messages and counts. */
const ANSWERING_APP = `
  console.log('hello from ' + process.env.name);
  console.error('trouble from ' + process.env.name);
  process.on('message', (packet) => {
    process.send({ type: 'test:answer', data: { got: packet.data, id: packet.id } });
  });
  process.stdin.on('data', (line) => console.log('line: ' + String(line).trim()));
  setInterval(() => {}, 1 << 30);
`;

module.exports = {
  ANSWERING_APP,
  REFERENCE,
  ROOT,
  UNDER_TEST,
  PATIENCE_MS,
  cli,
  cliOf,
  endHome,
  environment,
  homes,
  installed,
  live,
  maybeInstalled,
  managerOf,
  processesOf,
  run,
  runExactly,
  script,
  startDaemon,
  waitFor,
  writeApp,
};
