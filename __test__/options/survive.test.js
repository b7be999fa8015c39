'use strict';

/* What restarts an app without anybody's call goes on when the daemon is killed and another takes over. */

const fs = require('node:fs');
const path = require('node:path');
const { sandbox, until } = require('../api/helper.js');

const box = sandbox();

function daemonPid() {
  const keeper = fs.readFileSync(path.join(box.home, 'pm2.pid'), 'utf8').trim();
  const children = fs.readFileSync(`/proc/${keeper}/task/${keeper}/children`, 'utf8').trim().split(' ');
  return Number(children.find((pid) => fs.readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('__daemon')));
}

test('watch, cron_restart and max_memory_restart survive the daemon', async () => {
  const script = box.write('app/app.js', 'setInterval(() => {}, 1000);');
  const heavy = box.write(
    'heavy.js',
    `process.on('SIGUSR2', () => { global.held = Buffer.alloc(200e6, 1); }); setInterval(() => {}, 1000);`,
  );
  const common = { kill_timeout: 500 };
  await box.call('start', [
    { ...common, name: 'watched', script, cwd: path.dirname(script), watch: true },
    { ...common, name: 'ticking', script, cron_restart: '*/2 * * * * *' },
    { ...common, name: 'heavy', script: heavy, max_memory_restart: '150M' },
  ]);
  const before = daemonPid();
  process.kill(before, 'SIGKILL');
  await until(() => !fs.existsSync(`/proc/${before}`) && daemonPid(), 'another daemon');
  const count = async (name) => (await box.call('describe', name))[0].pm2_env.restart_time;
  expect((await box.call('list')).map(({ pm2_env }) => pm2_env.status)).toEqual(['online', 'online', 'online']);

  const ticks = await count('ticking');
  await until(async () => (await count('ticking')) > ticks, 'a tick');
  await until(async () => {
    box.write('app/changed', String(Date.now()));
    return (await count('watched')) > 0;
  }, 'a restart by a change');
  await box.call('sendSignalToProcessName', 'SIGUSR2', 'heavy');
  await until(async () => (await count('heavy')) > 0, 'a restart by memory');
});
