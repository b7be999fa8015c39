'use strict';

/*
 * What callers give, checked and in the form in which an action takes it. Each fails with an error that names the argument.
 */

const { badArgument } = require('./settle.js');

const CONFIG = 'the name of a configuration file, an app, an array of apps or {apps: […]}';
const TARGET = `a name, an id, "all", a /regex/, ${CONFIG}`;

function whatToStart(api, what) {
  if (typeof what === 'number' && Number.isInteger(what)) return { script: what };
  if (typeof what === 'string' && what !== '') {
    const files = require('./files.js');
    return files.isConfigFile(what) ? files.readConfig(what, api.cwd) : { script: what };
  }
  if (typeof what === 'object' && what !== null) return { apps: toApps(what), file: null };
  throw badArgument('start', 'script', what, `a script, ${CONFIG}`);
}

async function startOptions(api, options) {
  if (typeof options !== 'string') return checkOptions('start', options);
  const { apps } = await require('./files.js').readConfig(options, api.cwd);
  if (apps === undefined) throw badArgument('start', 'jsonConfigFile', options, 'a JSON or JavaScript file');
  return apps;
}

function whatToOperate(api, action, target) {
  if (typeof target === 'number' && Number.isInteger(target)) return { target };
  if (typeof target === 'string' && target !== '') {
    const files = require('./files.js');
    return files.isConfigFile(target) ? files.readConfig(target, api.cwd) : { target };
  }
  if (typeof target === 'object' && target !== null) return { apps: toApps(target), file: null };
  throw badArgument(action, 'target', target, TARGET);
}

/** Apps as an action takes them: from a file, from a value, or (`via` is `'pipe'`) from their JSON text. */
function declared(api, method, what, via) {
  if (via === 'pipe') {
    if (typeof what !== 'string') throw badArgument(method, 'target', what, 'JSON text');
    return { apps: require('./files.js').parse(what, 'pipe'), file: null };
  }
  if (typeof what === 'string' && what !== '') return require('./files.js').readConfig(what, api.cwd);
  if (typeof what === 'object' && what !== null) return { apps: toApps(what), file: null };
  throw badArgument(method, 'target', what, CONFIG);
}

function idOrName(method, value, name = 'target') {
  if ((typeof value === 'string' && value !== '') || (typeof value === 'number' && Number.isInteger(value))) return { target: value };
  throw badArgument(method, name, value, 'a name or an id');
}

function requireSignal(method, signal) {
  if (typeof signal === 'string' || Number.isInteger(signal)) return;
  throw badArgument(method, 'signal', signal, 'the name or the number of a signal');
}

function checkOptions(method, options) {
  if (options === undefined || options === null) return {};
  if (typeof options === 'object' && !Array.isArray(options)) return withoutFunctions(options);
  throw badArgument(method, 'options', options, 'an object');
}

/** Apps as they can be written as JSON. */
function toApps(value) {
  if (Array.isArray(value)) return value.map(withoutFunctions);
  const result = withoutFunctions(value);
  for (const name of ['apps', 'pm2']) if (Array.isArray(value[name])) result[name] = value[name].map(withoutFunctions);
  return result;
}

/**
 * JSON would leave a function out without a word, and make `null` of a number that is none; what stands in their place is refused by the
 * check of the option, with its name.
 */
function withoutFunctions(app) {
  if (typeof app !== 'object' || app === null || Array.isArray(app)) return app;
  const replaced = (value) => {
    if (typeof value === 'function' || typeof value === 'symbol') return {};
    return typeof value === 'number' && !Number.isFinite(value) ? String(value) : value;
  };
  return Object.fromEntries(Object.entries(app).map(([name, value]) => [name, replaced(value)]));
}

module.exports = { checkOptions, declared, idOrName, requireSignal, startOptions, toApps, whatToOperate, whatToStart };
