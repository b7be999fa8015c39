'use strict';

/* What an app can offer and report: actions and metrics of `@pm2/io`, and of an app that speaks the messages itself. */

const path = require('node:path');
const { sandbox, failure, until } = require('../api/helper.js');

const box = sandbox();
const IO = JSON.stringify(path.dirname(require.resolve('@pm2/io/package.json')));

const record = async () => (await box.call('describe', 'io'))[0].pm2_env;

async function startIo(instances = 1) {
  const script = box.write(
    'io.js',
    `const io = require(${IO});
     io.init({ metrics: { http: false, eventLoop: false, network: false, runtime: false, v8: false } });
     io.action('plain', (reply) => reply({ pid: process.pid }));
     io.action('param', (param, reply) => reply({ got: param }));
     io.action('silent', () => {});
     io.metric({ name: 'g1', unit: 'u', value: () => 5 });
     setTimeout(() => io.emit('evt', { a: 1 }), 300);
     process.on('message', (message) => message === 'poke' && process.send({ type: 'poked', data: { message } }));`,
  );
  await box.call('start', { script, name: 'io', instances, exec_mode: 'fork', kill_timeout: 500 });
  await until(async () => (await record()).axm_actions.some(({ action_name }) => action_name === 'silent'), 'the actions');
}

test('an app with @pm2/io shows its actions and metrics, and its events reach the bus', async () => {
  const bus = await box.call('launchBus');
  const event = new Promise((resolve) => bus.on('human:event', resolve));
  await startIo();
  const { axm_actions, axm_options } = await until(async () => (await record()).axm_options.module_name && record(), 'its name');
  expect(axm_actions.filter(({ action_type }) => action_type === 'custom').map(({ action_name }) => action_name)).toEqual([
    'plain',
    'param',
    'silent',
  ]);
  expect(axm_options.module_name).toBe('io');
  const { g1 } = await until(async () => (await record()).axm_monitor.g1 && (await record()).axm_monitor, 'the metric');
  expect(g1).toMatchObject({ value: 5, unit: 'u' });
  expect(await event).toMatchObject({ data: { a: 1, __name: 'evt' }, process: { pm_id: 0, name: 'io', namespace: 'default' } });
});

test('trigger brings the answers of every process', async () => {
  await startIo(2);
  await until(
    async () => (await box.call('list')).every(({ pm2_env }) => pm2_env.axm_actions.some(({ action_name }) => action_name === 'silent')),
    'both',
  );
  const plain = await box.call('trigger', 'io', 'plain');
  expect(plain.map((each) => each.data.return.pid).sort()).toEqual((await box.call('list')).map(({ pid }) => pid).sort());
  expect(plain[0]).toMatchObject({ at: expect.any(Number), data: { action_name: 'plain' }, process: { name: 'io', namespace: 'default' } });
  const [param] = await box.call('trigger', 0, 'param', { k: 1 });
  expect(param.data.return).toEqual({ got: { k: 1 } });
});

test('whom no action reaches is an error', async () => {
  await startIo();
  expect((await failure(box.call('trigger', 'nobody', 'plain'))).message).toBe('Unknown process');
  expect((await failure(box.call('trigger', 7, 'plain'))).message).toBe('7 id unknown');
  expect((await failure(box.call('trigger', 'io', 'no-such'))).message).toBe('Unknown process');
  expect((await failure(box.call('trigger', 0, 'no-such'))).message).toBe("Action doesn't exist no-such for io");
});

test('msgProcess counts whom it reached, and an app without the library is heard all the same', async () => {
  const script = box.write(
    'own.js',
    `process.send({ type: 'axm:action', data: { action_name: 'poke', action_type: 'custom', arity: 0 } });
     process.send({ type: 'axm:monitor', data: { depth: { value: 3 } } });
     process.on('message', (message) => process.send({ type: 'poked', data: { message } }));`,
  );
  const bus = await box.call('launchBus');
  const poked = new Promise((resolve) => bus.on('poked', ({ data }) => resolve(data.message)));
  await box.call('start', { script, name: 'io', kill_timeout: 500 });
  await until(async () => (await record()).axm_monitor.depth, 'the metric, which is said after the action');
  expect(await record()).toMatchObject({ axm_actions: [{ action_name: 'poke' }], axm_monitor: { depth: { value: 3 } } });
  expect(await box.call('msgProcess', { name: 'io', msg: 'poke' })).toEqual({ process_count: 1, success: true });
  expect(await poked).toBe('poke');
  await box.call('stop', 'io');
  expect((await record()).axm_actions).toEqual([]);
});
