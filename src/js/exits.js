'use strict';

const fs = require('node:fs');
const path = require('node:path');

const SIGNALS = ['SIGHUP', 'SIGINT', 'SIGTERM'];

/** Calls `callback(code, signal)` once when the process ends by itself or by one of the usual signals; gives what takes that back. */
function onExit(callback) {
  const listeners = [];
  const remove = () => {
    for (const [event, listener] of listeners.splice(0)) process.removeListener(event, listener);
  };
  const listen = (event, listener) => {
    listeners.push([event, listener]);
    process.on(event, listener);
  };
  listen('exit', (code) => {
    remove();
    callback(code, null);
  });
  for (const signal of SIGNALS) {
    listen(signal, () => {
      // Whoever else listens decides what follows, and `exit` comes then.
      if (process.listenerCount(signal) > 1) return;
      remove();
      callback(null, signal);
      process.kill(process.pid, signal);
    });
  }
  return remove;
}

/** What a module is told of itself: `config` of its package.json, over that the section of the configuration store in its environment. */
function moduleConfiguration(options) {
  const { reference, ...given } = options;
  const found = packageOf(require.main?.filename);
  const name = found.name ?? process.env.name;
  const defaults = typeof found.config === 'object' && found.config !== null ? found.config : {};
  const conf = { ...defaults, ...stored(name) };
  const shown = Object.entries(conf).map(([key, value]) => [key, /^passw(or)?d$/.test(key) && value ? 'Password hidden' : value]);
  return {
    ...(reference === undefined ? {} : { name: reference }),
    ...given,
    ...conf,
    widget: { type: 'generic', ...given.widget },
    isModule: true,
    module_name: name,
    module_version: found.version,
    description: found.description,
    module_conf: Object.fromEntries(shown),
  };
}

/** The package.json that the main script belongs to, at most two folders up; `{}` if there is none. */
function packageOf(script) {
  if (script === undefined) return {};
  const folder = path.dirname(script);
  for (const up of ['.', '..', '../..']) {
    try {
      return JSON.parse(fs.readFileSync(path.join(folder, up, 'package.json'), 'utf8'));
    } catch {
      // One further up.
    }
  }
  return {};
}

/** The section of this name, as the daemon has put it into the environment; texts that are numbers or booleans become those. */
function stored(name) {
  try {
    const section = JSON.parse(process.env[name]);
    return Object.fromEntries(Object.entries(section).map(([key, value]) => [key, toValue(value)]));
  } catch {
    return {};
  }
}

function toValue(text) {
  if (text === 'true' || text === 'false') return text === 'true';
  return typeof text === 'string' && text.trim() !== '' && Number.isFinite(Number(text)) ? Number(text) : text;
}

module.exports = { onExit, moduleConfiguration };
