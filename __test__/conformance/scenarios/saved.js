'use strict';

/** What is saved, what comes back, and what of it is left of an earlier life. */

const fs = require('node:fs');
const path = require('node:path');

exports.run = async (world) => {
  const script = world.file('app.js', 'setInterval(() => {}, 1 << 30);');
  const dump = path.join(process.env.PM2_HOME, 'dump.pm2');
  await world.step('dump of nothing', 'dump');
  await world.step('one', 'start', {
    name: 'one',
    script,
    args: 'a b',
    env: { A: '1' },
    max_memory_restart: '1G',
    namespace: 'space',
    kill_timeout: 900,
  });
  await world.step('two', 'start', {
    name: 'two',
    script,
    instances: 2,
    exec_mode: 'fork',
    instance_var: 'SLOT',
    increment_var: 'PORT',
    env: { PORT: 4000 },
  });
  await world.step('three', 'start', {
    name: 'three',
    script,
    cron_restart: '0 0 1 1 *',
    autorestart: false,
    watch: false,
    stop_exit_codes: [1, 2],
  });
  await world.step('stopped', 'stop', 'three');
  await world.step('restarted', 'restart', 'one');
  await world.step('dump', 'dump');
  const shown = (records) => records.map((record) => ({ pm2_env: record }));
  world.note('saved', shown(JSON.parse(fs.readFileSync(dump, 'utf8'))));
  await world.step('dump again', 'dump');
  world.note('backup', fs.existsSync(`${dump}.bak`));
  await world.step('delete', 'delete', 'all');
  await world.attempt('resurrect');
  world.note(
    'back',
    (await world.list()).map(({ name, pm_id, pm2_env }) => ({ name, pm_id, pm2_env })),
  );
  await world.attempt('resurrect');
  world.note(
    'not twice',
    (await world.list()).map(({ name, pm_id }) => [name, pm_id]),
  );
  await world.step('delete again', 'delete', 'all');
  await world.step('dump of an empty list', 'dump');
  await world.step('dump of an empty list, forced', 'dump', true);
  world.note('emptied', fs.readFileSync(dump, 'utf8'));
};
