'use strict';

/*
 * Names that mean something to JavaScript: `__proto__`, `constructor`, `prototype`, `toString`. Wherever a caller, a file, an app or a
 * peer puts them, they are names like others: nobody's objects change, nothing falls over, and what belongs to them is told apart.
 */

const fs = require('node:fs');
const path = require('node:path');
const { sandbox, failure, until, FIXTURES, packageFolder } = require('../api/helper.js');

const box = sandbox();
const IDLE = path.join(FIXTURES, 'idle.js');
const ECHO = path.join(FIXTURES, 'echo.js');
const NAMES = ['__proto__', 'constructor', 'prototype', 'toString', 'hasOwnProperty'];

/** An object that owns these names, as only JSON makes one. */
const poisoned = (more = {}) =>
  JSON.parse(
    `{"__proto__": {"polluted": "yes"}, "constructor": {"prototype": {"polluted": "yes"}}, "prototype": {"polluted": "yes"}${
      Object.keys(more).length > 0 ? `, ${JSON.stringify(more).slice(1, -1)}` : ''
    }}`,
  );

afterEach(() => {
  expect({}.polluted).toBeUndefined();
  expect(Object.prototype).not.toHaveProperty('polluted');
  expect(Object.keys(Object.prototype)).toEqual([]);
});

test('as options and as variables, of an object and of a file', async () => {
  const env = JSON.parse('{"__proto__": "p", "constructor": "c", "prototype": "q", "KEPT": "k"}');
  const outcomes = [];
  const files = {
    'a.json': JSON.stringify({ apps: [poisoned({ name: 'file', script: IDLE })] }),
    'b.config.js': `module.exports = { apps: [JSON.parse(${JSON.stringify(JSON.stringify(poisoned({ name: 'module', script: IDLE })))})] };`,
    'c.yml': `apps:\n  - name: yaml\n    script: ${IDLE}\n    __proto__: { polluted: yes }\n    constructor: { polluted: yes }\n`,
  };
  const given = [poisoned({ name: 'options', script: IDLE }), { name: 'env', script: IDLE, env }, ...Object.keys(files)];
  for (const [name, text] of Object.entries(files)) box.write(name, text);
  for (const what of given) {
    // Refused by name or taken: both are well, as long as it is one of them.
    outcomes.push(await box.call('start', what).catch((error) => (Array.isArray(error) ? error[0] : error)));
  }
  for (const outcome of outcomes) expect(Array.isArray(outcome) || outcome instanceof Error).toBe(true);
  const [described] = await box.call('describe', 'env');
  expect(described.pm2_env.env.KEPT).toBe('k');
  expect(described.pm2_env.status).toBe('online');
  const variables = fs.readFileSync(`/proc/${described.pid}/environ`, 'utf8').split('\0');
  expect(variables).toContain('KEPT=k');
  expect(variables.filter((each) => each.includes('polluted'))).toEqual([]);
});

test('as the names of apps, namespaces and targets', async () => {
  for (const name of NAMES) await box.call('start', { name, script: IDLE, namespace: name, force: true });
  expect((await box.call('list')).map((each) => each.name).sort()).toEqual([...NAMES].sort());
  for (const name of NAMES) {
    expect((await box.call('describe', name)).map((each) => each.name)).toEqual([name]);
    expect(await box.call('getProcessIdByName', name)).toHaveLength(1);
    expect(await box.call('restart', name)).toHaveLength(1);
    await box.call('reset', name);
  }
  await box.call('dump');
  for (const name of NAMES) await box.call('delete', name);
  expect(await box.call('list')).toEqual([]);
  await box.call('resurrect');
  expect((await box.call('list')).map((each) => each.name).sort()).toEqual([...NAMES].sort());
  for (const name of ['valueOf', '__defineGetter__']) expect(await box.call('describe', name)).toEqual([]);
});

test('in the configuration store, written by a call or by hand', async () => {
  for (const key of [
    '__proto__.polluted',
    'constructor.prototype.polluted',
    'a.__proto__.polluted',
    'a:prototype:polluted',
    '"__proto__".x',
  ]) {
    expect((await failure(box.call('set', key, 'yes'))).message).toMatch(/"(__proto__|constructor|prototype)"/);
  }
  await box.call('connect');
  const conf = JSON.stringify({ 'module-db-v2': {}, held: poisoned({ COLOUR: 'green' }) }).replace(
    '{',
    '{"__proto__": {"polluted": "yes"}, ',
  );
  fs.writeFileSync(path.join(box.home, 'module_conf.json'), conf);
  expect((await box.call('get', 'held')).COLOUR).toBe('green');
  expect(await failure(box.call('get', 'toString'))).toBeTruthy();
  await box.call('start', { name: 'held', script: IDLE });
  await box.call('set', 'held.SHAPE', 'round');
  const [held] = await box.call('describe', 'held');
  expect(held.pm2_env).toMatchObject({ COLOUR: 'green', SHAPE: 'round', status: 'online' });
  await box.call('unset', 'held.SHAPE');
  expect(JSON.parse(fs.readFileSync(path.join(box.home, 'module_conf.json'), 'utf8')).held.SHAPE).toBeUndefined();
});

test('in messages, in events and in calls of the protocol', async () => {
  await box.call('start', { name: 'echo', script: ECHO });
  const bus = await box.call('launchBus');
  const heard = [];
  bus.on('process:msg', (packet) => heard.push(packet));
  const data = poisoned({ n: 1 });
  await box.call('sendDataToProcessId', 0, { type: 'process:msg', topic: '__proto__', data });
  const [packet] = await until(() => heard.length > 0 && heard, 'the answer');
  expect(Object.hasOwn(packet.data.got.data, '__proto__')).toBe(true);
  expect(packet.data.got.data.n).toBe(1);
  const script = box.write(
    'says.js',
    `for (const type of ${JSON.stringify(NAMES)}) process.send({ type, data: { of: type } }); setInterval(() => {}, 1000);`,
  );
  const named = [];
  for (const name of NAMES) bus.on(name, (event) => named.push([name, event.data.of]));
  await box.call('start', { name: 'says', script });
  await until(() => named.length >= NAMES.length, 'every event');
  expect(named).toEqual(NAMES.map((name) => [name, name]));
  for (const method of NAMES) expect(await failure(box.pm2.Client.executeRemote(method, {}))).toBeInstanceOf(Error);
  for (const method of ['prepare', 'restartProcessId', 'sendDataToProcessId', 'msgProcess', 'getMonitorData']) {
    const value = await box.pm2.Client.executeRemote(method, poisoned({ id: 0 })).catch((error) => error);
    expect(value).toBeTruthy();
  }
  expect((await box.call('describe', 'echo'))[0].pm2_env.status).toBe('online');
});

test('as methods of the API and as options of an instance', async () => {
  for (const name of NAMES) {
    expect(await failure(box.call('remote', name, { name: 'x' }))).toBeInstanceOf(Error);
    expect(await failure(box.call('remoteV2', name, { args: [] }))).toBeInstanceOf(Error);
  }
  const { custom } = require(packageFolder);
  const made = new custom(poisoned({ pm2_home: box.home }));
  expect(made.polluted).toBeUndefined();
  await new Promise((resolve) => made.disconnect(resolve));
});
