'use strict';

/*
 * The configuration store of the default home, as tools written for pm2 reach it by `pm2/lib/Configuration`. Restarts nothing.
 *
 * Compat: what ends in `Sync` gives false or null where the others fail, and a change gives the whole store.
 */

const paths = require('./paths.js');
const { settle } = require('./settle.js');
const { Store, toPairs } = require('./store.js');

const store = () => new Store(paths(process.env.PM2_HOME).PM2_MODULE_CONF_FILE);

/** What is refused or not set is said with these codes; anything else, such as a file that cannot be written, is for the caller. */
const ANSWERS = new Set(['ERR_INVALID_ARG_TYPE', 'ERR_PM2_NOT_SET']);

function attempt(work, fallback) {
  try {
    return work();
  } catch (error) {
    if (ANSWERS.has(error.code)) return fallback;
    throw error;
  }
}

function changed(callback, change) {
  return settle(callback, () => {
    change();
    return store().get();
  });
}

const Configuration = {
  set: (key, value, callback) => changed(callback, () => store().set('set', [[key, value]])),
  unset: (key, callback) => changed(callback, () => store().unset(key)),
  multiset: (text, callback) => changed(callback, () => store().set('multiset', toPairs(text))),
  getAll: (callback) => settle(callback, () => store().get()),
  getAllSync: () => store().get(),

  /** Its callback gets null beside the error. */
  get(key, callback) {
    return settle(callback, () => {
      try {
        return store().get(key);
      } catch (error) {
        throw Object.assign(error, { value: null });
      }
    });
  },

  /** The value, or null when there is none. */
  getSync: (key) => attempt(() => store().get(key), null),

  setSync(key, value) {
    return attempt(() => store().set('set', [[key, value]]) !== undefined, false);
  },

  setSyncIfNotExist(key, value) {
    return Configuration.getSync(key) === null && Configuration.setSync(key, value);
  },

  unsetSync(key) {
    return attempt(() => store().unset(key) === undefined, false);
  },
};

module.exports = Configuration;
