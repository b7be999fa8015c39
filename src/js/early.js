'use strict';

/*
 * A callback that comes where an argument should be, as in `pm2.stop((error) => …)`: it hears what is missing, instead of being
 * taken for the argument and never called.
 */

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

/** Has these methods of a prototype take an early callback for what it is. They stay what they were otherwise, name and length included. */
function acceptEarlyCallbacks(prototype) {
  for (const [name, count] of Object.entries(REQUIRED)) {
    const descriptor = Object.getOwnPropertyDescriptor(prototype, name);
    const method = descriptor.value;
    const value = {
      [name](...args) {
        const at = args.findIndex((each) => typeof each === 'function');
        if (at >= 0 && at < count) args.splice(at, 0, ...Array(count - at).fill(undefined));
        return method.apply(this, args);
      },
    }[name];
    Object.defineProperty(value, 'length', { configurable: true, value: method.length });
    Object.defineProperty(prototype, name, { ...descriptor, value });
  }
}

module.exports = { acceptEarlyCallbacks };
