'use strict';

const fs = require('node:fs');
const path = require('node:path');
const { sandbox, failure, isReference, testOurs, FIXTURES } = require('./helper.js');

const box = sandbox();
const IDLE = path.join(FIXTURES, 'idle.js');

const app = (name, more) => ({ name, script: IDLE, ...more });
const apps = (...names) => ({ apps: names.map((name) => app(name)) });
const write = (value) => box.write('apps.json', JSON.stringify(value));

/** Name, status and count of restarts of each process. */
const state = async () => (await box.call('list')).map(({ name, pm2_env }) => [name, pm2_env.status, pm2_env.restart_time]);

/** The reference prints some of what it does. */
const print = console.log;
beforeEach(() => {
  if (isReference) console.log = () => {};
});
afterEach(() => {
  console.log = print;
});

describe('_startJson', () => {
  test('starts what is missing and restarts what is there', async () => {
    const file = write(apps('a', 'b'));
    expect(await box.call('_startJson', file, {}, 'restartProcessId')).toHaveLength(2);
    expect(await state()).toEqual([
      ['a', 'online', 0],
      ['b', 'online', 0],
    ]);
    await box.call('_startJson', apps('b', 'c'), {}, 'restartProcessId');
    expect(await state()).toEqual([
      ['a', 'online', 0],
      ['b', 'online', 1],
      ['c', 'online', 0],
    ]);
  });

  test('reloads what is there', async () => {
    await box.call('_startJson', apps('a'), {}, 'reloadProcessId');
    const [reloaded] = await box.call('_startJson', apps('a'), {}, 'reloadProcessId');
    expect(reloaded).toMatchObject({ name: 'a', status: 'online', restart_time: 1 });
  });

  test('takes JSON text by pipe, the variables of an environment, and a choice of apps', async () => {
    const text = JSON.stringify([app('a', { env: { WHICH: 'plain' }, env_production: { WHICH: 'production' } }), app('b')]);
    await box.call('_startJson', text, { env: 'production', only: 'a' }, 'restartProcessId', 'pipe');
    const list = await box.call('list');
    expect(list.map(({ name, pm2_env }) => [name, pm2_env.WHICH])).toEqual([['a', 'production']]);
  });

  test('a relative file is looked for in the cwd of the instance', async () => {
    write(apps('a'));
    await box.call('_startJson', 'apps.json', {}, 'restartProcessId');
    expect(await state()).toEqual([['a', 'online', 0]]);
  });

  testOurs('gives a promise without a callback, and bad arguments are errors that name them', async () => {
    expect(await box.pm2._startJson(apps('a'), null, 'restartProcessId')).toHaveLength(1);
    const refused = { code: 'ERR_INVALID_ARG_TYPE' };
    expect(await failure(box.call('_startJson', apps('a'), {}, 'stopProcessId'))).toMatchObject({
      message: `The "rpcMethod" argument of pm2._startJson must be one of restartProcessId, reloadProcessId, softReloadProcessId, not 'stopProcessId'`,
    });
    expect(await failure(box.call('_startJson', apps('a'), {}, 'toString'))).toMatchObject(refused);
    expect(await failure(box.call('_startJson', 5, {}, 'restartProcessId'))).toMatchObject(refused);
    expect(await failure(box.call('_startJson', {}, 'options', 'restartProcessId'))).toMatchObject(refused);
    expect(await failure(box.call('_startJson', 5, {}, 'restartProcessId', 'pipe'))).toMatchObject(refused);
    expect(await failure(box.call('_startJson', 'none.json', {}, 'restartProcessId'))).toMatchObject({ code: 'ENOENT' });
  });
});

describe('actionFromJson', () => {
  test('stops and deletes what is declared', async () => {
    const file = write(apps('a', 'b'));
    await box.start([app('a'), app('b'), app('c')]);
    expect(await box.call('actionFromJson', 'stopProcessId', file, { only: 'a' }, 'file')).toHaveLength(1);
    expect(await box.call('actionFromJson', 'stopProcessId', file, {}, 'file')).toHaveLength(2);
    expect(await state()).toEqual([
      ['a', 'stopped', 0],
      ['b', 'stopped', 0],
      ['c', 'online', 0],
    ]);
    await box.call('actionFromJson', 'deleteProcessId', '[{"name":"b"}]', {}, 'pipe');
    await box.call('actionFromJson', 'deleteProcessId', { apps: [{ name: 'a' }] }, {}, 'object');
    expect(await state()).toEqual([['c', 'online', 0]]);
  });

  test('restarts what is managed and starts nothing', async () => {
    const file = write(apps('a', 'missing'));
    await box.start([app('a'), app('b')]);
    expect(await box.call('actionFromJson', 'restartProcessId', file, {}, 'file')).toHaveLength(1);
    expect(await box.call('actionFromJson', 'restartProcessId', write(apps('missing')), {}, 'file')).toEqual([]);
    expect(await state()).toEqual([
      ['a', 'online', 1],
      ['b', 'online', 0],
    ]);
  });

  testOurs('reloads what is managed', async () => {
    await box.start(app('a'));
    expect(await box.call('actionFromJson', 'reloadProcessId', apps('a', 'missing'), {}, 'object')).toHaveLength(1);
    expect(await state()).toEqual([['a', 'online', 1]]);
  });

  testOurs('a choice of apps holds for a restart; options and via may be left out', async () => {
    await box.start([app('a'), app('b')]);
    await box.call('actionFromJson', 'restartProcessId', apps('a', 'b'), { only: 'b' });
    await box.call('actionFromJson', 'restartProcessId', apps('a', 'b'));
    expect(await box.pm2.actionFromJson('restartProcessId', apps('a', 'b'), { only: 'c' })).toEqual([]);
    expect(await state()).toEqual([
      ['a', 'online', 1],
      ['b', 'online', 2],
    ]);
  });

  test('a file that is not there is an error', async () => {
    const none = path.join(box.folder, 'none.json');
    expect(await failure(box.call('actionFromJson', 'stopProcessId', none, {}, 'file'))).toMatchObject({
      message: expect.stringContaining(none),
    });
  });
});

