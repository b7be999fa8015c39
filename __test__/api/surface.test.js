'use strict';

const fs = require('node:fs');
const path = require('node:path');
const { sandbox, testOurs, packageFolder } = require('./helper.js');

const box = sandbox();

const METHODS = [
  'connect',
  'disconnect',
  'close',
  'kill',
  'killDaemon',
  'start',
  'restart',
  'reload',
  'stop',
  'delete',
  'scale',
  'reset',
  'list',
  'describe',
  'getProcessIdByName',
  'getPID',
  'getVersion',
  'ping',
  'dump',
  'flush',
  'reloadLogs',
  'launchBus',
  'sendDataToProcessId',
  'sendLineToStdin',
  'sendSignalToProcessName',
  'sendSignalToProcessId',
  'msgProcess',
  'trigger',
  'monitorState',
  '_startJson',
  'actionFromJson',
  'env',
  'get',
  'set',
  'multiset',
  'unset',
  'conf',
  'remote',
  'remoteV2',
  'destroy',
];

test('the package is a ready instance of the class that it also exports', () => {
  const pm2 = require(packageFolder);
  expect(pm2.custom.name).toBe('API');
  expect(pm2.constructor).toBe(pm2.custom);
  expect(new pm2.custom({ pm2_home: box.home })).toBeInstanceOf(pm2.custom);
});

test("an instance shows the fields that pm2 shows, in pm2's order", () => {
  expect(Object.keys(box.pm2)).toEqual([
    'daemon_mode',
    'pm2_home',
    'public_key',
    'secret_key',
    'machine_name',
    'cwd',
    '_conf',
    'Client',
    'pm2_configuration',
    'gl_interact_infos',
    'gl_is_km_linked',
    'gl_retry',
  ]);
  expect(box.pm2).toMatchObject({ daemon_mode: true, pm2_home: box.home, cwd: box.folder, pm2_configuration: {}, gl_is_km_linked: false });
  expect(box.pm2.Client).toMatchObject({
    daemon_mode: true,
    pm2_home: box.home,
    rpc_socket_file: path.join(box.home, 'rpc.sock'),
    pub_socket_file: path.join(box.home, 'pub.sock'),
  });
  expect(box.pm2._conf.DUMP_FILE_PATH).toBe(path.join(box.home, 'dump.pm2'));
});

test('every method can be found and wrapped by walking the prototype', () => {
  const { custom } = require(packageFolder);
  for (const name of METHODS) {
    const descriptor = Object.getOwnPropertyDescriptor(custom.prototype, name);
    expect([name, typeof descriptor?.value, descriptor?.configurable, descriptor?.writable]).toEqual([name, 'function', true, true]);
  }
});

testOurs('gracefulReload exists, because the documents have it', () => {
  expect(typeof box.pm2.gracefulReload).toBe('function');
});

test('files that are reached by their path are there', () => {
  const { custom } = require(packageFolder);
  expect(require(path.join(packageFolder, 'lib/API.js'))).toBe(custom);
  expect(require(path.join(packageFolder, 'package.json')).name).toBe('pm2');
  expect(require(path.join(packageFolder, 'constants'))).toMatchObject({
    ONLINE_STATUS: 'online',
    STOPPED_STATUS: 'stopped',
    ERRORED_STATUS: 'errored',
    CLUSTER_MODE_ID: 'cluster_mode',
    FORK_MODE_ID: 'fork_mode',
    KILL_TIMEOUT: 1600,
    GRACEFUL_LISTEN_TIMEOUT: 3000,
    WORKER_INTERVAL: 30000,
  });
  expect(require(path.join(packageFolder, 'paths'))('/x')).toMatchObject({
    PM2_HOME: '/x',
    PM2_LOG_FILE_PATH: '/x/pm2.log',
    PM2_PID_FILE_PATH: '/x/pm2.pid',
    DEFAULT_LOG_PATH: '/x/logs',
    DAEMON_RPC_PORT: '/x/rpc.sock',
  });
});

test('a home and an independent instance exclude each other', () => {
  const { custom } = require(packageFolder);
  expect(() => new custom({ pm2_home: box.home, independent: true })).toThrow(
    'You cannot set a pm2_home and independent instance in same time',
  );
});

test('a relative cwd is resolved', () => {
  expect(box.instance({ cwd: '../fixtures' }).cwd).toBe(path.resolve('../fixtures'));
});

test('loading the package marks the process as programmatic', async () => {
  const { stdout } = await box.run('require(process.env.PM2_UNDER_TEST); console.log(process.env.PM2_PROGRAMMATIC)');
  expect(stdout).toBe('true\n');
});

testOurs('loading the package changes nothing else: no file, no other variable, no listener, no native code', async () => {
  const { stdout } = await box.run(`
    const before = { ...process.env };
    const events = process.eventNames().length;
    require(process.env.PM2_UNDER_TEST);
    const changed = Object.keys(process.env).filter((name) => process.env[name] !== before[name]);
    const native = Object.keys(require.cache).filter((file) => file.endsWith('.node'));
    console.log(JSON.stringify([changed, process.eventNames().length - events, native]));`);
  expect(JSON.parse(stdout)).toEqual([['PM2_PROGRAMMATIC'], 0, []]);
  expect(fs.existsSync(box.home)).toBe(false);
});

testOurs("the constructor leaves the home alone, and one instance leaves another's paths alone", () => {
  const other = box.instance({ pm2_home: path.join(box.folder, 'other') });
  expect(other._conf.DAEMON_RPC_PORT).toBe(path.join(box.folder, 'other', 'rpc.sock'));
  expect(box.pm2._conf.DAEMON_RPC_PORT).toBe(path.join(box.home, 'rpc.sock'));
  expect(fs.existsSync(box.home)).toBe(false);
});

testOurs('a callback that is no function is the one thing that throws', () => {
  expect(() => box.pm2.list({}, 5)).toThrow('The callback must be a function, not 5 (number)');
  expect(() => box.pm2.stop('x', {}, 'then')).toThrow('The callback must be a function');
});
