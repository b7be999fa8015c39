'use strict';

const path = require('node:path');
const { Client } = require('./client.js');
const constants = require('./constants.js');
const { defaultHome, removeHome } = require('./paths.js');
const { acceptEarlyCallbacks, badArgument, callable, settle } = require('./settle.js');

/** The checks of arguments, loaded with the first call that has any. */
const given = () => require('./arguments.js');

/** Methods that few programs call, after the number of their arguments. They are in `further.js`, which is loaded with the first of them. */
const FURTHER = {
  0: 'openDashboard',
  1:
    'launchModules report jlist slist exitCli monit dashboard boilerplate autoinstall deepUpdate unlink agentInfos killAgent ' +
    '_handleAttributeUpdate',
  2:
    'uninstall package launchAll deleteModule generateModuleSample inspect pullAndReload pullAndRestart _pull _pullCommitId backward ' +
    'forward generateSample logrotate speedList link clearSetup minimumSetup generateDockerfile',
  3: 'install _startScript attach deploy pullCommitId publish profile dockerMode',
  4: '_operate',
  5: 'serve printLogs linkManagement',
  6: 'streamLogs',
};

/** How long the processes that a `trigger` reached may take to answer, in ms. */
const REPLY_MAX = 30_000;

/**
 * pm2's programmatic API. `require('pm2')` is an instance of it; `new pm2.custom(options)` makes another, with a home of its own.
 *
 * Every method takes its callback last and calls it exactly once, error first; without a callback it returns a promise. Any
 * method connects by itself. Nothing prints, and nothing ends the process.
 */
class API {
  /**
   * @param {object} [options]
   * @param {string} [options.cwd] base of relative scripts and configuration files
   * @param {string} [options.pm2_home] home of this instance
   * @param {boolean} [options.daemon_mode] false: the daemon ends with this process
   * @param {boolean} [options.independent] a random home, and no daemon unless `daemon_mode` says so
   */
  constructor(options) {
    const { cwd, pm2_home, daemon_mode, independent, public_key, secret_key, machine_name } = options ?? {};
    if (pm2_home && independent === true) throw new Error('You cannot set a pm2_home and independent instance in same time');
    const { env } = process;
    this.daemon_mode = daemon_mode ?? independent !== true;
    this.pm2_home = home(pm2_home, independent);
    this.public_key = env.KEYMETRICS_PUBLIC || env.PM2_PUBLIC_KEY || env.PUBLIC_KEY || public_key || null;
    this.secret_key = env.KEYMETRICS_SECRET || env.PM2_SECRET_KEY || env.SECRET_KEY || secret_key || null;
    this.machine_name = env.INSTANCE_NAME || env.MACHINE_NAME || env.PM2_MACHINE_NAME || machine_name || null;
    this.cwd = cwd ? path.resolve(cwd) : process.cwd();
    this._conf = constants(this.pm2_home);
    this.Client = makeClient(this);
    // Loading the package must cost little, so what reads a file waits until it is looked at.
    later(this, 'pm2_configuration', () => readConfiguration(this._conf.PM2_MODULE_CONF_FILE));
    this.gl_interact_infos = null;
    this.gl_is_km_linked = false;
    this.gl_retry = 0;
  }

  /** `([noDaemon], callback)`: connects, launching the daemon if none answers. */
  connect(noDaemon, callback) {
    if (typeof noDaemon === 'function') return this.connect(undefined, noDaemon);
    if (typeof noDaemon === 'boolean') {
      this.daemon_mode = !noDaemon;
      this.Client.daemon_mode = !noDaemon;
    }
    this.start_timer ??= new Date();
    // Where a daemon serves already, nothing is left to wait for: promises would be a quarter of what connecting takes.
    const meta = typeof callback === 'function' ? this.Client.attach() : null;
    if (meta === null) return settle(callback, () => this.Client.start());
    process.nextTick(callback, null, meta);
    return undefined;
  }

  /** Closes the connection and every bus. The daemon and its apps go on. */
  disconnect(callback) {
    return this.Client.close(callback);
  }

  close(callback) {
    return this.Client.close(callback);
  }

  /** Stops every app and ends the daemon. */
  kill(callback) {
    return this.Client.killDaemon(callback);
  }

