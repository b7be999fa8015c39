'use strict';

/*
 * The methods of the API that few programs call. Each is a line here; its work is in a file of its own, which is loaded at the first call.
 */

const { settle } = require('./settle.js');

/** Its methods become those of the API (see the end of `api.js`). Arguments and values are in `index.d.ts`. */
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
}

module.exports = { Further };
