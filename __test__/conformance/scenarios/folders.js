'use strict';

/** A program that moves to another folder after it has loaded pm2, and a configuration file that has it move. */

const path = require('node:path');

const APP = 'console.log(process.cwd()); setInterval(() => {}, 1 << 30);';

exports.run = async (world) => {
  const script = 'app.js';
  for (const folder of ['', 'sub/', 'sub/in/']) world.file(`${folder}app.js`, APP);
  const file = world.file(
    'sub/moves.config.js',
    `process.chdir(__dirname);
    const here = require('node:fs').readdirSync('.').includes('in') && process.cwd() === __dirname;
    const mask = process.umask(process.umask());
    module.exports = { apps: [{ name: here && typeof mask === 'number' ? 'moved' : 'stayed', script: '${script}', cwd: 'in' }] };`,
  );
  await world.step('a file that moves', 'start', file);
  world.note('where the program is then', path.relative(world.work, process.cwd()));
  await world.step('no folder', 'start', { name: 'plain', script });
  await world.step('a folder', 'start', { name: 'inner', script, cwd: 'in' });
  await world.step('a folder above', 'start', { name: 'upper', script, cwd: '..' });
  await world.step('a log file', 'start', { name: 'logged', script, cwd: 'in', output: 'o.log', pid_file: 'p.pid' });
  for (const name of ['moved', 'plain', 'inner', 'upper'])
    await world.untilText(path.join(process.env.PM2_HOME, `logs/${name}-out.log`), 'work');
  await world.untilText(path.join(world.work, 'sub/in/o.log'), 'work');
  await world.step('describe', 'describe', 'in/app.js');
  await world.step('stop by a path', 'stop', 'in/app.js');
  await world.step('stop by a path of the first folder', 'stop', 'sub/app.js');
  await world.statuses('in the end');
};
