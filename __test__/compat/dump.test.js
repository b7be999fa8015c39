'use strict';

// The saved list travels both ways: what the published pm2 saved our package brings back, and the other way round.

const fs = require('node:fs');
const path = require('node:path');
const { REFERENCE, UNDER_TEST, cli, homes, managerOf, script, waitFor, writeApp, ANSWERING_APP } = require('./helper');

const newHome = homes();

/** Starts one of each kind with the package in `folder`, saves, and ends everything. */
async function save(folder, home) {
  const app = writeApp(home, 'app.js', ANSWERING_APP);
  await script(
    folder,
    home,
    async ({ pm2, call }, file) => {
      await call(pm2, 'connect');
      const common = { script: file, kill_timeout: 500 };
      await call(pm2, 'start', { ...common, name: 'fork', namespace: 'n', args: ['x y', '--z'], env: { COLOUR: 'green', N: 5 } });
      await call(pm2, 'start', { ...common, name: 'two', exec_mode: 'cluster', instances: 2 });
      await call(pm2, 'start', { ...common, name: 'still', max_memory_restart: '1G' });
      await call(pm2, 'stop', 'still');
      await call(pm2, 'restart', 'fork');
      await call(pm2, 'dump');
    },
    app,
  );
  await end(home);
}

async function end(home) {
  const [keeper] = managerOf(home);
  // Not by SIGTERM, which would save the list anew.
  await cli(home, 'kill');
  await waitFor('the end of the daemon', () => managerOf(home).length === 0 || managerOf(home)[0] !== keeper);
}

/** What came back, with the package in `folder`. */
function resurrected(folder, home) {
  return script(folder, home, async ({ pm2, call }) => {
    const buffer = await call(pm2, 'resurrect');
    const list = await call(pm2, 'list');
    const shown = list.map(({ name, pm2_env }) => [
      name,
      pm2_env.namespace,
      pm2_env.exec_mode,
      pm2_env.status,
      pm2_env.restart_time,
      pm2_env.NODE_APP_INSTANCE,
      pm2_env.args ?? [],
      pm2_env.COLOUR ?? null,
      pm2_env.max_memory_restart ?? null,
    ]);
    return { length: JSON.parse(String(buffer)).length, shown: shown.sort((a, b) => (a[0] + a[5] < b[0] + b[5] ? -1 : 1)) };
  });
}

const EXPECTED = {
  length: 4,
  shown: [
    ['fork', 'n', 'fork_mode', 'online', 0, 0, ['x y', '--z'], 'green', null],
    ['still', 'default', 'fork_mode', 'stopped', 0, 0, [], null, 1024 ** 3],
    ['two', 'default', 'cluster_mode', 'online', 0, 0, [], null, null],
    ['two', 'default', 'cluster_mode', 'online', 0, 1, [], null, null],
  ],
};

test('what the published pm2 saved comes back here', async () => {
  const home = newHome();
  await save(REFERENCE, home);
  expect(await resurrected(UNDER_TEST, home)).toEqual(EXPECTED);
});

test('what is saved here comes back with the published pm2', async () => {
  const home = newHome();
  await save(UNDER_TEST, home);
  expect(await resurrected(REFERENCE, home)).toEqual(EXPECTED);
});

test('a list that the daemon saved when it was told to end comes back with the published pm2', async () => {
  const home = newHome();
  const app = writeApp(home, 'app.js', ANSWERING_APP);
  await script(UNDER_TEST, home, ({ pm2, call }, file) => call(pm2, 'start', { script: file, name: 'a' }).then(() => {}), app);
  const [keeper] = managerOf(home);
  process.kill(keeper, 'SIGTERM');
  await waitFor('the end of the daemon', () => managerOf(home).length === 0);
  expect(JSON.parse(fs.readFileSync(path.join(home, 'dump.pm2'), 'utf8'))).toHaveLength(1);
  const { shown } = await resurrected(REFERENCE, home);
  expect(shown.map(([name, , , status]) => [name, status])).toEqual([['a', 'online']]);
});
