'use strict';

// The other way round: our package's calls against the published daemon, as in a project that is half updated.

const { REFERENCE, UNDER_TEST, homes, managerOf, script, waitFor, writeApp, ANSWERING_APP } = require('./helper');

const newHome = homes();

/** A home with the published daemon; gives its pids. */
async function published(home) {
  await script(REFERENCE, home, async ({ pm2, call }) => {
    await call(pm2, 'connect');
  });
  return managerOf(home);
}

test('our client attaches to the published daemon and does not start ours', async () => {
  const home = newHome();
  const manager = await published(home);
  const seen = await script(UNDER_TEST, home, async ({ pm2, call }) => ({
    meta: await call(pm2, 'connect'),
    version: await call(pm2, 'getVersion'),
    list: await call(pm2, 'list'),
  }));
  expect(seen).toMatchObject({ meta: { new_pm2_instance: false, pm2_home: home }, version: '7.0.4', list: [] });
  expect(managerOf(home)).toEqual(manager);
});

test('start, describe, restart, reload, stop and delete work on the published daemon', async () => {
  const home = newHome();
  await published(home);
  const app = writeApp(home, 'app.js', ANSWERING_APP);
  const seen = await script(
    UNDER_TEST,
    home,
    async ({ pm2, call }, file) => {
      await call(pm2, 'connect');
      const started = await call(pm2, 'start', { script: file, name: 'app', env: { COLOUR: 'green' } });
      const [record] = await call(pm2, 'describe', 'app');
      const steps = {
        started: [started.length, typeof started[0].process.pid, started[0].pm2_env.pm_id],
        record: [record.name, record.pm2_env.status, record.pm2_env.COLOUR, record.pm2_env.pm_exec_path === file],
      };
      for (const verb of ['restart', 'reload', 'stop', 'restart', 'delete']) {
        const value = await call(pm2, verb, 'app');
        steps[`${verb} ${Object.keys(steps).length}`] = value.map((p) => [p.name, p.pm_id, p.status]);
      }
      steps.end = await call(pm2, 'list');
      return steps;
    },
    app,
  );
  expect(seen).toEqual({
    started: [1, 'number', 0],
    record: ['app', 'online', 'green', true],
    'restart 2': [['app', 0, 'online']],
    'reload 3': [['app', 0, 'online']],
    'stop 4': [['app', 0, 'stopped']],
    'restart 5': [['app', 0, 'online']],
    'delete 6': [['app', 0, 'stopped']],
    end: [],
  });
});

test('the bus of the published daemon is heard, and a message is answered', async () => {
  const home = newHome();
  await published(home);
  const app = writeApp(home, 'app.js', ANSWERING_APP);
  const seen = await script(
    UNDER_TEST,
    home,
    async ({ pm2, call }, file) => {
      await call(pm2, 'connect');
      const bus = await call(pm2, 'launchBus');
      const events = [];
      bus.on('process:event', (data) => events.push(data.event));
      const answer = new Promise((resolve) => bus.on('test:answer', resolve));
      await call(pm2, 'start', { script: file, name: 'answering' });
      await call(pm2, 'sendDataToProcessId', 0, { type: 'process:msg', data: { n: 1 }, topic: 'my topic' });
      return { answer: (await answer).data, events };
    },
    app,
  );
  expect(seen).toEqual({ answer: { got: { n: 1 }, id: 0 }, events: ['online', 'start'] });
});

test('kill by our client ends the published daemon', async () => {
  const home = newHome();
  await published(home);
  await script(UNDER_TEST, home, async ({ pm2, call }) => {
    await call(pm2, 'connect');
    await call(pm2, 'killDaemon');
  });
  await waitFor('the daemon to go', () => managerOf(home).length === 0);
});

test('update puts our daemon in the place of the published one, with what that was running', async () => {
  // Protects the day on which somebody changes packages: the published daemon is there, and knows no way of handing over.
  const home = newHome();
  const app = writeApp(home, 'app.js', ANSWERING_APP);
  await script(
    REFERENCE,
    home,
    async ({ pm2, call }, file) => {
      await call(pm2, 'connect');
      await call(pm2, 'start', { script: file, name: 'pair', instances: 2, exec_mode: 'cluster' });
      await call(pm2, 'start', { script: file, name: 'one', env: { COLOUR: 'green' } });
    },
    app,
  );
  const [published] = managerOf(home);
  const seen = await script(UNDER_TEST, home, async ({ pm2, call, until }) => {
    await call(pm2, 'connect');
    const bus = await call(pm2, 'launchBus');
    const pids = (await call(pm2, 'list')).map(({ pid }) => pid);
    const value = await call(pm2, 'update');
    const list = await call(pm2, 'list');
    const isAgain = ({ pid }) => pids.includes(pid);
    let isHeard = false;
    bus.on('process:event', () => {
      isHeard = true;
    });
    // Which bus is listened to again shows when something happens.
    await until(async () => {
      if (!isHeard) await call(pm2, 'restart', 'one');
      return isHeard;
    });
    return { value, apps: list.map((p) => [p.name, p.pm2_env.status, p.pm2_env.exec_mode, p.pm2_env.COLOUR, isAgain(p)]).sort() };
  });
  expect(seen).toEqual({
    value: { success: true },
    apps: [
      ['one', 'online', 'fork_mode', 'green', false],
      ['pair', 'online', 'cluster_mode', null, false],
      ['pair', 'online', 'cluster_mode', null, false],
    ],
  });
  const ours = managerOf(home);
  expect(ours).toHaveLength(2);
  expect(ours).not.toContain(published);
});
