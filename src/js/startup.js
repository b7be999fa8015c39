'use strict';

/*
 * Starting at boot. The work is native; here callers' argument shapes become one request. Neither starts a daemon.
 */

const { badArgument, settle } = require('./settle.js');

/** What is taken of the options: pm2's own command line hands in an object full of other things. */
const OPTIONS = ['user', 'hp', 'serviceName', 'waitIp', 'print', 'root'];

/** `([platform], [options], [callback])`. */
function run(api, method, platform, options, callback) {
  if (typeof platform === 'function') return run(api, method, undefined, undefined, platform);
  if (typeof platform === 'object' && platform !== null) return run(api, method, undefined, platform, options);
  if (typeof options === 'function') return run(api, method, platform, undefined, options);
  return settle(callback, async () => {
    if (platform !== undefined && platform !== null && typeof platform !== 'string') {
      throw badArgument(method, 'platform', platform, 'the name of an init system');
    }
    if (options !== undefined && options !== null && typeof options !== 'object')
      throw badArgument(method, 'options', options, 'an object');
    const { env, execPath } = process;
    const payload = { platform, options: known(method, options ?? {}), env: { ...env }, cwd: api.cwd, node: execPath };
    const verb = method === 'startup' ? 'startup' : 'unstartup';
    return JSON.parse(await api.Client.startup(verb, JSON.stringify(payload)));
  });
}

/** JSON would leave out what is no value; as an option that is refused by its name. */
function known(method, options) {
  const found = {};
  for (const name of OPTIONS) {
    const value = options[name];
    if (['function', 'symbol', 'bigint'].includes(typeof value)) throw badArgument(method, name, value, 'text, or true or false');
    if (value !== undefined) found[name] = typeof value === 'object' && value !== null ? {} : value;
  }
  return found;
}

module.exports = { run };
