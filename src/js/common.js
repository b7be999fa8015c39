'use strict';

/*
 * What tools written for pm2 reach by `pm2/lib/Common`: declarations parsed, checked and resolved without a daemon.
 *
 * Nothing of the caller's is changed; what is handed out are new objects.
 */

const os = require('node:os');
const path = require('node:path');
const { STATIC_SERVER } = require('./client.js');
const { parse } = require('./files.js');

/** Extension → how such a file is read. pm2 looks for it anywhere in the name. */
const EXTENSIONS = {
  '.json': 'json',
  '.yml': 'yaml',
  '.yaml': 'yaml',
  '.config.js': 'js',
  '.config.cjs': 'js',
  '.config.mjs': 'mjs',
};

/** Variables by which one app would pass on what it is itself. */
const OWN_VARIABLES = new Set(
  `name exec_mode env args pm_cwd exec_interpreter pm_exec_path node_args pm_out_log_path pm_err_log_path pm_pid_path pm_id status pm_uptime
  created_at windowsHide username merge_logs kill_retry_time prev_restart_delay instance_var unstable_restarts restart_time axm_actions pmx_module
  command watch filter_env versioning vizion_runing MODULE_DEBUG pmx axm_options vizion axm_dynamic axm_monitor instances automation autostart
  autorestart stop_exit_codes unstable_restart treekill exit_code`.split(/\s+/),
);

/** `json`, `yaml`, `js` or `mjs`; null for what is no configuration file. */
function isConfigFile(name) {
  if (typeof name !== 'string') return null;
  const found = Object.keys(EXTENSIONS).find((extension) => name.includes(extension));
  return found === undefined ? null : EXTENSIONS[found];
}

function getConfigFileCandidates(name) {
  return Object.keys(EXTENSIONS).map((extension) => name + extension);
}

/** The value of a configuration's text; of a JavaScript file, read afresh, by its name. */
function parseConfig(text, name) {
  const kind = !name || name === 'pipe' || name === 'none' ? 'json' : isConfigFile(name);
  if (kind === 'json') return parse(String(text), name || 'none');
  if (kind === 'yaml') return offline('parse', { text: String(text), file: String(name) });
  if (kind === null) return undefined;
  const file = require.resolve(path.resolve(name));
  delete require.cache[file];
  return require(file);
}

/** The apps, checked, under one spelling and with their defaults; an Error when one of them cannot be taken. */
function verifyConfs(apps) {
  if (!apps || apps.length === 0) return [];
  try {
    return offline('verify', { what: { apps: [apps].flat().map(underScript) } });
  } catch (error) {
    return error;
  }
}

/** The record of one app, as a daemon is asked to start it; an Error when that cannot be. */
function prepareAppConf(options, app) {
  try {
    const [record] = offline('resolve', { what: { apps: [underScript(app)] }, cwd: options?.cwd, pm2_home: options?.pm2_home });
    return record;
  } catch (error) {
    return error;
  }
}

/** As {@link prepareAppConf}, but throws. */
function resolveAppAttributes(options, app) {
  const record = prepareAppConf(options, app);
  if (record instanceof Error) throw record;
  return record;
}

/** Variables at the top, the rest of the declaration in `current_conf`, for one of its environments. */
function mergeEnvironmentVariables(declared, environment, deploy) {
  const app = deepCopy(declared);
  const own = Object.fromEntries(Object.entries(app.env ?? {}).map(([key, value]) => [key, asVariable(value)]));
  // Compat: without an environment these are the declared ones, and none of `deploy`'s.
  const chosen = environment ? { ...deploy?.[environment]?.env, ...own, ...app[`env_${environment}`] } : own;
  const { exec_mode: _mode, ...others } = app;
  return { ...chosen, current_conf: { ...others, env: chosen } };
}

function asVariable(value) {
  return typeof value === 'object' ? JSON.stringify(value) : value;
}

function underScript(app) {
  if (typeof app !== 'object' || app === null || app.script) return app;
  const { cmd, command, ...others } = app;
  const script = cmd || command;
  return script ? { ...others, script } : app;
}

function offline(name, members) {
  const { env, execPath, version } = process;
  const defaults = { cwd: process.cwd(), env: { ...env }, node: execPath, node_version: version, static_server: STATIC_SERVER };
  const given = Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined));
  try {
    return JSON.parse(require('../../native.js').offline(name, JSON.stringify({ ...defaults, programmatic: true, ...given })));
  } catch (error) {
    throw toError(error);
  }
}

function toError(error) {
  try {
    return new Error(JSON.parse(error.message).message);
  } catch {
    return error;
  }
}

/** Names an app after its script, if it has no name. Compat: in place, as callers expect of it. */
function renderApplicationName(app) {
  if (!app.name && app.script) app.name = path.basename(app.script).replace(/(?<=.)\.[^.]*$/, '');
}

function getCurrentUsername() {
  try {
    return os.userInfo().username;
  } catch {
    // A user id without an account.
    return process.env.USER ?? process.env.LOGNAME ?? '';
  }
}

/** An Error of whatever is given. */
function retErr(error) {
  if (!error) return new Error('Unidentified error');
  return error instanceof Error ? error : new Error(error);
}

function deepCopy(value) {
  if (value === null || value === undefined) return {};
  return structuredClone(value);
}

function extend(target, source) {
  if (typeof source !== 'object' || source === null) return target;
  for (const [key, value] of Object.entries(source)) if (value !== '[object Object]') target[key] = value;
  return target;
}

/** As {@link extend}, without the variables that say what an app under pm2 is itself. */
function safeExtend(target, source) {
  if (typeof source !== 'object' || source === null) return target;
  return extend(target, Object.fromEntries(Object.entries(source).filter(([key]) => !OWN_VARIABLES.has(key))));
}

/** Compat: in a program, which `require('pm2')` makes of every caller, these say nothing. */
function printer(stream, prefix) {
  return (...words) => {
    if (process.env.PM2_PROGRAMMATIC === 'true' || process.env.PM2_SILENT) return;
    const text = require('node:util').format(...words.map((word) => (word instanceof Error ? word.message : word)));
    process[stream].write(`${prefix}${text}\n`);
  };
}

module.exports = {
  knonwConfigFileExtensions: EXTENSIONS,
  isConfigFile,
  getConfigFileCandidates,
  parseConfig,
  verifyConfs,
  prepareAppConf,
  resolveAppAttributes,
  mergeEnvironmentVariables,
  renderApplicationName,
  getCurrentUsername,
  retErr,
  clone: deepCopy,
  serialize: deepCopy,
  deepCopy,
  extend,
  safeExtend,
  printOut: printer('stdout', ''),
  printError: printer('stderr', ''),
  log: printer('stdout', '[PM2] '),
  info: printer('stdout', '[PM2][INFO] '),
  warn: printer('stderr', '[PM2][WARN] '),
  err: printer('stderr', '[PM2][ERROR] '),
  logMod: printer('stdout', '[PM2][Module] '),
  errMod: printer('stderr', '[PM2][Module][ERROR] '),
};
