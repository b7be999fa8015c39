'use strict';

/** What starts an app again by itself, and what keeps it from it. */

const IDLE = 'setInterval(() => {}, 1 << 30);';
const fs = require('node:fs');
const { crashing } = require('../apps');

/** Every run counts as one that was too short, however slow the machine. */
const min_uptime = 3_600_000;

exports.run = async (world) => {
  const { crash, hold } = crashing(world);
  const idle = world.file('idle.js', IDLE);
  const start = (name, options) => world.step(name, 'start', { name, ...options });
  const records = async (label, keep) =>
    world.note(
      label,
      (await world.list()).map(({ name, pm2_env }) => [name, pm2_env.status, ...keep.map((key) => pm2_env[key])]),
    );

  // Ends by itself.
  await start('once', { script: crash, min_uptime, autorestart: false });
  await start('few', { script: crash, max_restarts: 3, min_uptime });
  await start('one-code', { script: crash, min_uptime, stop_exit_codes: 3 });
  await start('code-text', { script: crash, min_uptime, stop_exit_codes: ['3'] });
  await start('other-code', { script: crash, stop_exit_codes: [4], max_restarts: 3, min_uptime });
  await start('killed', { script: world.file('kill.sh', 'kill -9 $$\n'), min_uptime, autorestart: false });
  await start('asleep', { script: idle, autostart: false });
  await start('delayed', { script: crash, restart_delay: 100, max_restarts: 4, min_uptime });
  for (const [name, status] of Object.entries({
    once: 'stopped',
    few: 'errored',
    'one-code': 'stopped',
    'other-code': 'errored',
    killed: 'stopped',
  }))
    await world.untilStatus(name, status);
  await world.untilStatus('code-text', 'stopped');
  await world.untilTold('delayed', 'restart overlimit');
  await records('ends', ['restart_time', 'unstable_restarts', 'exit_code', 'prev_restart_delay']);
  await world.attempt('restart', 'asleep', { autorestart: false });
  world.note('start of what was asleep', [(await world.process('asleep')).pid !== 0, (await world.process('asleep')).pm2_env.status]);
  await world.attempt('delete', 'asleep');
  // The restart is told by whoever asked for it, so what is told of a run that ends at once comes before it or after.
  fs.writeFileSync(hold, '');
  await world.step('start of what was given up', 'restart', 'few');
  await world.untilTold('few', 'restart');
  fs.rmSync(hold);
  await world.untilStatus('few', 'errored');
  await records('given up again', ['restart_time', 'unstable_restarts', 'exit_code']);
  await world.attempt('delete', 'all');
  await world.statuses('after delete all');

  // Grows its delay.
  await start('backoff', { script: crash, exp_backoff_restart_delay: 100, max_restarts: 50 });
  await world.until('some growth', async () => (await world.process('backoff')).pm2_env.prev_restart_delay >= 337);
  await world.step('stop it while it waits', 'stop', 'backoff');
  world.note('delay kept', (await world.process('backoff')).pm2_env.prev_restart_delay >= 337);
  // With the end of a run it begins to grow anew.
  fs.writeFileSync(hold, '');
  await world.step('restart ends the delay', 'restart', 'backoff', { autorestart: false });
  world.note('delay gone', (await world.process('backoff')).pm2_env.prev_restart_delay);
  await world.step('delete backoff', 'delete', 'backoff');

  // Is started by the clock, stopped or not.
  await start('clock', { script: idle, cron_restart: '* * * * * *', kill_timeout: 500 });
  await world.until('two ticks', async () => (await world.process('clock')).pm2_env.restart_time >= 2);
  await world.attempt('stop', 'clock');
  await world.untilStatus('clock', 'online');
  await world.attempt('restart', { name: 'clock', script: idle, cron_restart: 0 });
  world.note('without its clock', (await world.process('clock')).pm2_env.cron_restart);
  await world.attempt('delete', 'clock');
  await start('bad clock', { script: idle, cron_restart: '61 * * * *' });
};