  killDaemon(callback) {
    return this.Client.killDaemon(callback);
  }

  /** Stops everything, then deletes the home; not one whose path contains `.pm2`. */
  destroy(callback) {
    return settle(callback, async () => {
      if (await this.Client.pingDaemon()) await this.Client.killDaemon();
      await removeHome(this.pm2_home);
    });
  }

  /** Has this package's daemon take over from the one that runs. Apps go on; the caller's environment is the daemon's from now on. */
  update(callback) {
    return settle(callback, () => require('./saved.js').update(this));
  }

  updatePM2(callback) {
    return this.update(callback);
  }

  /** `(what, [options], [callback])`: a script, an app, apps, or a configuration file; options may be a configuration file too. */
  start(what, options, callback) {
    if (typeof options === 'function') return this.start(what, {}, options);
    const members = async () => ({ what: await given().whatToStart(this, what), options: await given().startOptions(this, options) });
    return settle(callback, () => this.Client.act('start', this.cwd, members));
  }

  /** `(target, [options], [callback])`. */
  restart(target, options, callback) {
    return operate(this, 'restart', target, options, callback);
  }

  /** `(target, [options], [callback])`: in cluster mode the new instance is there before the old one goes. */
  reload(target, options, callback) {
    return operate(this, 'reload', target, options, callback);
  }

  /** `(target, [options], [callback])`: a reload whose old instance is told `shutdown` first. */
  gracefulReload(target, options, callback) {
    return operate(this, 'gracefulReload', target, options, callback);
  }

  stop(target, callback, ...rest) {
    return operate(this, 'stop', target, callback, ...rest);
  }

  /** `(target, [via], [callback])`; with `via` `'pipe'` the target is the JSON text of apps. */
  delete(target, via, callback) {
    if (via !== 'pipe') return operate(this, 'delete', target, via, callback);
    const members = async () => ({ what: await given().declared(this, 'delete', target, via), options: {} });
    return settle(callback, () => this.Client.act('delete', this.cwd, members));
  }

  /** `(declared, [options], rpcMethod, [via], [callback])`: starts what is missing of the apps, restarts or reloads the others. */
  _startJson(what, options, rpcMethod, via, callback) {
    if (typeof via === 'function') return this._startJson(what, options, rpcMethod, undefined, via);
    return settle(callback, async () => {
      const apps = await given().declared(this, '_startJson', what, via);
      return require('./byname.js').startDeclared(this, rpcMethod, apps, given().checkOptions('_startJson', options));
    });
  }

  /** `(rpcMethod, declared, [options], [via], [callback])`: does it to those of the apps that are managed. */
  actionFromJson(rpcMethod, what, options, via, callback) {
    if (typeof options === 'function') return this.actionFromJson(rpcMethod, what, {}, undefined, options);
    if (typeof via === 'function') return this.actionFromJson(rpcMethod, what, options, undefined, via);
    return settle(callback, async () => {
      const apps = await given().declared(this, 'actionFromJson', what, via);
      return require('./byname.js').actOnDeclared(this, rpcMethod, apps, given().checkOptions('actionFromJson', options));
    });
  }

  /** `(name, count, [callback])`: count in total, or `'+2'`, `'-1'`. */
  scale(name, count, callback) {
    return settle(callback, () => {
      if (typeof name !== 'string' && typeof name !== 'number') throw badArgument('scale', 'name', name, 'the name of an app');
      const isCount = Number.isInteger(count) || /^[+-]?\d+$/.test(typeof count === 'string' ? count : '');
      if (!isCount) throw badArgument('scale', 'count', count, 'a whole number, or text such as "+2" or "-1"');
      return this.Client.act('scale', this.cwd, { what: { target: name }, count, options: {} });
    });
  }

  /** `(target, [callback])`: counts of restarts back to 0. */
  reset(target, callback) {
    return settle(callback, () => this.Client.act('reset', this.cwd, { what: given().idOrName('reset', target), options: {} }));
  }

  /** `([options], callback)`: every process. */
  list(options, callback) {
    if (typeof options === 'function') return this.list(undefined, options);
    return settle(callback, () => this.Client.call('getMonitorData', {}));
  }

