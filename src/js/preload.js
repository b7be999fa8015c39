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

/** How long a worker with a SIGINT listener waits for the signal that follows the word to leave. */
const SIGNAL_MAX_MS = 1000;

/** How long an idle connection stays open while its server closes: a request on its way to it must not meet a closed door. */
const IDLE_GRACE_MS = 500;

/** Where `@pm2/io` leaves itself in the global object. */
const LIBRARY = Symbol.for('@pm2/io');

/** HTTP/2 servers that listen, and their sessions. Node itself keeps no list of sessions before version 24. */
const http2 = { servers: new Set(), sessions: new Set(), isDraining: false };

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
  if (isReporting) {
    watchErrors(report);
    beginLibrary();
  }
  if (isWorker) {
    hearDisconnect();
    followHttp2();
  }
}

/**
 * Version 2 of `@pm2/io` reports no metric before its `init` is called, which an app under pm2 did not have to do. When it is loaded it takes
 * whatever is in the global object at its symbol for itself: so what waits for it is on the object behind.
 */
function beginLibrary() {
  const behind = Object.getPrototypeOf(globalThis);
  Object.defineProperty(behind, LIBRARY, {
    configurable: true,
    set(library) {
      delete behind[LIBRARY];
      globalThis[LIBRARY] = library;
      // When the script has had its chance to do so with a configuration.
      setImmediate(() => library?.metricsFeature?._started === false && library.init());
    },
  });
}

/** Sends by the channel that Node has opened itself. */
function reportByNode(message) {
  if (process.connected) process.send(message, undefined, undefined, () => {});
}

/** Sees `disconnect` before Node itself does, which closes the servers then. It does not show: Node's first listener is replaced by ours. */
function hearDisconnect() {
  const [first, ...others] = process.listeners('internalMessage');
  process.removeAllListeners('internalMessage');
  process.on('internalMessage', function (message, handle) {
    if (message.cmd === 'NODE_CLUSTER' && message.act === 'disconnect') onDisconnect();
    return first.call(this, message, handle);
  });
  for (const other of others) process.on('internalMessage', other);
}

function onDisconnect() {
  try {
    drainServers();
  } catch {
    // Then it is as without us.
  }
  const sigint = process.listenerCount('SIGINT') > 0;
  // Without servers nothing may keep the process alive until the signal comes.
  if (sigint)
    process.once(
      'SIGINT',
      clearTimeout.bind(
        null,
        setTimeout(() => {}, SIGNAL_MAX_MS),
      ),
    );
  reportByNode({ cmd: 'NODE_PM2', sigint });
}

function followHttp2() {
  const { Server } = require('net');
  const { listen } = Server.prototype;
  Server.prototype.listen = function (...args) {
    // A method of HTTP/2 servers only.
    if (typeof this.updateSettings === 'function' && !http2.servers.has(this)) {
      http2.servers.add(this);
      this.on('session', onSession);
    }
    return listen.apply(this, args);
  };
}

function onSession(session) {
  http2.sessions.add(session);
  session.once('close', () => http2.sessions.delete(session));
  // Accepted before, and its first request is on its way.
  if (http2.isDraining) later(() => session.close());
}

/**
 * From now on every response says that it is the last of its connection. Connections that wait for a request are not closed when their
 * server is, as Node does, but a little later.
 */
function drainServers() {
  const isLoaded = (name) => process.moduleLoadList.includes(`NativeModule ${name}`);
  const closed = watchClosing();
  // What https and http2 are made of as well, neither of which loads `http` itself.
  const isHttp = isLoaded('_http_server');
  const modules = [...(isHttp ? ['http'] : []), ...(isLoaded('https') ? ['https'] : [])];
  const prototypes = modules.map((name) => require(name).Server.prototype);
  const releases = [...prototypes, ...http2.servers].map((server) => putOff(server, 'closeIdleConnections'));
  if (isHttp) endKeepAlive(require('http').ServerResponse.prototype);
  http2.isDraining = true;
  // What it has not begun it refuses in so many words, and clients repeat that by themselves. Node has no other way to say goodbye.
  for (const session of http2.sessions) session.close();
  later(() => {
    for (const release of releases) release();
    for (const server of closed) server.closeIdleConnections?.();
  });
}

