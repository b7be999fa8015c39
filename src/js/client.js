'use strict';

const path = require('node:path');
const constants = require('./constants.js');
const { Link } = require('./link.js');
const { defaultHome } = require('./paths.js');
const { badArgument, settle } = require('./settle.js');

/** What `script: 'serve'` stands for. */
const STATIC_SERVER = path.join(__dirname, '..', '..', 'lib', 'API', 'Serve.js');

/**
 * The lower half of the API, as tools written for pm2 reach it by `pm2.Client`: calls by RPC name, and lists.
 */
class Client {
  conf;
  daemon_mode;
  pm2_home;
  secret_key = null;
  public_key = null;
  machine_name = null;
  rpc_socket_file;
  pub_socket_file;

  #link;

  /** @param {{conf?: object, pm2_home?: string, daemon_mode?: boolean}} [options] */
  constructor({ pm2_home = defaultHome(), conf = constants(pm2_home), daemon_mode = true } = {}) {
    this.conf = conf;
    this.daemon_mode = daemon_mode;
    this.pm2_home = pm2_home;
    this.rpc_socket_file = conf.DAEMON_RPC_PORT;
    this.pub_socket_file = conf.DAEMON_PUB_PORT;
    this.#link = new Link(pm2_home, () => this.#launchModules());
  }

