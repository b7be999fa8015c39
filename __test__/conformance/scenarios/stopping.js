'use strict';

/** When an app is ready, and how it is ended, with its children or without. */

const IDLE = 'setInterval(() => {}, 1 << 30);';
const fs = require('node:fs');

exports.run = async (world) => {
  const crash = world.file('crash.js', 'process.exit(3);');
  const start = (name, options) => world.step(name, 'start', { name, ...options });
  const said = async (name) => world.untilText((await world.process(name)).pm2_env.pm_out_log_path, 'up\n');
  const records = async (label, keep) =>
    world.note(
      label,
      (await world.list()).map(({ name, pm2_env }) => [name, pm2_env.status, ...keep.map((key) => pm2_env[key])]),
    );

  // Is ready.
  const ready = world.file('ready.js', `setTimeout(() => process.send('ready'), 200); ${IDLE}`);
  const mute = world.file('mute.js', IDLE);
  await start('ready', { script: ready, wait_ready: true, listen_timeout: 30_000 });
  await start('mute', { script: mute, wait_ready: true, listen_timeout: 150 });
  await start('ready-cluster', { script: ready, wait_ready: true, listen_timeout: 30_000, exec_mode: 'cluster' });
  await start('mute-cluster', { script: mute, wait_ready: true, listen_timeout: 150, exec_mode: 'cluster' });
  await start('dies-waiting', { script: crash, wait_ready: true, listen_timeout: 30_000, autorestart: false });
  await world.untilStatus('dies-waiting', 'stopped');
  await records('readiness', ['restart_time', 'wait_ready', 'listen_timeout']);
  await world.step('restart of what says ready', 'restart', 'ready');
  await world.step('delete the ready', 'delete', 'all');

  // Is ended.
  const told = world.file(
    'told.js',
    `process.on('message', (word) => { console.log('message', word); process.exit(0); });
     process.on('SIGINT', () => { console.log('SIGINT'); process.exit(7); }); console.log('up'); ${IDLE}`,
  );
  const deaf = world.file('deaf.js', `process.on('SIGINT', () => {}); console.log('up'); ${IDLE}`);
  for (const exec_mode of ['fork', 'cluster']) {
    const names = ['polite', 'told', 'deaf'].map((name) => `${name}-${exec_mode}`);
    await start(names[0], { script: told, exec_mode, kill_timeout: 30_000 });
    await start(names[1], { script: told, exec_mode, shutdown_with_message: true, kill_timeout: 30_000 });
    await start(names[2], { script: deaf, exec_mode, kill_timeout: 1000 });
    for (const name of names) await said(name);
    for (const name of names) await world.step(`stop ${name}`, 'stop', name);
  }
  await records('ended', ['exit_code', 'kill_timeout', 'shutdown_with_message', 'restart_time']);
  await world.step('delete the ended', 'delete', 'all');

  // With its children.
  const parent = world.file(
    'parent.js',
    `const { spawn } = require('node:child_process');
     const child = spawn('sh', ['-c', 'sleep 86400 & echo $!; wait'], { stdio: ['ignore', 'pipe', 'ignore'] });
     child.stdout.on('data', (pid) => require('node:fs').writeFileSync(process.argv[2], child.pid + ' ' + pid)); ${IDLE}`,
  );
  const isGone = (pid) => {
    try {
      return /^State:\tZ/m.test(fs.readFileSync(`/proc/${pid}/status`, 'utf8'));
    } catch {
      return true;
    }
  };
  for (const treekill of [true, false]) {
    const file = `${world.work}/children-${treekill}`;
    await start(`tree-${treekill}`, { script: parent, args: file, treekill, kill_timeout: 10_000 });
    await world.untilText(file, '\n');
    await world.step(`stop tree-${treekill}`, 'stop', `tree-${treekill}`);
    const children = fs.readFileSync(file, 'utf8').trim().split(/\s+/).map(Number);
    // A killed process takes its time; one that is let live goes on living.
    if (treekill) await world.until('the end of the children', () => children.every(isGone));
    world.note(`children with treekill ${treekill}`, children.map(isGone));
    for (const pid of children.filter((each) => !isGone(each))) process.kill(pid, 'SIGKILL');
  }
};