  /** `(nameOrId, callback)`: the processes of that name or id, `[]` when there is none. */
  describe(nameOrId, callback) {
    return settle(callback, () => this.Client.act('describe', this.cwd, { what: given().idOrName('describe', nameOrId), options: {} }));
  }

  getProcessIdByName(name, callback) {
    return settle(callback, () => {
      return this.Client.act('getProcessIdByName', this.cwd, { what: given().idOrName('getProcessIdByName', name, 'name'), options: {} });
    });
  }

  /** `([name], callback)`: pids; 0 for what is stopped. */
  getPID(name, callback) {
    if (typeof name === 'function') return this.getPID(undefined, name);
    return settle(callback, () => {
      const target = name === undefined || name === null ? null : given().idOrName('getPID', name).target;
      return this.Client.act('getPID', this.cwd, { what: { target }, options: {} });
    });
  }

  getVersion(callback) {
    return settle(callback, () => this.Client.call('getVersion', {}));
  }

  ping(callback) {
    return settle(callback, () => this.Client.call('ping', {}));
  }

  /** `(id, [callback])`: the variables of a process. */
  env(id, callback) {
    return settle(callback, () => require('./byname.js').variablesOf(this, given().idOrName('env', id, 'id').target));
  }

  /** `([key], [callback])`: a value of the configuration store, or all of it. */
  get(key, callback) {
    if (typeof key === 'function') return this.get(undefined, key);
    return settle(callback, () => store(this).get(key));
  }

  /** `(key, value, [callback])`: then restarts the app or module that the key is for. */
  set(key, value, callback) {
    if (typeof value === 'function') return this.set(key, undefined, value);
    return settle(callback, () => change(this, 'set', [[key, value]]));
  }

  /** `('key value key value …', [callback])`: restarts the app of the first key. */
  multiset(text, callback) {
    return settle(callback, () => change(this, 'multiset', require('./store.js').toPairs(text)));
  }

  /** `(key, [callback])`: `'all'` empties the store. Restarts nothing. */
  unset(key, callback) {
    return settle(callback, () => {
      store(this).unset(key);
      return { success: true };
    });
  }

  /** `([key], [value], [callback])`: `set` with a value, `get` without. */
  conf(key, value, callback) {
    if (typeof key === 'function') return this.get(undefined, key);
    if (typeof value === 'function') return this.get(key, value);
    return value === undefined ? this.get(key, callback) : this.set(key, value, callback);
  }

  /** `(method, {name}, [callback])`: calls a method of this API by its name. */
  remote(command, options, callback) {
    return settle(callback, () => {
      const { name } = given().checkOptions('remote', options);
      return require('./byname.js').callMethod(this, 'remote', command, name === undefined ? [] : [name]);
    });
  }

  /** `(method, {args}, [callback])`: the same with any arguments. */
  remoteV2(command, options, callback) {
    return settle(callback, () => {
      const { args = [] } = given().checkOptions('remoteV2', options);
      if (!Array.isArray(args)) throw badArgument('remoteV2', 'args', args, 'an array');
      return require('./byname.js').callMethod(this, 'remoteV2', command, args);
    });
  }

  /** `([force], [callback])`: saves the list of processes. */
  dump(force, callback) {
    if (typeof force === 'function') return this.dump(false, force);
    return settle(callback, () => this.Client.act('dump', this.cwd, { force: Boolean(force) }));
  }

  /** Starts what was saved and is not there. The value is the saved list as it was read, a Buffer; without a callback false when there is none. */
  resurrect(callback) {
    // Compat: pm2 says this at once; scripts look at it (pm2's misc_commands suite).
    const hasSaved = typeof callback === 'function' || require('./saved.js').isSaved(this._conf);
    const outcome = settle(callback, async () => Buffer.from(await this.Client.act('resurrect', this.cwd, {})));
    return hasSaved ? outcome : false;
  }

  /** Forgets what was saved. Its callback gets no arguments, as pm2's. */
  clearDump(callback) {
    if (typeof callback !== 'function') return this.Client.act('clearDump', this.cwd, {}).then(() => undefined);
    return settle(
      (error) => (error ? callback(error) : callback()),
      () => this.Client.act('clearDump', this.cwd, {}),
    );
  }