  start(callback) {
    return settle(callback, () => this.#connect());
  }

  /** Connects here and now if a daemon serves already. Gives what `start` gives then, else null. */
  attach() {
    try {
      return this.daemon_mode ? this.#link.attach() : null;
    } catch {
      // Whoever connects in earnest is told what is wrong.
      return null;
    }
  }

  launchRPC(callback) {
    return settle(callback, () => this.#connect());
  }

  launchDaemon(options, callback) {
    const last = typeof options === 'function' ? options : callback;
    return settle(last, () => this.#connect());
  }

  initFileStructure() {
    const { conf } = this;
    const fs = require('node:fs');
    for (const folder of [conf.PM2_ROOT_PATH, conf.DEFAULT_LOG_PATH, conf.DEFAULT_PID_PATH, conf.DEFAULT_MODULE_PATH]) {
      fs.mkdirSync(folder, { recursive: true, mode: 0o700 });
    }
  }

  close(callback) {
    return settle(callback, () => this.#link.disconnect());
  }

  disconnectRPC(callback) {
    return settle(callback, () => this.#link.disconnect());
  }

  killDaemon(callback) {
    return settle(callback, async () => {
      await this.#link.kill(this.daemon_mode);
      return { success: true };
    });
  }

  /** Asks for a service of the init system; connects to no daemon. */
  startup(verb, payload) {
    return this.#link.ask(verb, payload);
  }

  update(callback) {
    return settle(callback, async () => {
      await this.#link.update(this.daemon_mode);
      return { success: true };
    });
  }

  /** Calls back with one boolean and no error. Never launches a daemon. */
  pingDaemon(callback) {
    const isAlive = this.#link.ping().catch(() => false);
    if (callback === undefined) return isAlive;
    isAlive.then((value) => process.nextTick(callback, value));
    return undefined;
  }

  /** `(error, bus, socket)`; the promise gives the bus. */
  launchBus(callback) {
    const { Bus } = require('./bus.js');
    const bus = new Bus(() => this.#link.unsubscribe(bus));
    const opened = async () => {
      await this.#link.subscribe(this.daemon_mode, bus);
      // The caller adds its listeners in the tick that follows; what has come by then is given to them.
      setImmediate(() => bus.release());
      return bus;
    };
    return settle(callback, opened, () => [bus, bus.sock]);
  }

  disconnectBus(callback) {
    return settle(callback, () => this.#link.unsubscribeAll());
  }

  /** Names and parameters of the daemon's RPC methods. */
  getExposedMethods(callback) {
    return settle(callback, async () => JSON.parse(await this.#link.request(this.daemon_mode, 'methods', '', '{}')));
  }

  /** Calls one RPC method: `(method, [argument], [callback])`. */
  executeRemote(method, argument, callback) {
    const [value, last] = typeof argument === 'function' && callback === undefined ? [{}, argument] : [argument, callback];
    const called = async () => {
      if (typeof method !== 'string') throw badArgument('Client.executeRemote', 'method', method, 'the name of an RPC method');
      this.#endWatch(method, value);
      return this.#call(method, [value]);
    };
    if (last) return settle(last, called, (values) => values);
    return settle(last, async () => (await called())[0]);
  }

  /** One RPC method's first value. What the API is made of. */
  async call(method, ...args) {
    return (await this.#call(method, args))[0];
  }

  /**
   * One action of the native client, which does what pm2's own client did around its calls. Members that have to be waited for are a function:
   * a `disconnect` that follows the call ends it all the same, and does not have it connect anew.
   */
  async act(name, cwd, members) {
    const session = this.#link.session();
    const given = typeof members === 'function' ? await members() : members;
    const { execPath, version } = process;
    const payload = toJson(name, {
      ...given,
      cwd,
      process_cwd: workingDirectory(),
      env: environment(given.what?.variables),
      node: execPath,
      node_version: version,
      pm2_home: this.pm2_home,
      static_server: STATIC_SERVER,
      programmatic: true,
    });
    return JSON.parse(await session.request(this.daemon_mode, 'action', name, payload));
  }

  notifyGod(action, id, callback) {
    return this.executeRemote('notifyByProcessId', { id, action_name: action, manually: true }, callback);
  }

  toggleWatch(method, argument, callback) {
    return settle(callback, () => this.call('toggleWatch', method, argument));
  }

  startWatch(method, argument, callback) {
    return settle(callback, () => this.call('startWatch', method, argument));
  }

  stopWatch(method, argument, callback) {
    return settle(callback, () => this.call('stopWatch', method, argument));
  }

  getAllProcess(callback) {
    return settle(callback, () => this.#list());
  }

  getAllProcessId(callback) {
    return settle(callback, async () => ids(await this.#list()));
  }

  getAllProcessIdWithoutModules(callback) {
    return settle(callback, async () => ids((await this.#list()).filter((each) => !each.pm2_env.pmx_module)));
  }

  /** `(error, ids, details)`: ids by name or resolved script path, and their records by id. */
  getProcessIdByName(name, force, callback) {
    return this.#idsAndDetails(typeof force === 'function' ? force : callback, (each) => {
      return each.pm2_env.name === name || each.pm2_env.pm_exec_path === path.resolve(String(name));
    });
  }

  getProcessIdsByNamespace(namespace, force, callback) {
    return this.#idsAndDetails(typeof force === 'function' ? force : callback, (each) => each.pm2_env.namespace === namespace);
  }

  getProcessByName(name, callback) {
    const wanted = (each) => each.pm2_env.name === name || each.pm2_env.pm_exec_path === path.resolve(String(name));
    return settle(callback, async () => (await this.#list()).filter(wanted));
  }

  getProcessByNameOrId(nameOrId, callback) {
    return settle(callback, async () => {
      const isMeant = (each) =>
        each.pm2_env.name === nameOrId ||
        each.pm2_env.pm_exec_path === path.resolve(String(nameOrId)) ||
        String(each.pm_id) === String(nameOrId);
      return (await this.#list()).filter(isMeant);
    });
  }

  /** Modules live with the daemon. One that cannot be started is told of, and keeps nobody from connecting. */
  async #launchModules() {
    const { installed } = require('./module_store.js');
    if (!installed(this.conf.PM2_MODULE_CONF_FILE)) return {};
    const failed_modules = await this.act('launchModules', process.cwd(), {}).then(
      ({ failed }) => failed,
      ({ message }) => [{ name: 'all', message }],
    );
    return failed_modules.length === 0 ? {} : { failed_modules };
  }

  #connect() {
    return this.#link.connect(this.daemon_mode);
  }

  async #call(method, args) {
    return this.#link.call(this.daemon_mode, method, toJson(method, args));
  }

  #list() {
    return this.call('getMonitorData', {});
  }

  #idsAndDetails(callback, isMeant) {
    const found = async () => (await this.#list()).filter(isMeant);
    if (!callback) return settle(callback, async () => ids(await found()));
    const details = (processes) => Object.fromEntries(processes.map((each) => [each.pm_id, each.pm2_env]));
    return settle(callback, found, (processes) => [ids(processes), details(processes)]);
  }

  /** Compat: a caller that stops or deletes by RPC name expects that watching ends with it (pm2's Client does that). */
  #endWatch(method, argument) {
    let of = null;
    if (method.includes('stop') || method.includes('delete')) of = method;
    else if (method.includes('kill')) of = 'deleteAll';
    if (of !== null && method !== 'stopWatch') this.call('stopWatch', of, argument).catch(() => {});
  }
}

function toJson(name, value) {
  try {
    return JSON.stringify(value);
  } catch (error) {
    // A circle, or a BigInt.
    throw Object.assign(new TypeError(`What was given to ${name} cannot be written as JSON: ${error.message}`, { cause: error }), {
      code: 'ERR_INVALID_ARG_VALUE',
    });
  }
}

function ids(processes) {
  return processes.map((each) => each.pm_id);
}

/** The caller's variables, with those that a configuration file has changed. */
function environment(changes = {}) {
  const env = { ...process.env, ...changes };
  for (const name of Object.keys(changes)) if (changes[name] === null) delete env[name];
  return env;
}

/** Where this process is; unknown if that folder has been removed. */
function workingDirectory() {
  try {
    return process.cwd();
  } catch {
    return undefined;
  }
}

module.exports = { Client, STATIC_SERVER };
