'use strict';

/* What is saved comes back: dump, resurrect, clearDump, and files that are no dump. */

const fs = require('node:fs');
const path = require('node:path');
const { sandbox, failure, until, FIXTURES } = require('../api/helper.js');

const box = sandbox();
const IDLE = path.join(FIXTURES, 'idle.js');
const DUMP = 'h/dump.pm2';
const env = (each) => each.pm2_env;

async function killed() {
  await box.call('kill');
  await until(() => !fs.existsSync(path.join(box.home, 'pm2.pid')), 'the end of the daemon');
}

test('processes come back with their mode, name, variables, number and rest', async () => {
  await box.call('start', { name: 'a', script: IDLE, namespace: 'n', env: { COLOUR: 'green' }, args: ['x y'], kill_timeout: 500 });
  await box.call('start', { name: 'b', script: IDLE, instances: 2, exec_mode: 'fork' });
  await box.call('start', { name: 'c', script: IDLE, max_memory_restart: '1G', cron_restart: '0 0 1 1 *' });
  await box.call('stop', 'c');
  await box.call('restart', 'a');
  expect(await box.call('dump')).toEqual({ success: true });
  const saved = JSON.parse(box.read(DUMP));
  expect(saved.map(({ name }) => name)).toEqual(['a', 'b', 'b', 'c']);
  for (const record of saved) {
    expect(record).not.toHaveProperty('pm_id');
    expect(record).not.toHaveProperty('instances');
  }
  expect(fs.statSync(path.join(box.folder, DUMP)).mode & 0o777).toBe(0o600);

  await killed();
  const buffer = await box.call('resurrect');
  expect(Buffer.isBuffer(buffer)).toBe(true);
  expect(JSON.parse(buffer)).toHaveLength(4);
  const list = await box.call('list');
  expect(list.map(({ name }) => name).sort()).toEqual(['a', 'b', 'b', 'c']);
  const [a] = await box.call('describe', 'a');
  expect(env(a)).toMatchObject({ namespace: 'n', status: 'online', restart_time: 0, COLOUR: 'green', args: ['x y'], kill_timeout: 500 });
  expect(
    list
      .filter(({ name }) => name === 'b')
      .map((each) => env(each).NODE_APP_INSTANCE)
      .sort(),
  ).toEqual([0, 1]);
  const [c] = await box.call('describe', 'c');
  expect(env(c)).toMatchObject({ status: 'stopped', max_memory_restart: 1024 ** 3, cron_restart: '0 0 1 1 *' });
});

test('what is managed already is not started twice, and an empty list is no error', async () => {
  await box.call('start', { name: 'a', script: IDLE });
  await box.call('dump');
  await box.call('resurrect');
  expect(await box.call('list')).toHaveLength(1);
  await box.call('delete', 'all');
  expect((await failure(box.call('dump'))).message).toBe('Process list empty, cannot save empty list');
  await box.call('dump', true);
  expect(box.read(DUMP)).toBe('[]');
  expect((await box.call('resurrect')).toString()).toBe('[]');
});

test('an unreadable dump is put aside and the one before it is taken', async () => {
  await box.call('start', { name: 'a', script: IDLE });
  await box.call('dump');
  await box.call('dump');
  await box.call('delete', 'a');
  box.write(DUMP, '{"not": "a list');
  expect(JSON.parse(await box.call('resurrect'))).toHaveLength(1);
  expect((await box.call('list')).map(({ name }) => name)).toEqual(['a']);
  expect(fs.existsSync(path.join(box.folder, DUMP))).toBe(false);
  expect(box.read(`${DUMP}.unreadable`)).toContain('not');
});

test('nothing to bring back is no error', async () => {
  expect(await box.call('resurrect')).toHaveLength(0);
  expect(await box.call('list')).toEqual([]);
});

test('one record that cannot be started keeps no other from it', async () => {
  await box.call('start', { name: 'a', script: IDLE });
  await box.call('dump');
  await box.call('delete', 'a');
  const [record] = JSON.parse(box.read(DUMP));
  box.write(DUMP, JSON.stringify([{ name: 'broken' }, record]));
  expect((await failure(box.call('resurrect'))).message).toContain('required');
  expect((await box.call('list')).map(({ name }) => name)).toContain('a');
});

