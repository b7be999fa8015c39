'use strict';

const path = require('node:path');

/** File in the home → name of the constant; each can be overridden by an environment variable. */
const FILES = {
  PM2_CONF_FILE: 'conf.js',
  PM2_MODULE_CONF_FILE: 'module_conf.json',
  PM2_LOG_FILE_PATH: 'pm2.log',
  PM2_PID_FILE_PATH: 'pm2.pid',
  PM2_RELOAD_LOCKFILE: 'reload.lock',
  DEFAULT_PID_PATH: 'pids',
  DEFAULT_LOG_PATH: 'logs',
  DEFAULT_MODULE_PATH: 'modules',
  PM2_IO_ACCESS_TOKEN: 'pm2-io-token',
  DUMP_FILE_PATH: 'dump.pm2',
  DUMP_BACKUP_FILE_PATH: 'dump.pm2.bak',
  DAEMON_RPC_PORT: 'rpc.sock',
  DAEMON_PUB_PORT: 'pub.sock',
  INTERACTOR_RPC_PORT: 'interactor.sock',
  INTERACTOR_LOG_FILE_PATH: 'agent.log',
  INTERACTOR_PID_PATH: 'agent.pid',
  INTERACTION_CONF: 'agent.json5',
};

/** Every path that pm2 uses below `home`, by the name of its constant. */
function paths(given = defaultHome()) {
  const home = absolute(given);
  const result = { PM2_HOME: home, PM2_ROOT_PATH: home };
  for (const [name, file] of Object.entries(FILES)) {
    const variable = name.includes('PM2_') ? name : `PM2_${name}`;
    const value = process.env[variable];
    // Sockets may be ports. Everything else that is relative is so to the home, as the daemon has it.
    result[name] = value && name.endsWith('_PORT') ? value : path.resolve(home, value || file);
  }
  return Object.assign(result, { HAS_NODE_EMBEDDED: false, BUILTIN_NODE_PATH: null, BUILTIN_NPM_PATH: null });
}

function defaultHome() {
  if (process.env.PM2_HOME) return absolute(process.env.PM2_HOME);
  const user = process.env.HOME || require('node:os').homedir();
  return user ? path.join(user, '.pm2') : path.join('/etc', '.pm2');
}

/** The daemon runs in another folder than the caller, and so do its apps. */
function absolute(home) {
  return path.isAbsolute(home) ? home : path.resolve(home);
}

/** How often, and how long apart in ms, it is tried again when something is still being written there. */
const REMOVALS = { maxRetries: 10, retryDelay: 50 };

/** Deletes a home that was made for a while. Those that people keep things in are refused: `.pm2`, and what holds their own folder. */
async function removeHome(home) {
  const own = require('node:os').homedir();
  const holdsOwn = own === home || own.startsWith(home.endsWith(path.sep) ? home : home + path.sep);
  // Compat: pm2's text, word for word.
  if (home.includes('.pm2') || holdsOwn) throw new Error('Destroy is not a allowed method on .pm2');
  await require('node:fs').promises.rm(home, { recursive: true, force: true, ...REMOVALS });
}

module.exports = Object.assign(paths, { defaultHome, removeHome });
