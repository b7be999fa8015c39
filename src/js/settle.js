'use strict';

/**
 * Starts `work` and gives its outcome to `callback`, error first, or to the promise that is returned when there is no callback.
 *
 * The callback runs exactly once and outside of every promise, so that what it throws is an uncaught exception, as with any callback
 * of Node's. A failure that nobody asks about (no callback, the promise dropped) is not an unhandled rejection either: scripts written
 * for pm2 call `pm2.stop('api')` and let it be.
 *
 * @template T
 * @param {Function | null | undefined} callback
 * @param {() => Promise<T> | T} work
 * @param {(value: T) => unknown[]} [values] what follows the `null` of the callback
 * @returns {Promise<T> | undefined}
 */
function settle(callback, work, values = (value) => [value]) {
  if (callback !== undefined && callback !== null && typeof callback !== 'function') {
    throw Object.assign(new TypeError(`The callback must be a function, not ${describe(callback)}`), {
      code: 'ERR_INVALID_ARG_TYPE',
    });
  }
  // `work` begins in this tick, and what it throws becomes a rejection.
  const promise = (async () => work())();
  if (!callback) {
    promise.catch(() => {});
    return promise;
  }
  promise.then(
    (value) => process.nextTick(callback, null, ...values(value)),
    (error) => process.nextTick(callback, error.errors && error.isList ? error.errors : error, error.value),
  );
  return undefined;
}

/** A value as an error message shows it: short, and never its content when that is an object. */
function describe(value) {
  if (value === null || value === undefined) return String(value);
  if (typeof value === 'string') return value.length > 60 ? `'${value.slice(0, 57)}…'` : `'${value}'`;
  if (typeof value === 'function') return 'a function';
  if (Array.isArray(value)) return 'an array';
  if (typeof value === 'object') return 'an object';
  if (typeof value === 'symbol') return 'a symbol';
  return `${value} (${typeof value})`;
}

/** The error for the argument `name` of `method`. */
function badArgument(method, name, value, allowed) {
  const message = `The "${name}" argument of pm2.${method} must be ${allowed}, not ${describe(value)}`;
  return Object.assign(new TypeError(message), { code: 'ERR_INVALID_ARG_TYPE' });
}

/** Method → how many arguments come before its callback at the least. */
const REQUIRED = {
  start: 1,
  restart: 1,
  reload: 1,
  gracefulReload: 1,
  stop: 1,
  delete: 1,
  scale: 2,
  reset: 1,
  describe: 1,
  getProcessIdByName: 1,
  env: 1,
  multiset: 1,
  unset: 1,
  remote: 2,
  remoteV2: 2,
  sendDataToProcessId: 1,
  sendLineToStdin: 2,
  sendSignalToProcessName: 2,
  sendSignalToProcessId: 2,
  msgProcess: 1,
  trigger: 2,
  monitorState: 2,
  install: 1,
  uninstall: 1,
};

/**
 * Has these methods of a prototype take a callback that comes where an argument should be, as in `pm2.stop((error) => …)`, for what it is: it
 * hears what is missing, instead of being taken for the argument and never called. They stay what they were otherwise, name and length included.
 */
function acceptEarlyCallbacks(prototype) {
  for (const [name, count] of Object.entries(REQUIRED)) {
    const method = prototype[name];
    const work = (self, args) => {
      const at = args.findIndex((each) => typeof each === 'function');
      if (at >= 0 && at < count) args.splice(at, 0, ...Array(count - at).fill(undefined));
      return method.apply(self, args);
    };
    Object.defineProperty(prototype, name, { configurable: true, writable: true, value: callable(name, method.length, work) });
  }
}

/** A method of this name and this number of arguments, which callers may look at; `work` gets `this` and all arguments. */
function callable(name, length, work) {
  const { method } = {
    method(...args) {
      return work(this, args);
    },
  };
  Object.defineProperty(method, 'name', { configurable: true, value: name });
  return Object.defineProperty(method, 'length', { configurable: true, value: length });
}

module.exports = { acceptEarlyCallbacks, callable, settle, describe, badArgument };
