'use strict';

/*
 * Calls that name what is to be done by a text of the caller's: an RPC method for declared apps, a method of the API, a record by its id.
 */

const { badArgument } = require('./settle.js');

/** RPC method → the action that does it for declared apps. */
const ACTIONS = {
  restartProcessId: 'restart',
  reloadProcessId: 'reload',
  softReloadProcessId: 'gracefulReload',
  stopProcessId: 'stop',
  deleteProcessId: 'delete',
};

/** Of those, the ones that can also start what is not there. */
const STARTING = ['restart', 'reload', 'gracefulReload'];

/** Members of a record that pm2 does not show as a process' environment. */
const RECORD_FIELDS = new Set(
  `MODULE_DEBUG args automation autorestart autostart axm_actions axm_dynamic axm_monitor axm_options command created_at env exec_interpreter
  exec_mode exit_code filter_env instance_var instances kill_retry_time merge_logs name node_args pm_cwd pm_err_log_path pm_exec_path pm_id
  pm_out_log_path pm_pid_path pm_uptime pmx pmx_module prev_restart_delay restart_time status stop_exit_codes treekill unstable_restart
  unstable_restarts username versioning vizion vizion_runing watch windowsHide`.split(/\s+/),
);

/** Does the action to the declared apps and starts those that are missing. */
function startDeclared(api, method, apps, options) {
  const action = actionOf('_startJson', method, STARTING);
  return api.Client.act(action, api.cwd, { what: apps, options });
}

/** Does the action to the processes that bear the names of declared apps, and leaves the others be. */
async function actOnDeclared(api, method, apps, options) {
  const action = actionOf('actionFromJson', method, Object.values(ACTIONS));
  if (!STARTING.includes(action)) return api.Client.act(action, api.cwd, { what: apps, options });
  const managed = new Set((await api.Client.call('getMonitorData', {})).map((each) => each.name));
  const only = typeof options.only === 'string' ? options.only : null;
  const isMeant = (name) => only === null || only === name || only.split(/[, ]/).includes(name);
  const meant = [...managed].filter(isMeant);
  if (meant.length === 0) return [];
  return api.Client.act(action, api.cwd, { what: apps, options: { ...options, only: meant.join(',') } });
}

/** Does the action to processes that are named. */
function operateOn(api, method, target, options) {
  const { checkOptions, idOrName } = require('./arguments.js');
  const action = actionOf('_operate', method, Object.values(ACTIONS));
  return api.Client.act(action, api.cwd, { what: idOrName('_operate', target), options: checkOptions('_operate', options) });
}

/** Calls a public method of the API by its name, and nothing else that an object has. */
async function callMethod(api, caller, command, args) {
  const { prototype } = require('./api.js');
  const isPublic = typeof command === 'string' && /^[a-z]/.test(command) && command !== 'constructor' && Object.hasOwn(prototype, command);
  if (!isPublic) throw badArgument(caller, 'command', command, "the name of one of pm2's methods");
  return api[command](...args);
}

/** The variables of one process, as its record has them. */
async function variablesOf(api, id) {
  const found = (await api.Client.call('getMonitorData', {})).find((each) => String(each.pm_id) === String(id));
  if (found === undefined) throw new Error(`Modules with id ${id} not found`);
  return Object.fromEntries(Object.entries(found.pm2_env).filter(([name]) => !RECORD_FIELDS.has(name)));
}

function actionOf(caller, method, allowed) {
  const action = typeof method === 'string' && Object.hasOwn(ACTIONS, method) ? ACTIONS[method] : undefined;
  if (allowed.includes(action)) return action;
  const names = Object.keys(ACTIONS).filter((name) => allowed.includes(ACTIONS[name]));
  throw badArgument(caller, 'rpcMethod', method, `one of ${names.join(', ')}`);
}

module.exports = { startDeclared, actOnDeclared, operateOn, callMethod, variablesOf };
