'use strict';

/** What files and lines of output are called and look like, and who runs with which rights. */

const LINES = `console.log('out 1\\nout 2'); console.error('err 1'); setInterval(() => {}, 1 << 30);`;
const fs = require('node:fs');
const path = require('node:path');

/** Digits and signs of time zones, which differ from run to run. */
const blurred = (text) => text.replace(/\d/g, '0').replace(/[+-]00:00/g, 'Z');

exports.run = async (world) => {
  world.file('app.js', LINES);
  world.file('sub/app.js', LINES);
  const logs = path.join(process.env.PM2_HOME, 'logs');
  const start = (name, more = {}) => world.step(name, 'start', { name, script: 'app.js', ...more });
  const kept = [];
  /** An app, and its files whose text is compared without its digits. */
  const dated = async (name, more, files = [`${logs}/${name}-out.log`, `${logs}/${name}-error.log`]) => {
    await start(name, more);
    kept.push(...files);
  };

  await dated('date', { log_date_format: 'YYYY-MM-DD HH:mm:ss.SSS Z' });
  await dated('timed', { time: true });
  await dated('words', { log_date_format: '[at] dddd-free' });
  await dated('nonsense', { log_date_format: 'xx%%' });
  await dated('json', { log_type: 'json' });
  await dated('json-date', { log_type: 'json', log_date_format: 'YYYY' });
  await dated('together', { log_date_format: 'YYYY', log_file: 'together.log' }, [
    `${logs}/together-out.log`,
    `${world.work}/together.log`,
  ]);
  await start('suffixed', { merge_logs: false });
  await start('named', { out_file: 'o/u/t.txt', error_file: './err.log', pid_file: 'z.pid', cwd: 'sub' });
  await start('yes', { log_file: true });
  await start('home', { out_file: '~/home-out.log' });
  await start('pair', { instances: 2, exec_mode: 'fork', out_file: 'pair.log', error_file: 'pair.txt', pid_file: 'pair.foo' });
  await start('pair-merged', { instances: 2, exec_mode: 'fork', out_file: 'pm.log', error_file: 'pm.err', merge_logs: true });
  await start('null', { out_file: 'NULL', error_file: '/dev/null', log_file: 'all.log' });
  await start('cluster', { exec_mode: 'cluster' });
  world.anyOrder = /(yes|all|together|pm)\.(log|err)$/;

  for (const { name, pm2_env } of await world.list()) {
    const count = name === 'pair-merged' ? 2 : 1;
    const { pm_out_log_path: out, pm_err_log_path: err, pm_log_path: both } = pm2_env;
    const whole = [
      [out, 'out 2'],
      [err, 'err 1'],
      [both, 'out 2'],
      [both, 'err 1'],
    ];
    for (const [file, text] of whole) if (file && !/^(NULL|\/dev\/null)$/.test(file)) await world.untilText(file, text, count);
  }
  for (const file of kept) world.note(path.basename(file), blurred(fs.readFileSync(file, 'utf8')).split('\n').sort());
  for (const { name, pm2_env } of await world.list())
    world.note(`files of ${name}`, [pm2_env.pm_out_log_path, pm2_env.pm_err_log_path, pm2_env.pm_log_path, pm2_env.pm_pid_path]);
  for (const file of kept) fs.rmSync(file);

  // Another user, another mask, another folder.
  const who = world.file('who.sh', 'echo "$(id -u) $(id -g) $(umask) $HOME $USER $(pwd)" > "$1"; exec sleep 86400\n');
  const says = async (name, more) => {
    const file = path.join(world.work, `who-${name}`);
    fs.writeFileSync(file, '');
    fs.chmodSync(file, 0o666);
    await world.step(`as ${name}`, 'start', { name: `as-${name}`, script: who, args: file, ...more });
    if (await world.process(`as-${name}`)) {
      await world.untilText(file, '\n');
      world.note(`${name} says`, fs.readFileSync(file, 'utf8'));
    }
  };
  for (const folder of [process.env.PM2_HOME, world.work]) fs.chmodSync(folder, 0o755);
  await says('itself', { cwd: '/' });
  await says('mask', { umask: '077', cwd: '/' });
  await says('name', { uid: 'nobody', cwd: '/' });
  await says('both', { uid: 'nobody', gid: 'daemon', cwd: '/' });
  await says('user', { user: 'nobody', cwd: '/' });
  await says('nobody-known', { uid: 'no-such-user', cwd: '/' });
  await says('number', { uid: 65534, gid: 1, cwd: '/' });
  await says('text', { uid: '65534', cwd: '/' });
  await says('no-group', { gid: 'no-such-group', cwd: '/' });
  await says('group', { gid: 'daemon', cwd: '/' });
};
