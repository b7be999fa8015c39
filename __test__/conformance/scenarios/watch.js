'use strict';

/** What counts as a change, what is left alone, and what switches watching on and off. */

const fs = require('node:fs');
const path = require('node:path');

exports.run = async (world) => {
  const folder = path.join(world.work, 'watched');
  const script = world.file('watched/app.js', 'setInterval(() => {}, 1 << 30);');
  for (const name of ['src', 'logs', 'lib']) world.file(`watched/${name}/file.txt`, '0');
  const common = { script, cwd: folder, kill_timeout: 500 };
  const apps = {
    all: { watch: true },
    ignoring: { watch: true, ignore_watch: ['logs', '**/*.tmp'] },
    text: { watch: true, ignore_watch: 'logs lib' },
    paths: { watch: ['src', 'lib'] },
    one: { watch: 'src' },
    off: { watch: false },
    options: { watch: true, watch_options: { ignored: '**/logs/**' } },
  };
  for (const [name, more] of Object.entries(apps)) await world.step(name, 'start', { name, ...common, ...more });
  const log = () => fs.readFileSync(path.join(process.env.PM2_HOME, 'pm2.log'), 'utf8');
  /** Who has seen which file change, so far. */
  const seen = () =>
    [...log().matchAll(/Change detected on path (\S+) for app (\S+) - restarting/g)].map(
      ([, file, name]) => `${path.relative(folder, path.resolve(folder, file))} ${name}`,
    );

  /** Changes a file until the apps named have seen it. */
  const changed = async (file, ...names) => {
    let tries = 0;
    await world.until(`${names} to see ${file}`, () => {
      tries += 1;
      // Nobody looks while it is being restarted.
      if (tries % 50 === 1) fs.writeFileSync(path.join(folder, file), String(tries));
      const now = seen();
      return names.every((name) => now.includes(`${file} ${name}`));
    });
  };
  await world.until('all walks', () => log().split('Start watching').length > 6);
  await changed('src/file.txt', 'all', 'ignoring', 'text', 'paths', 'one', 'options');
  await changed('lib/file.txt', 'all', 'ignoring', 'paths', 'options');
  await changed('logs/file.txt', 'all');
  await changed('src/new.tmp', 'all', 'text', 'paths', 'one', 'options');
  // What is heard of this one was said after all that came before.
  await changed('src/end.txt', ...Object.keys(apps).filter((name) => name !== 'off'));
  world.note('seen', [...new Set(seen())].sort());
  /** Once all have this status: they may still be being restarted by a change. */
  const watched = async (label, status = 'online') => {
    const list = await world.until(`all to be ${status}`, async () => {
      const all = await world.list();
      return all.every(({ pm2_env }) => pm2_env.status === status) && all;
    });
    world.note(
      label,
      list.map(({ name, pm2_env }) => [name, pm2_env.status, pm2_env.watch, pm2_env.ignore_watch]),
    );
  };
  await watched('as declared');
  await world.attempt('delete', 'all');

  // Where nothing changes, so that nobody is being restarted.
  const calm = { script: world.file('calm/app.js', 'setInterval(() => {}, 1 << 30);'), cwd: path.join(world.work, 'calm') };
  for (const name of ['text', 'one', 'paths']) await world.attempt('start', { name, ...calm, watch: true });
  await watched('started');
  await world.attempt('stop', 'all');
  await watched('stopped', 'stopped');
  await world.attempt('restart', 'text');
  await world.attempt('restart', { name: 'one', ...calm, watch: true });
  await world.attempt('restart', { name: 'paths', ...calm, watch: false });
  await watched('started again');
};
