'use strict';

// Whoever comes first starts the daemon, everybody gets it: with the published pm2 a second cold start hangs.

const fs = require('node:fs');
const path = require('node:path');
const { UNDER_TEST, homes, managerOf, processesOf, script, waitFor, writeApp, ANSWERING_APP } = require('./helper');

const newHome = homes();

const SCRIPTS = 20;

test('twenty scripts that connect at once on a cold home all succeed and leave one daemon', async () => {
  const home = newHome();
  const all = await Promise.all(
    Array.from({ length: SCRIPTS }, () =>
      script(UNDER_TEST, home, async ({ pm2, call }) => {
        const meta = await call(pm2, 'connect');
        return { meta, list: await call(pm2, 'list') };
      }),
    ),
  );
  expect(all.map((one) => one.list)).toEqual(Array(SCRIPTS).fill([]));
  expect(all.filter((one) => one.meta.new_pm2_instance).length).toBeGreaterThanOrEqual(1);
  const manager = managerOf(home);
  expect(Number(fs.readFileSync(path.join(home, 'pm2.pid'), 'utf8'))).toBe(manager[0]);
  await waitFor('the losers of the race to end', () => processesOf(home).length === manager.length);
  expect(processesOf(home).sort()).toEqual([...manager].sort());
});

test('twenty scripts that start an app each at once on a cold home leave twenty apps with twenty ids', async () => {
  const home = newHome();
  const app = writeApp(home, 'app.js', ANSWERING_APP);
  await Promise.all(
    Array.from({ length: SCRIPTS }, (_, n) =>
      script(
        UNDER_TEST,
        home,
        async ({ pm2, call }, { file, name }) => {
          await call(pm2, 'start', { script: file, name });
        },
        { file: app, name: `app-${n}` },
      ),
    ),
  );
  const list = await script(UNDER_TEST, home, async ({ pm2, call }) => {
    await call(pm2, 'connect');
    return (await call(pm2, 'list')).map((p) => [p.name, p.pm_id, p.pm2_env.status]);
  });
  expect(list.map(([name]) => name).sort()).toEqual(Array.from({ length: SCRIPTS }, (_, n) => `app-${n}`).sort());
  expect(list.map(([, id]) => id)).toEqual(Array.from({ length: SCRIPTS }, (_, n) => n));
  expect(new Set(list.map(([, , status]) => status))).toEqual(new Set(['online']));
});