/** Not what keeps the process alive: whatever is to be waited for does so itself. */
function later(act) {
  setTimeout(act, IDLE_GRACE_MS).unref();
}

/** Has a method do nothing until the function that this returns is called. */
function putOff(object, name) {
  const before = Object.getOwnPropertyDescriptor(object, name);
  if (before === undefined) return () => {};
  Object.defineProperty(object, name, { ...before, value() {} });
  return () => Object.defineProperty(object, name, before);
}

/** The servers that are closed from now on. */
function watchClosing() {
  const closed = new Set();
  const unknown = new Set();
  let isNode = true;
  // Node closes all of them as soon as our listener has returned.
  process.nextTick(() => {
    isNode = false;
  });
  const { Server } = require('net');
  const { close } = Server.prototype;
  Server.prototype.close = function (callback) {
    closed.add(this);
    if (this.keepAliveTimeout !== undefined) this.keepAliveTimeout = IDLE_GRACE_MS;
    if (isNode) unknown.add(this);
    else if (unknown.delete(this) && typeof callback === 'function') {
      // The application does not know that Node has been first: to it this is no error.
      this.once('close', () => callback());
      return close.call(this);
    }
    return close.call(this, callback);
  };
  return closed;
}

/** Every response that has not begun yet is the last of its connection, whatever the application or a server behind it wants. */
function endKeepAlive(prototype) {
  const { _storeHeader } = prototype;
  prototype._storeHeader = function (firstLine, headers) {
    this.shouldKeepAlive = false;
    return _storeHeader.call(this, firstLine, headers && withoutKeepAlive(headers));
  };
}

/** `headers` as Node's `_storeHeader` takes them: its own table of `[name, value]`, a list of pairs, a flat list, or the application's object. */
function withoutKeepAlive(headers) {
  const isOne = (name, value) => String(name).toLowerCase() === 'connection' && /keep-alive/i.test(value);
  if (Array.isArray(headers)) {
    if (Array.isArray(headers[0])) return headers.map((pair) => (isOne(...pair) ? [pair[0], 'close'] : pair));
    return headers.map((value, i) => (i % 2 === 1 && isOne(headers[i - 1], value) ? 'close' : value));
  }
  for (const name of Object.keys(headers)) {
    const value = headers[name];
    const isPair = Array.isArray(value) && value.length === 2 && String(value[0]).toLowerCase() === name;
    if (!isOne(name, isPair ? value[1] : value)) continue;
    // Node tells its own table by its identity; the application's object may be in use elsewhere, or frozen.
    if (isPair) value[1] = 'close';
    else headers = { ...headers, [name]: 'close' };
  }
  return headers;
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
    if (!isToldByLibrary('uncaughtException', 0)) report({ type: 'process:exception', data: describe(error) });
  });
  // Who sets Node's own switch has decided.
  const isDecided = (text) => text.includes('--unhandled-rejections');
  if (process.execArgv.some(isDecided) || isDecided(env.NODE_OPTIONS || '')) return;
  process.on('unhandledRejection', (reason) => {
    if (reason !== reported && !isToldByLibrary('unhandledRejection', 1)) report({ type: 'process:exception', data: describe(reason) });
    if (process.listenerCount('unhandledRejection') === 1) console.error(reason);
  });
}

/** Does an `@pm2/io` that the script has loaded tell of such errors itself? It listens for them then, in workers of a cluster it does not. */
function isToldByLibrary(event, own) {
  return !isWorker && globalThis[LIBRARY] !== undefined && process.listenerCount(event) > own;
}

function describe(error) {
  const cut = (value) => String(value).slice(0, TEXT_MAX);
  try {
    if (typeof error !== 'object' || error === null) {
      // As the library that pm2 loads says it.
      const message = cut(`Non-error value: ${typeof error === 'string' ? JSON.stringify(error) : String(error)}`);
      return { name: 'Error', message, stack: `Error: ${message}` };
    }
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