describe('remote', () => {
  test('calls a method with a name, remoteV2 with arguments', async () => {
    await box.start([app('a'), app('b')]);
    expect(await box.call('remote', 'restart', { name: 'a' })).toMatchObject([{ name: 'a', restart_time: 1 }]);
    expect(await box.call('remoteV2', 'restart', { args: ['b'] })).toMatchObject([{ name: 'b', restart_time: 1 }]);
    expect(await box.call('remoteV2', 'ping', {})).toEqual({ msg: 'pong' });
  });

  testOurs('needs no arguments where the method needs none, and hands errors on', async () => {
    expect(await box.call('remote', 'ping', {})).toEqual({ msg: 'pong' });
    expect(await box.pm2.remoteV2('list')).toEqual([]);
    expect(await failure(box.call('remote', 'restart', { name: 'nobody' }))).toMatchObject({ message: 'process or namespace not found' });
  });

  testOurs('nothing but a public method can be called', async () => {
    for (const command of ['nono', 'constructor', 'toString', '__proto__', '_startJson', 'Client', 'hasOwnProperty', '', 5, null]) {
      for (const method of ['remote', 'remoteV2']) {
        expect(await failure(box.call(method, command, {}))).toMatchObject({ code: 'ERR_INVALID_ARG_TYPE' });
      }
    }
    expect(await failure(box.call('remoteV2', 'ping', { args: 'x' }))).toMatchObject({ code: 'ERR_INVALID_ARG_TYPE' });
    expect(await failure(box.call('remoteV2', 'ping', 'x'))).toMatchObject({ code: 'ERR_INVALID_ARG_TYPE' });
  });
});

describe('env', () => {
  testOurs('gives the variables of a process, without the fields of its record', async () => {
    await box.start([app('a', { env: { OWN: 'value' } }), app('b')]);
    const variables = await box.call('env', 0);
    expect(variables).toMatchObject({ OWN: 'value', PM2_HOME: box.home, NODE_APP_INSTANCE: 0, namespace: 'default' });
    for (const field of ['pm_exec_path', 'status', 'env', 'name', 'args', 'axm_monitor']) expect(variables).not.toHaveProperty(field);
    expect(await box.pm2.env('0')).toEqual(variables);
  });

  testOurs('an unknown id is an error', async () => {
    expect(await failure(box.call('env', 99))).toMatchObject({ message: 'Modules with id 99 not found' });
    expect(await failure(box.call('env', undefined))).toMatchObject({ code: 'ERR_INVALID_ARG_TYPE' });
  });
});

describe('destroy', () => {
  testOurs('ends the daemon and its apps and deletes the home', async () => {
    await box.start(app('a'));
    expect(await box.call('destroy')).toBeUndefined();
    expect(fs.existsSync(box.home)).toBe(false);
  });

  testOurs('launches nothing to end it, and a home that is not there is gone', async () => {
    await box.pm2.destroy();
    expect(fs.existsSync(box.home)).toBe(false);
  });

  testOurs("the user's own .pm2, and whatever holds the user's folder, are left", async () => {
    const refused = { message: 'Destroy is not a allowed method on .pm2' };
    const home = box.extraHome('x/.pm2');
    const kept = box.instance({ pm2_home: home });
    await new Promise((resolve) => kept.start(app('a'), resolve));
    expect(await failure(kept.destroy())).toMatchObject(refused);
    expect(fs.existsSync(path.join(home, 'logs'))).toBe(true);
    expect(await kept.Client.pingDaemon()).toBe(false);
    const { stdout } = await box.run(
      `
      const { removeHome } = require(process.env.PM2_UNDER_TEST + '/src/js/paths.js');
      const own = require('node:os').homedir();
      Promise.allSettled([own, require('node:path').dirname(own)].map(removeHome)).then((all) => console.log(all.map((one) => one.status).join()));`,
      {
        env: { HOME: path.join(box.folder, 'user', 'me') },
      },
    );
    expect(stdout).toBe('rejected,rejected\n');
  });
});
