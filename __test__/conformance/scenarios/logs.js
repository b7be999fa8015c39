'use strict';

/** Where output goes, what the files are called, and what is in them. */

const APP = `
  console.log('out 1');
  console.error('err 1');
  process.stdout.write('no newline at the end');
  setInterval(() => {}, 1 << 30);
`;

/** For files that two streams share. */
const LINES = `
  console.log('out 1');
  console.error('err 1');
  console.log('last');
  setInterval(() => {}, 1 << 30);
`;

const LOUD = `
  for (let i = 0; i < 2000; i += 1) console.log('line ' + i);
  process.exit(0);
`;

exports.run = async (world) => {
  const script = world.file('app.js', APP);
  const logs = `${process.env.PM2_HOME}/logs`;
  const lines = world.file('lines.js', LINES);
  const start = (app) => world.step(app.name, 'start', { script, ...app });
  world.anyOrder = /(both|combined|merged-out|merged-error)\.log$/;

  await start({ name: 'plain' });
  await start({ name: 'we ird/nä_me.x' });
  await start({ name: 'custom', out_file: 'logs/custom-out.txt', error_file: 'logs/custom-err.log' });
  await start({ name: 'both', script: lines, output: 'logs/both.log', error: 'logs/both.log' });
  await start({ name: 'combined', script: lines, log_file: 'logs/combined.log' });
  await start({ name: 'nowhere', out_file: '/dev/null', error_file: 'NULL' });
  await start({ name: 'pair', instances: 2, exec_mode: 'fork' });
  await start({ name: 'merged', script: lines, instances: 2, exec_mode: 'fork', merge_logs: true });
  await start({ name: 'quiet', disable_logs: true });
  await world.step('loud', 'start', { name: 'loud', script: world.file('loud.js', LOUD), autorestart: false });
  const partial = 'no newline at the end';
  for (const name of ['plain-out', 'pair-out-6', 'pair-out-7', 'we-ird-n--me.x-out']) await world.untilText(`${logs}/${name}.log`, partial);
  await world.untilText(`${world.work}/logs/custom-out.txt`, partial);
  const complaints = ['plain-error', 'pair-error-6', 'pair-error-7', 'we-ird-n--me.x-error', 'combined-error'];
  for (const name of complaints) await world.untilText(`${logs}/${name}.log`, 'err 1\n');
  await world.untilText(`${world.work}/logs/custom-err.log`, 'err 1\n');
  await world.untilText(`${logs}/combined-out.log`, 'last\n');
  await world.untilHeard('nowhere', 'log:out', partial);
  await world.untilHeard('nowhere', 'log:err', 'err 1\n');
  for (const name of ['both', 'combined']) {
    const file = `${world.work}/logs/${name}.log`;
    await world.untilText(file, 'last');
    await world.untilText(file, 'err 1');
  }
  await world.untilText(`${logs}/merged-out.log`, 'last\n', 2);
  await world.untilText(`${logs}/merged-error.log`, 'err 1\n', 2);
  await world.untilStatus('loud', 'stopped');
  world.note(
    'paths',
    (await world.list()).map((p) => [
      p.name,
      p.pm2_env.pm_out_log_path,
      p.pm2_env.pm_err_log_path,
      p.pm2_env.pm_log_path,
      p.pm2_env.pm_pid_path,
    ]),
  );
};
