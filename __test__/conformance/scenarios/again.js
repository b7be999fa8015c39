'use strict';

/** What is managed already: started again by name, namespace, id, script, object and file, with what has changed meanwhile. */

const APP = `setInterval(() => {}, 1 << 30);`;

/** Every run that is ended counts as a short one, however slow the machine. */
const min_uptime = 3_600_000;

exports.run = async (world) => {
  const script = world.file('app.js', APP);
  world.file('other.js', APP);
  const step = (label, ...what) => world.step(label, ...what);
  const records = async (label) =>
    world.note(
      label,
      (await world.list()).map(({ pm2_env }) => ({ pm2_env })),
    );
  const file = (apps) => world.file('apps.json', JSON.stringify({ apps }));
  const app = (more) => ({ name: 'again', script: './app.js', min_uptime, ...more });

  await step('a file', 'start', file([app({ env: { A: '1', B: '2' }, kill_timeout: 800, args: 'x' })]));
  await step('the same file', 'start', file([app({ env: { A: '1', B: '2' }, kill_timeout: 800, args: 'x' })]));
  await step(
    'with changed options',
    'start',
    file([
      app({
        env: { A: '3' },
        args: ['y', 'z'],
        node_args: '--no-warnings',
        max_memory_restart: '300M',
        log_date_format: 'YYYY',
        out_file: 'moved.log',
        listen_timeout: 100,
        max_restarts: 7,
        namespace: 'moved',
        instances: 3,
        exec_mode: 'cluster',
      }),
    ]),
  );
  await records('changed');
  await step('with options gone', 'start', file([app({})]));
  await records('options gone');
  await step('restart of a file', 'restart', file([app({ env: { A: '4' } })]));
  await step('reload of a file', 'reload', file([app({ env: { A: '5' } })]));
  await records('after both');
  await step('stop it', 'stop', 'again');
  await step('file of what is stopped', 'start', file([app({ env: { A: '6' } })]));
  await step('reload of what is missing', 'reload', file([app({ name: 'missing', autorestart: true })]));
  await step('delete that', 'delete', 'missing');
  await step('startOrRestart', '_startJson', file([app({ env: { A: '7' } }), app({ name: 'new' })]), {}, 'restartProcessId');
  await step('startOrReload', '_startJson', file([app({ env: { A: '8' } }), app({ name: 'newer' })]), {}, 'reloadProcessId');
  await records('after startOr…');
  await step('delete those', 'delete', 'new');
  await step('delete the other', 'delete', 'newer');

  // By object, with options of the call.
  await step('object', 'restart', app({ kill_timeout: 900, env: { FRESH: 'yes' }, env_test: { FRESH: 'test' } }));
  await step('object for an environment', 'restart', app({ env: { FRESH: 'yes' }, env_test: { FRESH: 'test' } }), { env: 'test' });
  await records('for an environment');
  await step('and back', 'restart', app({ env: { FRESH: 'yes' }, env_test: { FRESH: 'test' } }));

  // By name, with options and with the environment of the moment.
  process.env.NEW_VARIABLE = 'new';
  await step('by name', 'restart', 'again');
  await records('without updateEnv');
  await step('updateEnv', 'restart', 'again', { updateEnv: true });
  await records('with updateEnv');
  await step('changed by name', 'restart', 'again', { maxMemoryRestart: '200M', killTimeout: 700, maxRestarts: 9 });
  await step('deleted by name', 'restart', 'again', { maxMemoryRestart: 'null' });
  await step('what cannot change', 'restart', 'again', { instances: 4, execMode: 'cluster', name: 'renamed' });
  await records('changed by name');
  await step('back to its name', 'delete', 'all');

  // Smart start.
  await step('smart', 'start', { name: 'smart', script, min_uptime, namespace: 'room' });
  await step('second', 'start', { name: 'second', script: 'other.js', min_uptime, namespace: 'room' });
  await step('by name', 'start', 'smart');
  await step('by namespace', 'start', 'room');
  await step('by id', 'start', String((await world.process('smart')).pm_id));
  await step('all', 'start', 'all');
  await step('an id of nobody', 'start', '99');
  await step('a word of nobody', 'start', 'nobody-of-that-name');
  await step('the script under another name', 'start', script);
  await step('the script under its name', 'start', script);
  await step('the script, with force', 'start', script, { force: true });
  await step('stop the script', 'stop', 'app');
  await step('the stopped script', 'start', script);
  await step('an object of a running name', 'start', { name: 'smart', script: 'other.js' });
  await world.statuses('at the end');
  await records('all at the end');
};
