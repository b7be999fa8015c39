'use strict';

/*
 * Which modules are installed: two sections of the configuration store, as pm2 keeps them.
 */

const fs = require('node:fs');
const { Store } = require('./store.js');

const SECTIONS = { package: 'module-db-v2', tarball: 'tar-modules' };

/** Whether the store speaks of modules at all. Cheap: it is asked whenever a daemon has been launched. */
function installed(file) {
  try {
    const text = fs.readFileSync(file, 'utf8');
    return Object.values(SECTIONS).some((name) => text.includes(`"${name}"`));
  } catch {
    // No store, no modules.
    return false;
  }
}

/** Where a module came from, `package` or `tarball`; null for one that is not installed. */
function sourceOf(file, name) {
  const store = new Store(file);
  return Object.keys(SECTIONS).find((source) => Object.hasOwn(store.section(SECTIONS[source]), name)) ?? null;
}

/** Names of all that are installed. */
function namesIn(file) {
  const store = new Store(file);
  return Object.values(SECTIONS).flatMap((section) => Object.keys(store.section(section)));
}

function record(file, source, name, facts) {
  new Store(file).merge(SECTIONS[source], { [name]: facts }, { isNewer: true });
}

function forget(file, name) {
  const source = sourceOf(file, name);
  if (source !== null) new Store(file).forget(SECTIONS[source], name);
}

/** Gives a module the options of its package that the user has not set. */
function setDefaults(file, name, config) {
  if (typeof config !== 'object' || config === null || Array.isArray(config) || Object.keys(config).length === 0) return;
  new Store(file).merge(name, config, { isNewer: false });
}

module.exports = { installed, sourceOf, namesIn, record, forget, setDefaults };
