'use strict';

/* What restarts an app without anybody's call goes on when the daemon is killed and another takes over. */

const path = require('node:path');
const { sandbox, until, daemonPid, isAlive } = require('../api/helper.js');

const box = sandbox();

test('watch, cron_restart and max_memory_restart survive the daemon', async () => {
  const script = box.write('app/app.js', 'setInterval(() => {}, 1000);');
  const heavy = box.write(
    'heavy.js',
    `process.on('SIGUSR2', () => { global.held = Buffer.alloc(200e6, 1); }); setInterval(() => {}, 1000); console.log('up');`,
  );
  const common = { kill_timeout: 500 };
  await box.call('start', [
    { ...common, name: 'watched', script, cwd: path.dirname(script), watch: true },
    { ...common, name: 'ticking', script, cron_restart: '*/2 * * * * *' },
    { ...common, name: 'heavy', script: heavy, max_memory_restart: '150M' },
  ]);
  const before = daemonPid(box.home);
  process.kill(before, 'SIGKILL');
  await until(() => !isAlive(before) && daemonPid(box.home), 'another daemon');
  const count = async (name) => (await box.call('describe', name))[0].pm2_env.restart_time;
  const isOnline = ({ pm2_env }) => pm2_env.status === 'online';
  // One of them is restarted again and again.
  await until(async () => (await box.call('list')).filter(isOnline).length === 3, 'all to be online');

  const ticks = await count('ticking');
  await until(async () => (await count('ticking')) > ticks, 'a tick');
  await until(async () => {
    box.write('app/changed', String(Date.now()));
    return (await count('watched')) > 0;
  }, 'a restart by a change');
  await until(() => box.log('heavy-out.log').includes('up'), 'its listener');
  await box.call('sendSignalToProcessName', 'SIGUSR2', 'heavy');
  await until(async () => (await count('heavy')) > 0, 'a restart by memory');
});
