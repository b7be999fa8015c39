'use strict';

const fs = require('node:fs');
const path = require('node:path');
const { sandbox, failure, isReference, testOurs, FIXTURES } = require('./helper.js');

const box = sandbox();
const IDLE = path.join(FIXTURES, 'idle.js');

const file = () => path.join(box.home, 'module_conf.json');
const stored = () => JSON.parse(fs.readFileSync(file(), 'utf8'));

/** A value for the store: the reference's `get` prints and does not hand it out. */
const value = async (key) => (isReference ? key.split('.').reduce((from, part) => from[part], stored()) : box.call('get', key));

/** The reference prints what it sets, through `console.log`. */
const print = console.log;
beforeEach(() => {
  if (isReference) console.log = () => {};
});
afterEach(() => {
  console.log = print;
});

test('a key is split at dots, else at colons, but not inside quotes', async () => {
  expect(await box.call('set', 'a.k', 'v')).toEqual({ success: true });
  await box.call('set', 'a:colon', 'w');
  await box.call('set', 'mod:"var2:toto"', 'q');
  await box.call('set', 'a.deep.down', 5);
  await box.call('set', 'single', 'x');
  expect(stored()).toEqual({ a: { k: 'v', colon: 'w', deep: { down: 5 } }, mod: { 'var2:toto': 'q' }, single: 'x' });
  expect(fs.readFileSync(file(), 'utf8')).toContain('\n    "a": {\n        "k": "v"');
});

test('values stay what they are, and something that is no object gives way to a section', async () => {
  await box.call('set', 'a.object', { of: [1, true, null] });
  await box.call('set', 'b', 'text');
  await box.call('set', 'b.k', 1);
  expect(await value('a.object')).toEqual({ of: [1, true, null] });
  expect(await value('b')).toEqual({ k: 1 });
});

test('multiset sets pairs, unset forgets a key or everything, and unknown keys succeed', async () => {
  expect(await box.call('multiset', 'a.k 1 a.l 2 b:m "x y"')).toEqual({ success: true });
  expect(stored()).toEqual({ a: { k: '1', l: '2' }, b: { m: '"x y"' } });
  expect(await box.call('unset', 'a.k')).toEqual({ success: true });
  await box.call('unset', 'b');
  await box.call('unset', 'nobody');
  expect(stored()).toEqual({ a: { l: '2' } });
  await box.call('unset', 'all');
  expect(stored()).toEqual({});
});

test('set restarts the app of that name, with its section as part of its environment', async () => {
  await box.start([
    { name: 'web', script: IDLE },
    { name: 'other', script: IDLE },
  ]);
  await box.call('set', 'web.key', 'v');
  await box.call('multiset', 'web.second 2 other.key 3');
  const [web, other] = await box.call('list');
  expect(web.pm2_env).toMatchObject({ status: 'online', restart_time: 2, key: 'v', second: '2', web: '{"key":"v","second":"2"}' });
  expect(other.pm2_env.restart_time).toBe(0);
  await box.call('unset', 'web.key');
  expect((await box.call('list'))[0].pm2_env.restart_time).toBe(2);
});

test('set starts an app that is stopped', async () => {
  await box.start({ name: 'web', script: IDLE });
  await box.call('stop', 'web');
  await box.call('set', 'web.key', 'v');
  expect(await box.status('web')).toEqual(['online']);
});

testOurs('get hands out a value, a section, or everything; what is not set is an error', async () => {
  expect(await box.call('get')).toEqual({});
  await box.call('set', 'a.k', 'v');
  expect(await box.call('get', 'a.k')).toBe('v');
  expect(await box.pm2.get('a:k')).toBe('v');
  expect(await box.call('get', 'a')).toEqual({ k: 'v' });
  expect(await box.call('get', 'all')).toEqual({ a: { k: 'v' } });
  for (const key of ['a.zz', 'zz', 'zz.b', 'a.k.length', 'toString']) {
    expect(await failure(box.call('get', key))).toMatchObject({ message: `${key} is not set in ${file()}`, code: 'ERR_PM2_NOT_SET' });
  }
});

