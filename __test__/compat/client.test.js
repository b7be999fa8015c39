'use strict';

// The published programmatic client against our daemon: modules carry a pm2 of their own and must not notice.

const { REFERENCE, homes, managerOf, script, startDaemon, waitFor, writeApp, ANSWERING_APP } = require('./helper');

const newHome = homes();

test('the published client attaches to the running daemon and finds its version', async () => {
  const home = newHome();
  const manager = await startDaemon(home);
  const seen = await script(REFERENCE, home, async ({ pm2, call }) => ({
    meta: await call(pm2, 'connect'),
    version: await call(pm2, 'getVersion'),
    ping: await call(pm2, 'ping'),
    list: await call(pm2, 'list'),
  }));
  expect(seen.meta).toMatchObject({ new_pm2_instance: false, pm2_home: home });
  expect(seen).toMatchObject({ version: '7.0.4', ping: { msg: 'pong' }, list: [] });
  expect(managerOf(home)).toEqual(manager);
});

test('start, describe, restart, reload, stop and delete do what the published client expects', async () => {
  const home = newHome();
  await startDaemon(home);
  const app = writeApp(home, 'app.js', ANSWERING_APP);
  const seen = await script(
    REFERENCE,
    home,
    async ({ pm2, call }, file) => {
      const facts = (list) => list.map((p) => [p.name, p.pm_id, p.pm2_env.status, p.pm2_env.restart_time]);
      await call(pm2, 'connect');
      const started = await call(pm2, 'start', { script: file, name: 'app', args: ['a', 'b'] });
      const record = await call(pm2, 'describe', 'app');
      const steps = { started: [started.length, typeof started[0].process.pid, started[0].pm2_env.pm_id] };
      steps.described = facts(record);
      steps.args = record[0].pm2_env.args;
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
    described: [['app', 0, 'online', 0]],
    args: ['a', 'b'],
    'restart 3': [['app', 0, 'online']],
    'reload 4': [['app', 0, 'online']],
    'stop 5': [['app', 0, 'stopped']],
    'restart 6': [['app', 0, 'online']],
    'delete 7': [['app', 0, 'stopped']],
    end: [],
  });
});

test('four forked instances have their own ids, instance numbers and log files', async () => {
  const home = newHome();
  await startDaemon(home);
  const app = writeApp(home, 'many.js', ANSWERING_APP);
  const seen = await script(
    REFERENCE,
    home,
    async ({ pm2, call }, file) => {
      await call(pm2, 'connect');
      await call(pm2, 'start', { script: file, name: 'many', instances: 4, exec_mode: 'fork' });
      const list = await call(pm2, 'list');
      return list.map((p) => [p.pm_id, p.pm2_env.NODE_APP_INSTANCE, p.pm2_env.pm_out_log_path.split('/').pop()]);
    },
    app,
  );
  expect(seen).toEqual([0, 1, 2, 3].map((n) => [n, n, `many-out-${n}.log`]));
});

test('a message to an app is answered over the bus', async () => {
  const home = newHome();
  await startDaemon(home);
  const app = writeApp(home, 'answering.js', ANSWERING_APP);
  const seen = await script(
    REFERENCE,
    home,
    async ({ pm2, call }, file) => {
      await call(pm2, 'connect');
      const bus = await call(pm2, 'launchBus');
      const answer = new Promise((resolve) => bus.on('test:answer', resolve));
      await call(pm2, 'start', { script: file, name: 'answering' });
      const packet = { type: 'process:msg', data: { some: 'data', hello: true }, id: 0, topic: 'my topic' };
      const sent = await call(pm2, 'sendDataToProcessId', packet);
      const { data, process: from } = await answer;
      return { sent, data, from: { pm_id: from.pm_id, name: from.name } };
    },
    app,
  );
  expect(seen.sent.success).toBe(true);
  expect(seen.data).toEqual({ got: { some: 'data', hello: true }, id: 0 });
  expect(seen.from).toEqual({ pm_id: 0, name: 'answering' });
});

test('errors reach the published client in the words it knows', async () => {
  const home = newHome();
  await startDaemon(home);
  const seen = await script(REFERENCE, home, async ({ pm2, call }) => {
    await call(pm2, 'connect');
    const text = (promise) =>
      promise.then(
        () => 'no error',
        (error) => error.message,
      );
    return [
      await text(call(pm2, 'restart', 'nobody')),
      await text(call(pm2, 'restart', 7)),
      await text(call(pm2, 'stop', 7)),
      await text(call(pm2, 'delete', 7)),
      await text(call(pm2, 'sendDataToProcessId', { id: 7, topic: 't', data: {} })),
      await text(call(pm2, 'sendDataToProcessId', { id: 7, data: {} })),
      await text(call(pm2, 'sendSignalToProcessName', 'SIGUSR1', 'nobody')),
    ];
  });
  expect(seen).toEqual([
    'process or namespace not found',
    'God db process id unknown',
    '7 : id unknown',
    '7 : id unknown',
    'Process with ID <7> unknown.',
    'ID, DATA or TOPIC field is missing',
    'Unknown process name',
  ]);
});

test('kill by the published client ends the daemon, which says goodbye by signal', async () => {
  const home = newHome();
  await startDaemon(home);
  const app = writeApp(home, 'app.js', ANSWERING_APP);
  const isToldGoodbye = await script(
    REFERENCE,
    home,
    async ({ pm2, call, until }, file) => {
      await call(pm2, 'connect');
      await call(pm2, 'start', { script: file });
      let isTold = false;
      process.once('SIGQUIT', () => (isTold = true));
      await call(pm2, 'killDaemon');
      // The client does without it after 3 s; on a machine that is busy it comes later.
      return until(() => isTold);
    },
    app,
  );
  expect(isToldGoodbye).toBe(true);
  await waitFor('the end of both', () => managerOf(home).length === 0);
});
