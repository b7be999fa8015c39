'use strict';

/** Every way to say what to start, and what comes of each option in the record. */

const path = require('node:path');

const APP = `
  console.log(JSON.stringify([process.cwd(), process.argv.slice(2), process.execArgv.filter((arg) => !/preload|require|\\.js$/.test(arg))]));
  setInterval(() => {}, 1 << 30);
`;

/** These print nothing. */
const QUIET = /^(binary|later)$/;

exports.run = async (world) => {
  const script = world.file('app.js', APP);
  const start = (label, ...what) => world.step(label, 'start', ...what);

  await start('path only', script);
  await start('path and options', script, { name: 'options', maxMemoryRestart: '100M', namespace: 'space' });
  await start('relative path', { name: 'relative', script: 'app.js' });
  await start('arguments as a text', { name: 'text', script, args: 'one two "three four"' });
  await start('arguments as an array', { name: 'array', script, args: ['one', 'two words', '--three=3'] });
  await start('node arguments', { name: 'node-args', script, node_args: '--max-old-space-size=64' });
  await start('cwd', { name: 'cwd', script, cwd: path.dirname(world.work) });
  await start('environment', { name: 'environment', script, env: { TEXT: 'a b', NUMBER: 7, YES: true, EMPTY: '' } });
  await start('two instances', { name: 'pair', script, instances: 2, exec_mode: 'fork' });
  await start('instances by text', { name: 'text-pair', script, instances: '2', exec_mode: 'fork' });
  await start('other interpreter', { name: 'shell', script: world.file('run.sh', 'echo shell; exec sleep 86400\n') });
  await start('no interpreter', { name: 'binary', script: 'sleep', args: '86400', interpreter: 'none' });
  await start('with limits', {
    name: 'limits',
    script,
    max_memory_restart: '150M',
    min_uptime: '10s',
    max_restarts: 5,
    kill_timeout: 3000,
    listen_timeout: 2500,
    restart_delay: 100,
    stop_exit_codes: [0, 9],
  });
  await start('not yet', { name: 'later', script, autostart: false });
  // Later steps start an app anew: what is ended in the midst of its start prints or does not.
  await world.untilPrinted(({ name }) => name === 'array');
  await start('an array', [
    { name: 'first', script },
    { name: 'second', script },
  ]);
  await start('apps', { apps: [{ name: 'inner', script }] });
  const json = world.file('apps.json', JSON.stringify({ apps: [{ name: 'from-json', script: './app.js', env: { A: '1' } }] }));
  await start('json file', json);
  await start('config file', world.file('eco.config.js', "module.exports = { apps: [{ name: 'from-js', script: './app.js' }] };"));
  await start('nothing', []);
  await start('a running script again', script);
  await start('the same with force', script, { force: true });
  await start('the same declaration again', { name: 'array', script, args: ['new'] });
  await world.untilPrinted(({ name }) => !QUIET.test(name));
  await world.untilText((await world.process('array')).pm2_env.pm_out_log_path, '\n', 2);
  await world.step('list', 'list');
};
