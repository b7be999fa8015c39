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

test('clearDump forgets, and calls back without arguments', async () => {
  await box.call('start', { name: 'a', script: IDLE });
  await box.call('dump');
  expect(await new Promise((resolve) => box.pm2.clearDump((...args) => resolve(args)))).toEqual([]);
  expect(box.read(DUMP)).toBe('[]');
  await box.call('autodump');
});