testOurs('conf sets with a value and gets without', async () => {
  expect(await box.call('conf', 'a.k', 'v')).toEqual({ success: true });
  expect(await box.call('conf', 'a.k')).toBe('v');
  expect(await box.pm2.conf('a.k')).toBe('v');
  expect(await box.call('conf')).toEqual({ a: { k: 'v' } });
});

testOurs('a key that would reach into every object is refused, and nothing is written', async () => {
  for (const key of ['__proto__.x', 'a.__proto__.x', 'a.constructor.x', 'prototype:x', 'a."__proto__"', '__proto__']) {
    expect(await failure(box.call('set', key, '1'))).toMatchObject({ code: 'ERR_INVALID_ARG_TYPE' });
    expect(await failure(box.call('multiset', `a.k 1 ${key} 1`))).toMatchObject({ code: 'ERR_INVALID_ARG_TYPE' });
    expect(await failure(box.call('unset', key))).toMatchObject({ code: 'ERR_INVALID_ARG_TYPE' });
    expect(await failure(box.call('get', key))).toMatchObject({ code: 'ERR_INVALID_ARG_TYPE' });
  }
  expect({}.x).toBeUndefined();
  expect(fs.existsSync(file())).toBe(false);
});

testOurs('what cannot be stored is an error', async () => {
  const circle = {};
  circle.of = circle;
  for (const bad of [undefined, circle, 1n, Symbol('s')]) {
    expect(await failure(box.call('set', 'a.k', bad))).toMatchObject({ code: 'ERR_INVALID_ARG_TYPE' });
  }
  expect(await failure(box.call('set', 'a.k'))).toMatchObject({ code: 'ERR_INVALID_ARG_TYPE' });
  for (const key of ['', '.', 5, null]) expect(await failure(box.call('set', key, 1))).toMatchObject({ code: 'ERR_INVALID_ARG_TYPE' });
  for (const text of ['', 'a.k', 'a.k 1 b', 5]) {
    expect(await failure(box.call('multiset', text))).toMatchObject({ code: 'ERR_INVALID_ARG_TYPE' });
  }
  expect(fs.existsSync(file())).toBe(false);
});

testOurs('the file is for its owner only, is replaced as a whole, and a damaged one is left as it is', async () => {
  await box.call('set', 'a.k', 'v');
  expect(fs.statSync(file()).mode & 0o777).toBe(0o600);
  expect(fs.readdirSync(box.home)).toEqual(['module_conf.json']);
  fs.writeFileSync(file(), '{"a": ');
  for (const args of [
    ['set', 'a.k', 'v'],
    ['unset', 'a.k'],
    ['get', 'a.k'],
  ]) {
    expect(await failure(box.call(...args))).toMatchObject({
      code: 'ERR_PM2_CONFIG',
      message: expect.stringMatching(/^File .*module_conf\.json malformated: /),
    });
  }
  expect(fs.readFileSync(file(), 'utf8')).toBe('{"a": ');
  await box.call('unset', 'all');
  expect(stored()).toEqual({});
});

testOurs('many changes at once are all there, and no daemon is launched for them', async () => {
  const keys = Array.from({ length: 50 }, (_, index) => `k${index}`);
  await Promise.all(keys.map((key) => box.call('set', `a.${key}`, key)));
  expect(stored()).toEqual({ a: Object.fromEntries(keys.map((key) => [key, key])) });
  expect(fs.existsSync(path.join(box.home, 'pm2.pid'))).toBe(false);
});

testOurs('nothing is printed, and the caller stays as it was', async () => {
  const { stdout, stderr } = await box.run(`
    const pm2 = require(process.env.PM2_UNDER_TEST);
    const before = JSON.stringify(process.env);
    (async () => {
      await pm2.set('a.k', 'v');
      await pm2.get('a.k');
      await pm2.get();
      await pm2.get('zz').catch(() => {});
      await pm2.multiset('a.k v');
      await pm2.unset('a.k');
      await pm2.disconnect();
      if (JSON.stringify(process.env) !== before) throw new Error('changed');
    })();`);
  expect([stdout, stderr]).toEqual(['', '']);
});
