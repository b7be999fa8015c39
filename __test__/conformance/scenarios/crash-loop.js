'use strict';

/** Apps that end by themselves: too often, with a delay, with a code that means "leave it", and with autorestart off. */

const fs = require('node:fs');
const { crashing } = require('../apps');

/** Every run counts as one that was too short, however slow the machine. */
const min_uptime = 3_600_000;

exports.run = async (world) => {
  const { crash, hold } = crashing(world);
  const calm = world.file('calm.js', 'process.exit(0);');
  const once = world.file('once.sh', 'exit 7\n');

  await world.step('crash loop', 'start', { name: 'loop', script: crash, min_uptime, max_restarts: 4 });
  await world.untilStatus('loop', 'errored');
  await world.statuses('after the loop');

  await world.step('stop code', 'start', { name: 'code', script: crash, min_uptime, stop_exit_codes: [3] });
  await world.untilStatus('code', 'stopped');
  await world.step('no autorestart', 'start', { name: 'single', script: calm, min_uptime, autorestart: false });
  await world.untilStatus('single', 'stopped');
  await world.step('shell script', 'start', { name: 'shell', script: once, min_uptime, autorestart: false });
  await world.untilStatus('shell', 'stopped');
  await world.statuses('after single runs');
  const codes = (await world.list()).map((p) => [p.name, p.pm2_env.exit_code]);
  world.note('exit codes', codes);

  await world.step('with a delay', 'start', { name: 'delayed', script: crash, min_uptime, restart_delay: 600_000 });
  await world.untilStatus('delayed', 'waiting restart');
  await world.statuses('waiting');
  await world.step('stop while waiting', 'stop', 'delayed');
  await world.statuses('stopped while waiting');
  // The restart is told by whoever asked for it, so what is told of a run that ends at once comes before it or after.
  fs.writeFileSync(hold, '');
  await world.step('restart what is errored', 'restart', 'loop');
  await world.untilTold('loop', 'restart');
  fs.rmSync(hold);
  await world.untilStatus('loop', 'errored');
  await world.statuses('errored again');
};
