'use strict';

/** Configuration files of every kind and shape, and what the options of the call make of them. */

/** Says what it is given, so that more than the record can be compared. */
const APP = `
  const { COLOUR, KEEP, CONF, DEPLOYED } = process.env;
  console.log(JSON.stringify([process.cwd(), process.argv.slice(2), COLOUR, KEEP, CONF, DEPLOYED]));
  setInterval(() => {}, 1 << 30);
`;

const path = require('node:path');

/** Nothing of theirs is a line of the script above. */
const QUIET = /^(cmd|program)$/;

exports.run = async (world) => {
  world.file('app.js', APP);
  world.file('sub/app.js', APP);
  world.file('with space.sh', 'echo never');
  const start = (label, name, text, ...options) => world.step(label, 'start', world.file(name, text), ...options);
  const app = (name, more = {}) => ({ name, script: './app.js', ...more });

  await start('json', 'a.json', JSON.stringify({ apps: [app('json')] }));
  await start('json with comments', 'b.json', `{ // one\n apps: [{name: 'comments', script: ['app', 'js'].join('.'),},] /* two */ }`);
  await start('json5 by name', 'c.json5', `[{name: 'five', script: './app.js',}]`);
  await start(
    'yaml',
    'd.yaml',
    'apps:\n  - name: yaml\n    script: ./app.js\n    args: [a, "b c"]\n    env:\n      COLOUR: yes\n      KEEP: 012\n',
  );
  await start('yml, one app', 'e.yml', 'name: yml\nscript: ./app.js\n');
  await start('js', 'f.config.js', `module.exports = { apps: [${JSON.stringify(app('js'))}] };`);
  await start('cjs', 'g.config.cjs', `module.exports = ${JSON.stringify(app('cjs'))};`);
  await start('an array', 'h.json', JSON.stringify([app('array-1'), app('array-2')]));
  await start('pm2', 'i.json', JSON.stringify({ pm2: [app('pm2')] }));
  await start('one app under apps', 'j.json', JSON.stringify({ apps: app('single') }));
  await start('no name', 'k.json', JSON.stringify({ apps: [{ script: './sub/app.js' }] }));

  const staged = app('staged', {
    append_env_to_name: true,
    env: { COLOUR: 'green', KEEP: 'k', CONF: { a: [1] } },
    env_production: { COLOUR: 'red', MORE: 1 },
  });
  await start('plain env', 'l.json', JSON.stringify({ apps: [staged] }));
  await start(
    'env_production',
    'l.json',
    JSON.stringify({ apps: [staged], deploy: { production: { env: { DEPLOYED: 'yes', KEEP: 'deploy' } } } }),
    {
      env: 'production',
    },
  );
  await start('an environment nobody has', 'm.json', JSON.stringify({ apps: [app('nobody', { env: { COLOUR: 'blue' } })] }), {
    env: 'strange',
  });
  await start('only', 'n.json', JSON.stringify({ apps: [app('o1'), app('o2'), app('o3')] }), { only: 'o1,o3' });
  await start('only, with a space', 'n.json', JSON.stringify({ apps: [app('o4'), app('o5')] }), { only: 'o5 o6' });
  await start('name_prefix', 'o.json', JSON.stringify({ apps: [app('late'), app('first-late')] }), { name_prefix: 'first' });
  await start('namespace of the call', 'p.json', JSON.stringify({ apps: [app('n1'), app('n2', { namespace: 'own' })] }), {
    namespace: 'given',
  });
  await start('filter_env', 'q.json', JSON.stringify({ apps: [app('filtered', { filter_env: ['LANG', 'TZ'] })] }));
  await start('cwd of the app', 'r.json', JSON.stringify({ apps: [{ name: 'cwd-own', script: 'app.js', cwd: './sub' }] }));
  await start('options of the call over the app', 's.json', JSON.stringify({ apps: [app('over', { exec_mode: 'fork' })] }), {
    instances: 2,
    ignore_watch: ['x'],
  });
  await start('a command line', 't.json', JSON.stringify({ apps: [{ name: 'line', script: 'echo one two; exec sleep 86400' }] }));
  await start('cmd', 't2.json', JSON.stringify({ apps: [{ name: 'cmd', cmd: 'exec sleep 86400' }] }));
  await start('a program in PATH', 'u.json', JSON.stringify({ apps: [{ name: 'program', script: 'sleep', args: '86400' }] }));
  await start('no script', 'v.json', JSON.stringify({ apps: [{ name: 'scriptless' }] }));
  await start('empty object', 'w.json', '{}');
  await start('empty array', 'w2.json', '[]');
  await start('broken yaml', 'x.yaml', 'apps: [{');
  await start('one of two is bad', 'y.json', JSON.stringify({ apps: [app('good'), app('bad', { kill_timeout: 'soon' })] }));
  // What is ended in the midst of its start prints or does not.
  await world.untilPrinted(({ name }) => !QUIET.test(name));
  await world.step('stop by file', 'stop', path.join(world.work, 'h.json'));
  await world.step('delete by file', 'delete', path.join(world.work, 'h.json'));
  await world.step('stop by a file of nobody', 'stop', world.file('z.json', JSON.stringify({ apps: [app('unknown')] })));
  await world.step('relative file', 'start', 'a.json');
  await world.untilText((await world.process('json')).pm2_env.pm_out_log_path, '\n', 2);
};
