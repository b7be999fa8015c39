'use strict';

const paths = require('./paths.js');

/** What is the same for every home and every environment. */
const FIXED = {
  PREFIX_MSG: '\x1B[32m[PM2] \x1B[39m',
  PREFIX_MSG_INFO: '\x1B[36m[PM2][INFO] \x1B[39m',
  PREFIX_MSG_ERR: '\x1B[31m[PM2][ERROR] \x1B[39m',
  PREFIX_MSG_MOD: '\x1B[1m\x1B[32m[PM2][Module] \x1B[39m\x1B[22m',
  PREFIX_MSG_MOD_ERR: '\x1B[31m[PM2][Module][ERROR] \x1B[39m',
  PREFIX_MSG_WARNING: '\x1B[33m[PM2][WARN] \x1B[39m',
  PREFIX_MSG_SUCCESS: '\x1B[36m[PM2] \x1B[39m',

  APP_CONF_DEFAULT_FILE: 'ecosystem.config.js',
  DEFAULT_MODULE_JSON: 'package.json',
  MODULE_BASEFOLDER: 'module',
  MODULE_CONF_PREFIX: 'module-db-v2',
  MODULE_CONF_PREFIX_TAR: 'tar-modules',

  SUCCESS_EXIT: 0,
  ERROR_EXIT: 1,
  CODE_UNCAUGHTEXCEPTION: 1,

  ONLINE_STATUS: 'online',
  STOPPED_STATUS: 'stopped',
  STOPPING_STATUS: 'stopping',
  WAITING_RESTART: 'waiting restart',
  LAUNCHING_STATUS: 'launching',
  ERRORED_STATUS: 'errored',
  ONE_LAUNCH_STATUS: 'one-launch-status',

  CLUSTER_MODE_ID: 'cluster_mode',
  FORK_MODE_ID: 'fork_mode',

  LOGS_BUFFER_SIZE: 8,
  CONTEXT_ON_ERROR: 2,
};

/** Number constant → [variable, default]. A variable that is no number has no effect. */
const NUMBERS = {
  EXP_BACKOFF_RESET_TIMER: ['EXP_BACKOFF_RESET_TIMER', 30000],
  RELOAD_LOCK_TIMEOUT: ['PM2_RELOAD_LOCK_TIMEOUT', 30000],
  GRACEFUL_TIMEOUT: ['PM2_GRACEFUL_TIMEOUT', 8000],
  GRACEFUL_LISTEN_TIMEOUT: ['PM2_GRACEFUL_LISTEN_TIMEOUT', 3000],
  CONCURRENT_ACTIONS: ['PM2_CONCURRENT_ACTIONS', 2],
  WEB_PORT: ['PM2_API_PORT', 9615],
  WORKER_INTERVAL: ['PM2_WORKER_INTERVAL', 30000],
  KILL_TIMEOUT: ['PM2_KILL_TIMEOUT', 1600],
  KILL_RETRY_TIME: ['PM2_KILL_RETRY_TIME', 100],
};

/** All constants, the paths below `home` among them. */
function constants(home) {
  const { env } = process;
  const result = { ...FIXED, IS_BUN: process.versions.bun !== undefined, IS_WINDOWS: process.platform === 'win32' };
  for (const [name, [variable, fallback]] of Object.entries(NUMBERS)) {
    result[name] = Number.parseInt(env[variable], 10) || fallback;
  }
  return Object.assign(
    result,
    {
      ENABLE_GIT_PARSING: env.PM2_ENABLE_GIT_PARSING || false,
      LOW_MEMORY_ENVIRONMENT: env.PM2_OPTIMIZE_MEMORY || false,
      MACHINE_NAME: env.INSTANCE_NAME || env.MACHINE_NAME || env.PM2_MACHINE_NAME,
      SECRET_KEY: env.KEYMETRICS_SECRET || env.PM2_SECRET_KEY || env.SECRET_KEY,
      PUBLIC_KEY: env.KEYMETRICS_PUBLIC || env.PM2_PUBLIC_KEY || env.PUBLIC_KEY,
      DEBUG: env.PM2_DEBUG || false,
      WEB_IPADDR: env.PM2_API_IPADDR || '127.0.0.1',
      WEB_STRIP_ENV_VARS: env.PM2_WEB_STRIP_ENV_VARS || false,
      KILL_SIGNAL: env.PM2_KILL_SIGNAL || 'SIGINT',
      KILL_USE_MESSAGE: env.PM2_KILL_USE_MESSAGE || false,
      PM2_PROGRAMMATIC: env.pm_id || env.PM2_PROGRAMMATIC,
      PM2_LOG_DATE_FORMAT: env.PM2_LOG_DATE_FORMAT ?? 'YYYY-MM-DDTHH:mm:ss',
    },
    paths(home || undefined),
  );
}

module.exports = constants;
