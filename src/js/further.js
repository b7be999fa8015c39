'use strict';

/*
 * The methods of the API that few programs call. Each is a line here; its work is in a file of its own, which is loaded at the first call.
 */

const { callable, settle } = require('./settle.js');

/** Its methods become those of the API, which lists them (`FURTHER` in `api.js`). Arguments and values are in `index.d.ts`. */
class Further {
  /** `([folder], [port], [options], [commander], [callback])`: hands out the files of a folder by HTTP, as an app. */
  serve(folder, port, options, commander, callback) {
    const given = [folder, port, options, commander, callback];
    const last = given.findLast((each) => typeof each === 'function');
    const values = given.map((each) => (typeof each === 'function' ? undefined : each));
    return settle(last, () => require('./serve.js').serve(this, ...values));
  }

  /** `(what, [options], [callback])`: `'.'`, a tarball of a module, or what npm can install. */
  install(what, options, callback) {
    if (typeof options === 'function') return this.install(what, {}, options);
    return settle(callback, () => require('./modules.js').install(this, what, options));
  }

  /** `(name, [callback])`: stops a module and deletes it; `'all'` of them. */
  uninstall(name, callback) {
    return settle(callback, () => require('./modules.js').uninstall(this, name));
  }

  /** `([folder], [callback])`: packs a module's folder into a tarball in the current one. */
  package(folder, callback) {
    if (typeof folder === 'function') return this.package(undefined, folder);
    return settle(callback, () => require('./modules.js').pack(folder));
  }

  /** Starts every installed module. `connect` does that when it launches a daemon. */
  launchModules(callback) {
    return settle(callback, () => this.Client.act('launchModules', this.cwd, {}));
  }

  /** `([instance], [callback])`: the same for another instance. */
  launchAll(instance, callback) {
    if (typeof instance === 'function') return this.launchModules(instance);
    return (instance ?? this).launchModules(callback);
  }

  /** `(name, [callback])`: deletes the processes of that name, and leaves what is installed. */
  deleteModule(name, callback) {
    return settle(callback, () => require('./modules.js').deleteModule(this, name));
  }

  /** `(name, [callback])`: a folder with the beginnings of a module. */
  generateModuleSample(name, callback) {
    return settle(callback, () => require('./samples.js').writeModule(name));
  }

  /**
   * `([id], [lines], [raw], [timestamp], [exclusive], [highlight])`: writes the last lines of logs to this process' stdout, and then what
   * comes. There is no callback; the promise gives the bus, once the lines that come are followed.
   */
  streamLogs(id, lines, raw, timestamp, exclusive, highlight) {
    return settle(null, () => require('./log.js').streamLogs(this, id, lines, raw, timestamp, exclusive, highlight));
  }

  /** The last lines alone. */
  printLogs(id, lines, raw, _timestamp, exclusive) {
    return settle(null, () => require('./log.js').tailProcesses(this, id, lines, raw, exclusive));
  }

  /** `(script, [options], [callback])`: `start` of a script. */
  _startScript(script, options, callback) {
    return this.start(script, options, callback);
  }

  /** `(rpcMethod, target, [options], [callback])`: does it to the processes of that name, id or pattern. */
  _operate(method, target, options, callback) {
    if (typeof options === 'function') return this._operate(method, target, {}, options);
    return settle(callback, () => require('./byname.js').operateOn(this, method, target, options));
  }

  /** `(id, [separator], [callback])`: this process' stdin to the app, and what the app prints to stdout, until stdin ends. */
  attach(id, separator, callback) {
    if (typeof separator === 'function') return this.attach(id, undefined, separator);
    return settle(callback, () => require('./attach.js').attach(this, id, separator));
  }

  /** `(name, [callback])`: calls the action by which an app opens its inspector, if it has one. */
  inspect(name, callback) {
    return this.trigger(name, 'internal:inspect', undefined, callback);
  }

  /** `([callback])`: a text for whoever is asked for help. */
  report(callback) {
    return settle(callback, () => require('./report.js').report(this));
  }

  /** `(file | environment, words, [callback])`: deploys over ssh; `words` as on the command line, `['production', 'setup']`. */
  deploy(file, words, callback) {
    if (typeof words === 'function') return this.deploy(file, [], words);
    return settle(callback, () => require('./deploy.js').deploy(this, file, words));
  }

  /** `(name, [callback])`: fetches, moves the app's checkout to the newest revision of its branch, and reloads. */
  pullAndReload(name, callback) {
    return settle(callback, () => require('./revisions.js').move(this, name, 'pull'));
  }

  /** As {@link pullAndReload}. Compat: pm2 reloads here, too. */
  pullAndRestart(name, callback) {
    return this.pullAndReload(name, callback);
  }

