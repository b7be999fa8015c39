'use strict';

/*
 * What tools written for pm2 reach by `pm2/lib/API/Modules/Modularizer`: the methods about modules, with the instance for a first argument.
 */

module.exports = {
  install: (api, what, options, callback) => api.install(what, options, callback),
  uninstall: (api, name, callback) => api.uninstall(name, callback),
  launchModules: (api, callback) => api.launchModules(callback),
  package: (api, folder, callback) => api.package(folder, callback),
  publish: (api, folder, options, callback) => api.publish(folder, options, callback),
};