  /** `([platform], [options], [callback])`: has the machine's init system bring the saved processes back at boot. */
  startup(platform, options, callback) {
    return require('./startup.js').run(this, 'startup', platform, options, callback);
  }

  /** `([platform], [options], [callback])`: has it do so no more. */
  uninstallStartup(platform, options, callback) {
    return require('./startup.js').run(this, 'uninstallStartup', platform, options, callback);
  }

  /** Does nothing, as in pm2. */
  autodump(callback) {
    return settle(callback, () => undefined);
  }

  /** `([nameOrId], [callback])`: empties log files. */
  flush(nameOrId, callback) {
    if (typeof nameOrId === 'function') return this.flush(undefined, nameOrId);
    return settle(callback, () => {
      const target = nameOrId === undefined || nameOrId === null ? null : given().idOrName('flush', nameOrId).target;
      return this.Client.act('flush', this.cwd, { what: { target }, options: {} });
    });
  }

  reloadLogs(callback) {
    return settle(callback, () => this.Client.call('reloadLogs', {}));
  }

  /** `(error, bus, socket)`; see `bus.js`. */
  launchBus(callback) {
    return this.Client.launchBus(callback);
  }

  /** `(id, packet, [callback])` or `(packet, [callback])`. */
  sendDataToProcessId(id, packet, callback) {
    if ((typeof id === 'object' && id !== null) || typeof packet === 'function') return sendData(this, id, packet);
    return sendData(this, typeof packet === 'object' && packet !== null ? { ...packet, id } : packet, callback);
  }

  /** `(id, line, [separator], [callback])`. */
  sendLineToStdin(id, line, separator, callback) {
    if (typeof separator === 'function') return this.sendLineToStdin(id, line, undefined, separator);
    return settle(callback, () => {
      if (typeof line !== 'string') throw badArgument('sendLineToStdin', 'line', line, 'a string');
      const { target } = given().idOrName('sendLineToStdin', id, 'id');
      return this.Client.call('sendLineToStdin', { pm_id: target, line: line + (separator ?? '\n') });
    });
  }

  sendSignalToProcessName(signal, name, callback) {
    return settle(callback, () => {
      given().requireSignal('sendSignalToProcessName', signal);
      const { target } = given().idOrName('sendSignalToProcessName', name, 'process');
      return this.Client.call('sendSignalToProcessName', { signal, process_name: target });
    });
  }

  sendSignalToProcessId(signal, id, callback) {
    return settle(callback, () => {
      given().requireSignal('sendSignalToProcessId', signal);
      const { target } = given().idOrName('sendSignalToProcessId', id, 'process');
      return this.Client.call('sendSignalToProcessId', { signal, process_id: target });
    });
  }

  /** `(command, [callback])`: `{id | name, msg, opts}`, for actions that an app has registered. */
  msgProcess(command, callback) {
    return settle(callback, () => {
      if (typeof command !== 'object' || command === null) throw badArgument('msgProcess', 'command', command, 'an object');
      return this.Client.call('msgProcess', command);
    });
  }

  /** `(target, action, [params], [callback])`: one answer of every process that has the action. */
  trigger(target, action, params, callback) {
    if (typeof params === 'function') return this.trigger(target, action, undefined, params);
    return settle(callback, () => {
      if (typeof action !== 'string') throw badArgument('trigger', 'action', action, 'the name of an action');
      const { target: which } = given().idOrName('trigger', target);
      return collectReplies(this, which, action, params);
    });
  }

  /** `('monitor' | 'unmonitor', target, [callback])`. */
  monitorState(state, target, callback) {
    return settle(callback, async () => {
      if (state !== 'monitor' && state !== 'unmonitor') throw badArgument('monitorState', 'state', state, '"monitor" or "unmonitor"');
      if (target === undefined) throw new Error('argument missing');
      const which = given().idOrName('monitorState', target).target;
      const isId = which !== 'all' && !Number.isNaN(Number(which));
      const all = isId ? [{ pm_id: which }] : await this.Client.call('getMonitorData', {});
      for (const each of all) if (isId || which === 'all' || each.name === which) await this.Client.call(state, each.pm_id);
    });
  }
}

