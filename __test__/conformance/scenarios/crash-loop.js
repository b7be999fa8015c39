'use strict';

/** Apps that end by themselves: too often, with a delay, with a code that means "leave it", and with autorestart off. */

exports.run = async (world) => {
  const crash = world.file('crash.js', 'process.exit(3);');
  const calm = world.file('calm.js', 'process.exit(0);');
  const once = world.file('once.sh', 'exit 7\n');

  await world.step('crash loop', 'start', { name: 'loop', script: crash, min_uptime: 5_000, max_restarts: 4 });
  await world.untilStatus('loop', 'errored');
  await world.statuses('after the loop');

  await world.step('stop code', 'start', { name: 'code', script: crash, stop_exit_codes: [3] });
  await world.untilStatus('code', 'stopped');
  await world.step('no autorestart', 'start', { name: 'single', script: calm, autorestart: false });
  await world.untilStatus('single', 'stopped');
  await world.step('shell script', 'start', { name: 'shell', script: once, autorestart: false });
  await world.untilStatus('shell', 'stopped');
  await world.statuses('after single runs');
  const codes = (await world.list()).map((p) => [p.name, p.pm2_env.exit_code]);
  world.note('exit codes', codes);

  await world.step('with a delay', 'start', { name: 'delayed', script: crash, restart_delay: 60_000 });
  await world.untilStatus('delayed', 'waiting restart');
  await world.statuses('waiting');
  await world.step('stop while waiting', 'stop', 'delayed');
  await world.statuses('stopped while waiting');
  await world.step('restart what is errored', 'restart', 'loop');
  await world.untilStatus('loop', 'errored');
  await world.statuses('errored again');
};