test('two lists that cannot be read are an error, and both are kept', async () => {
  await box.call('connect');
  box.write(DUMP, '[{"name": "a"');
  box.write(`${DUMP}.bak`, '');
  expect((await failure(box.call('resurrect'))).message).toMatch(
    /no saved list can be read.*dump\.pm2\.unreadable.*dump\.pm2\.bak\.unreadable/,
  );
  expect(box.read(`${DUMP}.unreadable`)).toBe('[{"name": "a"');
  expect(fs.existsSync(path.join(box.folder, `${DUMP}.bak.unreadable`))).toBe(true);
  // They are out of the way now.
  expect(await box.call('resurrect')).toHaveLength(0);
});

test('a list that cannot be saved is an error that names the file, and what was saved stays', async () => {
  await box.call('start', { name: 'a', script: IDLE });
  await box.call('dump');
  const before = box.read(DUMP);
  const saveTo = async (file) => {
    process.env.PM2_DUMP_FILE_PATH = file;
    try {
      return await failure(box.call('dump'));
    } finally {
      delete process.env.PM2_DUMP_FILE_PATH;
    }
  };
  expect(await saveTo('/dev/full')).toMatchObject({ code: 'ENOSPC', message: expect.stringContaining('/dev/full') });
  const inside = path.join(box.write('file', ''), 'dump.pm2');
  expect(await saveTo(inside)).toMatchObject({ code: 'ENOTDIR', message: expect.stringContaining(inside) });
  fs.rmSync(path.join(box.folder, `${DUMP}.bak`), { force: true });
  fs.mkdirSync(path.join(box.folder, `${DUMP}.bak`, 'full'), { recursive: true });
  expect(await failure(box.call('dump'))).toMatchObject({ message: expect.stringContaining('dump.pm2.bak') });
  expect(box.read(DUMP)).toBe(before);
  fs.rmSync(path.join(box.folder, `${DUMP}.bak`), { recursive: true });
});

test('a signal to the keeper saves the list with the states of the moment', async () => {
  await box.call('start', { name: 'a', script: IDLE });
  await box.call('dump');
  await box.call('start', { name: 'b', script: IDLE });
  await box.call('stop', 'a');
  process.kill(Number(box.read('h/pm2.pid')), 'SIGTERM');
  await until(() => !fs.existsSync(path.join(box.home, 'pm2.pid')), 'the end of the daemon');
  const states = (name) => JSON.parse(box.read(name)).map((record) => [record.name, record.status]);
  expect(states(DUMP)).toEqual([
    ['a', 'stopped'],
    ['b', 'online'],
  ]);
  expect(states(`${DUMP}.bak`)).toEqual([['a', 'online']]);
  await box.call('resurrect');
  expect(await box.status('a')).toEqual(['stopped']);
  expect(await box.status('b')).toEqual(['online']);
});

test('update saves the list, and brings back what was saved where nothing runs', async () => {
  await box.call('start', { name: 'a', script: IDLE });
  await box.call('update');
  expect(JSON.parse(box.read(DUMP)).map(({ name }) => name)).toEqual(['a']);
  await killed();
  const replaced = () => box.read('h/pm2.log').split('making way for').length - 1;
  const before = replaced();
  await box.call('update');
  expect(await box.status('a')).toEqual(['online']);
  expect([before, replaced()]).toEqual([1, 1]);
  await box.call('delete', 'a');
  await box.call('update');
  expect(await box.status('a')).toEqual(['online']);
});

test('clearDump forgets, and calls back without arguments', async () => {
  await box.call('start', { name: 'a', script: IDLE });
  await box.call('dump');
  expect(await new Promise((resolve) => box.pm2.clearDump((...args) => resolve(args)))).toEqual([]);
  expect(box.read(DUMP)).toBe('[]');
  await box.call('autodump');
});