  _pull(options, callback) {
    return this.pullAndReload(options?.process_name, callback);
  }

  /** `(name, commit, [callback])`: the same to one commit. */
  pullCommitId(name, commit, callback) {
    return settle(callback, () => require('./revisions.js').moveTo(this, name, commit));
  }

  _pullCommitId(options, callback) {
    return this.pullCommitId(options?.pm2_name, options?.commit_id, callback);
  }

  /** `(name, [callback])`: the same to the commit before. */
  backward(name, callback) {
    return settle(callback, () => require('./revisions.js').move(this, name, 'backward'));
  }

  /** `(name, [callback])`: the same to the commit after. */
  forward(name, callback) {
    return settle(callback, () => require('./revisions.js').move(this, name, 'forward'));
  }

  /** `([mode], [callback])`: writes `ecosystem.config.js`; `'simple'` for a short one. */
  generateSample(mode, callback) {
    if (typeof mode === 'function') return this.generateSample(undefined, mode);
    return settle(callback, () => require('./samples.js').writeConfiguration(mode));
  }

  /** `([options], [callback])`: writes the rules by which logrotate keeps the log files short. */
  logrotate(options, callback) {
    if (typeof options === 'function') return this.logrotate({}, options);
    return settle(callback, () => require('./logrotate.js').writeRules(this, options));
  }

  /** Writes the list to stdout as JSON. */
  jlist(_debug) {
    return settle(null, async () => {
      process.stdout.write(JSON.stringify(await this.list()));
    });
  }

  /** Writes the figures of the machine to stdout. */
  slist(_tree) {
    return settle(null, async () => {
      const figures = await this.Client.call('getSystemData', {});
      process.stdout.write(require('node:util').inspect(figures, { depth: null, colors: false }));
    });
  }

  /** Compat: prints the list on the command line, and in a program gives false and does nothing. */
  speedList(_code, _touched) {
    return false;
  }

  /** Compat: ends the command line, and in a program gives false and does nothing. */
  exitCli(_code) {
    return false;
  }
}

const AGENT = 'there is no agent of pm2.io in this package';
const CONTAINER = 'containers are made with the tools for them: this package writes no Dockerfile';
const SCREEN = 'it belongs to the command line, which is not there yet';

/**
 * What pm2 has and this package has not. Method → the names of its arguments, then why it fails and what to do instead, if there is
 * something. `monit` and `dashboard` say pm2's own words.
 */
const ABSENT = {
  monit: ['cb', 'Monit cant be called programmatically'],
  dashboard: ['cb', 'Dashboard cant be called programmatically'],
  boilerplate: ['cb', `pm2.boilerplate asks questions on a terminal: ${SCREEN}`],
  autoinstall: ['cb', 'pm2.autoinstall has no program to run, in pm2 neither'],
  deepUpdate: ['cb', 'pm2.deepUpdate installs software for everybody: run `npm install -g pm2@latest`, then call update'],
  publish: ['folder opts cb', 'pm2.publish asks questions on a terminal: use `npm publish`'],
  profile: [
    'type time cb',
    'pm2.profile is about the JavaScript of the daemon, and it has none; profile an app with the km: actions of @pm2/io',
  ],
  linkManagement: ['cmd public_key machine opts cb', `pm2.linkManagement: ${AGENT}`],
  link: ['infos cb', `pm2.link: ${AGENT}`],
  unlink: ['cb', `pm2.unlink: ${AGENT}`],
  agentInfos: ['cb', `pm2.agentInfos: ${AGENT}`],
  killAgent: ['cb', `pm2.killAgent: ${AGENT}`],
  openDashboard: ['', `pm2.openDashboard: ${AGENT}`],
  clearSetup: ['opts cb', `pm2.clearSetup: ${AGENT}`],
  minimumSetup: ['opts cb', `pm2.minimumSetup: ${AGENT}`],
  generateDockerfile: ['script opts', `pm2.generateDockerfile: ${CONTAINER}`],
  dockerMode: ['script opts mode', `pm2.dockerMode: ${CONTAINER}`],
  _handleAttributeUpdate: ['opts', "pm2._handleAttributeUpdate prepares what pm2's own restart sends; give options to restart"],
};

for (const name of Object.keys(ABSENT)) {
  Object.defineProperty(Further.prototype, name, { configurable: true, writable: true, value: failing(name) });
}

/** A method that always fails. */
function failing(name) {
  const [args, reason] = ABSENT[name];
  return callable(name, args === '' ? 0 : args.split(' ').length, (_, given) => {
    const callback = given.findLast((each) => typeof each === 'function');
    return settle(callback, () => {
      throw Object.assign(new Error(reason), { code: 'ERR_PM2_ABSENT' });
    });
  });
}

module.exports = { Further };
