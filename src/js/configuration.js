'use strict';

/*
 * The configuration store of the default home, as tools written for pm2 reach it by `pm2/lib/Configuration`. Restarts nothing.
 */

const paths = require('./paths.js');
const { settle } = require('./settle.js');
const { Store, toPairs } = require('./store.js');

const store = () => new Store(paths(process.env.PM2_HOME).PM2_MODULE_CONF_FILE);

const Configuration = {
  set: (key, value, callback) => settle(callback, () => Configuration.setSync(key, value) && { success: true }),
  unset: (key, callback) => settle(callback, () => Configuration.unsetSync(key) && { success: true }),
  multiset: (text, callback) => settle(callback, () => store().set('multiset', toPairs(text))),
  get: (key, callback) => settle(callback, () => store().get(key)),
  getAll: (callback) => settle(callback, () => store().get()),
  getAllSync: () => store().get(),

  /** The value, or null when there is none. */
  getSync(key) {
    try {
      return store().get(key);
    } catch (error) {
      if (error.code === 'ERR_PM2_NOT_SET') return null;
      throw error;
    }
  },

  setSync(key, value) {
    store().set('set', [[key, value]]);
    return true;
  },

  setSyncIfNotExist(key, value) {
    return Configuration.getSync(key) === null && Configuration.setSync(key, value);
  },

  unsetSync(key) {
    store().unset(key);
    return true;
  },
};

module.exports = Configuration;
