// The one file a managed Node application loads before its own script: `node [node_args] --require <this file> script args…`.
//
// **Contract with the daemon**, for every interpreter that is Node and that the daemon itself starts with this file:
// * `--require <absolute path of this file>` are the last two words before the script.
// * The application's end of the IPC channel is descriptor n and the environment says `PM2_CHANNEL_FD=<n>`.
//   `NODE_CHANNEL_FD` and `NODE_CHANNEL_SERIALIZATION_MODE` are then NOT set. Everything else that is started (shell scripts, binaries,
//   bun) gets plain `NODE_CHANNEL_FD=<n>`, `NODE_CHANNEL_SERIALIZATION_MODE=json` and no preload.
//   What travels on the channel is Node's JSON line protocol from the first byte, whether or not the script ever uses it.
//   In cluster mode the channel is Node's own too and the environment says `PM2_PRELOAD_WORKER=1`.
//   The descriptor may be blocking. Until the script first uses the channel nobody reads it: what the daemon sends waits in the socket.
// * `PM2_PRELOAD_PMX=0`: nothing is reported and Node's own rule holds for unhandled rejections (`pmx: false`, `automation: false`).
// * `PM2_PRELOAD_SOURCE_MAPS=1`: stacks name the original files.
// * `PROCESS_TITLE` and `pm_exec_path` make the title, `pm_cwd` makes `PWD`.
// All `PM2_PRELOAD_*` and `PM2_CHANNEL_FD` are removed before the script runs.
//
// What it sends: `{"node_version":"20.1.0"}` once at start and `{"type":"process:exception","data":{name,message,stack,…}}`;
// a worker that is told to disconnect `{"cmd":"NODE_PM2","sigint":<whether the script listens for SIGINT>}`.
//
// **Invariant:** nothing is loaded here that a bare `node script` would not load. Node opens a channel given as `NODE_CHANNEL_FD` at start, and
// with it net, dgram and child_process: 1.2 to 3.2 MB in every process, used or not. Here that happens at first use.
'use strict';

const { env } = process;
const channelFd = env.PM2_CHANNEL_FD;
const isWorker = env.PM2_PRELOAD_WORKER === '1';
const isReporting = env.PM2_PRELOAD_PMX !== '0';
const hasSourceMaps = env.PM2_PRELOAD_SOURCE_MAPS === '1';

/** Longest text of a report: an exception must not fill the socket and block the application that is about to end. */
const TEXT_MAX = 16 * 1024;

/** How long an idle connection stays open while its server closes: a request on its way to it must not meet a closed door. */
const IDLE_GRACE_MS = 500;

hide();
// Without the variable this is a thread of an application, or a child that was given our flag by hand: both are only to be left alone.
if (isWorker) start(reportByNode);
else if (channelFd !== undefined) start(installChannel(Number(channelFd)));

function start(report) {
  if (env.pm_cwd !== undefined) env.PWD = env.pm_cwd;
  const title = env.PROCESS_TITLE || (env.pm_exec_path && `node ${env.pm_exec_path}`);
  if (title) process.title = title;
  if (hasSourceMaps) process.setSourceMapsEnabled(true);
  report({ node_version: process.versions.node });
  if (isReporting) watchErrors(report);
  if (isWorker) process.prependListener('internalMessage', onInternalMessage);
}

/** Sends by the channel that Node has opened itself. */
function reportByNode(message) {
  if (process.connected) process.send(message, undefined, undefined, () => {});
}

/** Sees `disconnect` before Node itself does, which closes the servers then. */
function onInternalMessage(message) {
  if (message.cmd !== 'NODE_CLUSTER' || message.act !== 'disconnect') return;
  process.removeListener('internalMessage', onInternalMessage);
  try {
    drainServers();
  } catch {
    // Then it is as without us.
  }
  reportByNode({ cmd: 'NODE_PM2', sigint: process.listenerCount('SIGINT') > 0 });
}

/**
 * From now on every response says that it is the last of its connection. Connections that wait for a request are not closed when their
 * server is, as Node does, but a little later.
 */
function drainServers() {
  const isLoaded = (name) => process.moduleLoadList.includes(`NativeModule ${name}`);
  const closing = new Set();
  const { Server } = require('net');
  const { close } = Server.prototype;
  Server.prototype.close = function (...args) {
    closing.add(this);
    if (this.keepAliveTimeout !== undefined) this.keepAliveTimeout = IDLE_GRACE_MS;
    return close.apply(this, args);
  };
  const closeIdle = new Map();
  for (const name of ['http', 'https'].filter(isLoaded)) {
    const { prototype } = require(name).Server;
    if (prototype.closeIdleConnections === undefined) continue;
    closeIdle.set(prototype, prototype.closeIdleConnections);
    prototype.closeIdleConnections = () => {};
  }
  if (isLoaded('http')) {
    const { prototype } = require('http').ServerResponse;
    const { _storeHeader } = prototype;
    prototype._storeHeader = function (...args) {
      this.shouldKeepAlive = false;
      return _storeHeader.apply(this, args);
    };
  }
  setTimeout(() => {
    for (const [prototype, original] of closeIdle) prototype.closeIdleConnections = original;
    for (const server of closing) server.closeIdleConnections?.();
  }, IDLE_GRACE_MS).unref();
}

