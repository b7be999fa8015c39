'use strict';

/** A program that moves to another folder after it has loaded pm2, and a configuration file that has it move. */

const path = require('node:path');

const APP = 'console.log(process.cwd()); setInterval(() => {}, 1 << 30);';

/** Every run that is ended counts as a short one, however slow the machine. */
const min_uptime = 3_600_000;

exports.run = async (world) => {
  const script = 'app.js';
  for (const folder of ['', 'sub/', 'sub/in/']) world.file(`${folder}app.js`, APP);
  const file = world.file(
    'sub/moves.config.js',
    `process.chdir(__dirname);
    const here = require('node:fs').readdirSync('.').includes('in') && process.cwd() === __dirname;
    const mask = process.umask(process.umask());
    module.exports = { apps: [{ name: here && typeof mask === 'number' ? 'moved' : 'stayed', script: '${script}', cwd: 'in', min_uptime: ${min_uptime} }] };`,
  );
  await world.step('a file that moves', 'start', file);
  world.note('where the program is then', path.relative(world.work, process.cwd()));
  await world.step('no folder', 'start', { name: 'plain', script, min_uptime });
  await world.step('a folder', 'start', { name: 'inner', script, min_uptime, cwd: 'in' });
  await world.step('a folder above', 'start', { name: 'upper', script, min_uptime, cwd: '..' });
  await world.step('a log file', 'start', { name: 'logged', script, min_uptime, cwd: 'in', output: 'o.log', pid_file: 'p.pid' });
  for (const name of ['moved', 'plain', 'inner', 'upper'])
    await world.untilText(path.join(process.env.PM2_HOME, `logs/${name}-out.log`), '\n');
  await world.untilText(path.join(world.work, 'sub/in/o.log'), '\n');
  await world.step('describe', 'describe', 'in/app.js');
  await world.step('stop by a path', 'stop', 'in/app.js');
  await world.step('stop by a path of the first folder', 'stop', 'sub/app.js');
  await world.statuses('in the end');
};
