'use strict';

const fs = require('node:fs');
const path = require('node:path');

/** How long a JSON file, which may be any JavaScript expression, may take to evaluate, in ms. */
const EVALUATION_MAX = 1000;

/** How long a JavaScript file may take, in ms. Some load a compiler first. */
const MODULE_MAX = 10_000;

/** Memory of one, in MB, and the longest file and value that are taken. */
const MEMORY_MAX = 512;
const TEXT_MAX = 16 * 1024 * 1024;

/** Text in a name → how that file is read. pm2 looks for the text anywhere in the name. */
const KINDS = [
  ['.json', readJson],
  ['.yml', readText],
  ['.yaml', readText],
  ['.config.js', readModule],
  ['.config.cjs', readModule],
  ['.config.mjs', readModule],
];

/** Whether a string given to an action means a configuration file. */
function isConfigFile(name) {
  return KINDS.some(([text]) => name.includes(text));
}

/**
 * What an action needs to know of a configuration file: `{apps, file}` with its value, or `{apps_text, file}` for what is not JavaScript.
 * What is has `variables` too: those of `process.env` that it has changed, null for one that it has deleted. Fails with one Error that names the file, and line and column where there are any.
 */
async function readConfig(name, cwd) {
  const file = path.resolve(cwd, name);
  const [, read] = KINDS.find(([text]) => path.basename(file).includes(text)) ?? KINDS.find(([text]) => name.includes(text)) ?? KINDS[0];
  return read(file);
}

/** JSON text that may have comments, unquoted keys and the like, as a value. `name` is for the error. */
function parse(text, name) {
  try {
    return JSON.parse(text);
  } catch {
    return evaluate(text, name);
  }
}

function readJson(file) {
  return { apps: requireApps(parse(readFile(file), file), file), file };
}

function readText(file) {
  return { apps_text: readFile(file), file };
}

async function readModule(file) {
  requireFile(file);
  let loaded;
  try {
    loaded = await load(file);
  } catch (error) {
    throw malformed(file, error, positionIn(file, error));
  }
  return { apps: requireApps(loaded.value, file), file, variables: loaded.variables };
}

function readFile(file) {
  requireFile(file);
  return fs.readFileSync(file, 'utf8').replace(/^\uFEFF/, '');
}

/** Fails unless there is a file of a size to be read. What is no regular file may never end, or never begin. */
function requireFile(file) {
  const refuse = (reason, members) => Object.assign(new Error(`File ${file} ${reason}`), members);
  let found;
  try {
    found = fs.statSync(file);
    fs.accessSync(file, fs.constants.R_OK);
  } catch (error) {
    const reason = error.code === 'ENOENT' ? 'not found' : `cannot be read: ${error.message}`;
    throw refuse(reason, { code: error.code, cause: error });
  }
  const problem = found.isFile() ? found.size > TEXT_MAX && `is longer than ${TEXT_MAX} bytes` : 'is no regular file';
  if (problem) throw refuse(problem, { code: 'ERR_PM2_CONFIG', file });
}

/** Runs the file afresh, in a thread that ends when it takes too long. */
function load(file) {
  const { Worker } = require('node:worker_threads');
  const worker = new Worker(path.join(__dirname, 'config.js'), {
    workerData: { file },
    argv: process.argv.slice(2),
    stdout: true,
    stderr: true,
    resourceLimits: { maxOldGenerationSizeMb: MEMORY_MAX },
  });
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`has no value after ${MODULE_MAX} ms`)), MODULE_MAX);
    worker.once('exit', (code) => {
      clearTimeout(timer);
      reject(new Error(`ended with code ${code} instead of giving a value`));
    });
    worker.once('error', reject);
    worker.on('message', ({ json, variables, error, ...request }) => {
      if (request.port !== undefined) answer(request);
      else if (error !== undefined) reject(Object.assign(new Error(error.message), error));
      else if (json === undefined || json.length <= TEXT_MAX)
        resolve({ value: json === undefined ? undefined : JSON.parse(json), variables });
      else reject(new Error(`has a value of more than ${TEXT_MAX} characters`));
    });
  }).finally(() => worker.terminate());
}

/** Does for a file what its thread may not do (see `config.js`). The thread waits for the signal. */
function answer({ name, args, port, signal }) {
  try {
    port.postMessage({ value: process[name](...args) });
  } catch (problem) {
    // What is code, path and the like would be lost on an Error.
    port.postMessage({ error: { ...problem, name: problem.name, message: problem.message } });
  }
  Atomics.store(signal, 0, 1);
  Atomics.notify(signal, 0);
}

/**
 * Evaluates `text` as one JavaScript expression. It becomes JSON text within the time limit, so that no getter can run on
 * our side, and nothing of this realm is reachable from it.
 */
function evaluate(text, name) {
  const vm = require('node:vm');
  const before = 'JSON.stringify((';
  try {
    const script = new vm.Script(`${before}${text}\n))`, { filename: name, columnOffset: -before.length });
    const json = script.runInNewContext({ process: facts() }, { timeout: EVALUATION_MAX });
    return json === undefined ? undefined : JSON.parse(json);
  } catch (error) {
    const position = positionIn(name, error, { text, before });
    // The parser stumbles over what we put behind the text, which its author has never seen.
    const shown = position?.isEnd ? new SyntaxError('Unexpected end of input', { cause: error }) : error;
    throw malformed(name, shown, position);
  }
}

/** What a JSON file may read of the process; some take a port or a folder from the environment. */
function facts() {
  const { platform, arch, version } = process;
  return { env: { ...process.env }, platform, arch, version };
}

/** Line and column that an error's stack tells for `file`. */
function positionIn(file, error, source) {
  const lines = String(error?.stack ?? '').split('\n');
  const called = lines.find((line) => line.trim().startsWith('at ') && line.includes(`${file}:`));
  const [, line, column] = /:(\d+):(\d+)\)?$/.exec(called ?? '') ?? [];
  if (line !== undefined && source === undefined) return { line: Number(line), column: Number(column) };
  // V8 draws a syntax error: the place, the source line, and a caret below it.
  const head = lines.findIndex((each) => each.startsWith(`${file}:`));
  const caret = lines.findIndex((each, index) => index > head && /^\s*\^+\s*$/.test(each));
  if (head === -1 || caret === -1) return null;
  const position = { line: Number(/:(\d+)$/.exec(lines[head])[1]), column: lines[caret].indexOf('^') + 1 };
  return source === undefined ? position : within(position, source);
}

/** The same place in the file's own text, without what was put around it. */
function within({ line, column }, { text, before }) {
  const own = text.split('\n');
  if (line > own.length) return { line: own.length, column: own[own.length - 1].length + 1, isEnd: true };
  return { line, column: Math.max(1, line === 1 ? column - before.length : column) };
}

function malformed(file, error, position) {
  const place = position === null ? '' : ` (line ${position.line}, column ${position.column})`;
  const reason = error instanceof Error || error?.message !== undefined ? error.message : String(error);
  const made = new Error(`File ${file} malformated${place}: ${reason}`, { cause: error });
  return Object.assign(made, { code: 'ERR_PM2_CONFIG', file }, position && { line: position.line, column: position.column });
}

function requireApps(value, file) {
  if (typeof value === 'object' && value !== null) return value;
  const given = value === null ? 'null' : typeof value;
  throw Object.assign(new Error(`File ${file} must contain an app, an array of apps or {apps: […]}, not ${given}`), {
    code: 'ERR_PM2_CONFIG',
    file,
  });
}

module.exports = { isConfigFile, readConfig, parse };