/** Takes every trace of this file out of what the script can see. */
function hide() {
  for (const name of ['PM2_CHANNEL_FD', 'PM2_PRELOAD_WORKER', 'PM2_PRELOAD_PMX', 'PM2_PRELOAD_SOURCE_MAPS']) delete env[name];
  const { execArgv } = process;
  if (execArgv[execArgv.length - 2] === '--require') execArgv.length -= 2;
  const Module = module.constructor;
  delete Module._cache[__filename];
  for (const key of Object.keys(Module._pathCache)) {
    if (Module._pathCache[key] === __filename) delete Module._pathCache[key];
  }
}

/**
 * Gives `process` the members it has with an IPC channel; the first use of any of them opens it.
 * Returns a function that sends one message without opening it.
 */
function installChannel(fd) {
  const lazy = ['send', 'disconnect', 'connected', 'channel', '_channel'];
  let isOpen = false;

  function open() {
    if (isOpen) return;
    isOpen = true;
    // What the script has put there itself stays.
    const own = Object.entries({ send, disconnect }).filter(([name, stub]) => process[name] !== stub);
    const kept = own.map(([name]) => [name, process[name]]);
    for (const name of lazy) delete process[name];
    process.removeListener('newListener', onNewListener);
    process.removeListener('removeListener', onRemoveListener);
    require('child_process')._forkChild(fd, 'json');
    realSend = process.send;
    realDisconnect = process.disconnect;
    for (const [name, value] of kept) process[name] = value;
  }

  let realSend;
  let realDisconnect;

  function onNewListener(name) {
    if (name !== 'message' && name !== 'disconnect' && name !== 'internalMessage') return;
    open();
    // Node counts listeners in a handler of its own, which has missed this one.
    if (name !== 'internalMessage') process.channel.refCounted();
  }

  // `process.removeAllListeners()` would leave nobody to open the channel for a later listener.
  function onRemoveListener(name, listener) {
    if (listener === onNewListener) open();
  }

  // Written so that they have the names and lengths of Node's own: none and 4, none and 0.
  process.send = function (message, handle, options, callback) {
    open();
    return realSend.apply(this, arguments);
  };
  process.disconnect = function () {
    open();
    return realDisconnect.apply(this, arguments);
  };
  const { send, disconnect } = process;
  for (const name of ['connected', 'channel', '_channel']) {
    Object.defineProperty(process, name, {
      configurable: true,
      enumerable: true,
      get() {
        open();
        return process[name];
      },
      set(value) {
        Object.defineProperty(process, name, { configurable: true, enumerable: true, writable: true, value });
      },
    });
  }
  process.on('newListener', onNewListener);
  process.on('removeListener', onRemoveListener);

  return function report(message) {
    try {
      if (!isOpen) write(fd, `${JSON.stringify(message)}\n`);
      else if (process.connected) realSend.call(process, message, undefined, undefined, () => {});
    } catch {
      // The daemon is gone. That is no reason to disturb the application.
    }
  };
}

/**
 * Writes at once, so that a report made while the application dies arrives. On Node 18 the first public `require('fs')` also builds what
 * `import` would need of it, fs/promises included: 0.6 MB and 2.5 ms. That line is frozen, so its binding can be relied on.
 */
function write(fd, text) {
  if (process.version.startsWith('v18.')) process.binding('fs').writeString(fd, text, null, 'utf8', undefined, {});
  else require('fs').writeSync(fd, text);
}

/** Tells the daemon about exceptions without changing what Node does, and keeps the application alive over an unhandled rejection. */
function watchErrors(report) {
  let reported;
  process.on('uncaughtExceptionMonitor', (error) => {
    reported = error;
    report({ type: 'process:exception', data: describe(error) });
  });
  // Who sets Node's own switch has decided.
  const isDecided = (text) => text.includes('--unhandled-rejections');
  if (process.execArgv.some(isDecided) || isDecided(env.NODE_OPTIONS || '')) return;
  process.on('unhandledRejection', (reason) => {
    if (reason !== reported) report({ type: 'process:exception', data: describe(reason) });
    if (process.listenerCount('unhandledRejection') === 1) console.error(reason);
  });
}

function describe(error) {
  const cut = (value) => String(value).slice(0, TEXT_MAX);
  try {
    if (typeof error !== 'object' || error === null) return { name: 'Error', message: cut(error), stack: cut(error) };
    const data = { name: cut(error.name), message: cut(error.message), stack: cut(error.stack) };
    for (const name of ['code', 'errno', 'syscall', 'path', 'address', 'port']) {
      const value = error[name];
      if (typeof value === 'string' || typeof value === 'number') data[name] = value;
    }
    return data;
  } catch {
    return { name: 'Error', message: 'an exception that cannot be read', stack: '' };
  }
}