/*
 * What the methods have in common. Functions and not private methods: those would fail on a Proxy or on `Object.create(pm2)`.
 */

function operate(api, action, target, options, callback) {
  if (typeof options === 'function') return operate(api, action, target, {}, options);
  const members = async () => {
    const what = await given().whatToOperate(api, action, target);
    return { what, options: given().checkOptions(action, options) };
  };
  return settle(callback, () => api.Client.act(action, api.cwd, members));
}

function sendData(api, packet, callback) {
  return settle(callback, () => {
    if (typeof packet !== 'object' || packet === null) throw badArgument('sendDataToProcessId', 'packet', packet, 'an object');
    // pm2's documents send packets without a topic, which its later daemons refuse.
    const { topic = packet.type } = packet;
    return api.Client.call('sendDataToProcessId', { ...packet, topic });
  });
}

function store(api) {
  const { Store } = require('./store.js');
  return new Store(api._conf.PM2_MODULE_CONF_FILE);
}

/** Changes the store, and restarts the app of the first key, if there is one. That takes the section into its environment. */
async function change(api, method, pairs) {
  const section = store(api).set(method, pairs);
  if (section === null || !(await api.Client.pingDaemon())) return { success: true };
  const isManaged = (await api.Client.call('getMonitorData', {})).some((each) => each.name === section);
  if (isManaged) await api.Client.act('restart', api.cwd, { what: { target: section }, options: { updateEnv: true } });
  return { success: true };
}

async function collectReplies({ Client }, which, action, params) {
  const bus = await Client.launchBus();
  let timer;
  try {
    const replies = [];
    let expected = Number.POSITIVE_INFINITY;
    return await new Promise((resolve, reject) => {
      const settleIfComplete = () => replies.length >= expected && resolve(replies);
      bus.on('axm:reply', (packet) => {
        if (packet.data?.action_name !== action) return;
        replies.push(packet);
        settleIfComplete();
      });
      timer = setTimeout(() => reject(new Error(`no answer to ${action} within ${REPLY_MAX} ms`)), REPLY_MAX);
      const whom = Number.isNaN(Number(which)) ? { name: which } : { id: which };
      const command = { ...whom, msg: action, opts: params ?? null };
      Client.call('msgProcess', command).then(({ process_count }) => {
        expected = process_count;
        if (expected === 0) reject(new Error('Unknown process'));
        settleIfComplete();
      }, reject);
    });
  } finally {
    clearTimeout(timer);
    bus.close();
  }
}

/** A property that is computed when it is first read, and looks like any other. */
function later(object, name, compute) {
  const define = (value) => Object.defineProperty(object, name, { configurable: true, enumerable: true, writable: true, value });
  Object.defineProperty(object, name, {
    configurable: true,
    enumerable: true,
    get() {
      const value = compute();
      define(value);
      return value;
    },
    set: define,
  });
}

function home(given, independent) {
  if (given) return path.resolve(given);
  if (independent !== true) return defaultHome();
  return path.join(require('node:os').tmpdir(), require('node:crypto').randomBytes(8).toString('hex'));
}

function makeClient(api) {
  const client = new Client({ conf: api._conf, pm2_home: api.pm2_home, daemon_mode: api.daemon_mode });
  const { public_key, secret_key, machine_name } = api;
  return Object.assign(client, { public_key, secret_key, machine_name });
}

/** The section `pm2` of the configuration store; `{}` if there is no such file or it cannot be read. */
function readConfiguration(file) {
  try {
    return JSON.parse(require('node:fs').readFileSync(file, 'utf8')).pm2 ?? {};
  } catch {
    return {};
  }
}

// Ordinary properties of the prototype, because wrappers walk it.
for (const [length, names] of Object.entries(FURTHER)) {
  for (const name of names.split(' ')) {
    const work = (api, args) => require('./further.js').Further.prototype[name].apply(api, args);
    Object.defineProperty(API.prototype, name, { configurable: true, writable: true, value: callable(name, Number(length), work) });
  }
}
acceptEarlyCallbacks(API.prototype);

module.exports = API;
