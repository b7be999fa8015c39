'use strict';

const path = require('node:path');
const { sandbox, failure, until, packageFolder, isReference } = require('./helper.js');
const { Counter, Histogram, Meter } = require('../../src/js/measures.js');

/*
 * The library that apps and modules reach by `pm2/modules/pm2-io-bpm`: what they say through it arrives in the list and on the bus.
 */

const box = sandbox();
const LIBRARY = JSON.stringify(path.join(packageFolder, 'modules/pm2-io-bpm'));

const named = (list, name) => list.find((each) => each.name === name);

test('actions of an app can be triggered, with and without parameters, and its metrics are in the list', async () => {
  box.write(
    'app.js',
    `const io = require(${LIBRARY})${isReference ? '.init()' : ''};
    io.action('ping', (reply) => reply({ pong: 1 }));
    io.action({ name: 'echo', action: (params, reply) => reply({ got: params }) });
    io.action('km:inner', (reply) => reply('inner'));
    io.metric({ name: 'read', value: () => 7, unit: 'u' });
    io.gauge('set').set('text');
    io.counter({ name: 'count', historic: false }).inc(3);
    io.histogram({ name: 'spread', measurement: 'max' }).update(9);
    io.meter('rate');
    setInterval(() => {}, 1000);`,
  );
  await box.call('start', 'app.js');
  const { pm2_env } = await until(async () => {
    const found = named(await box.call('list'), 'app');
    return found.pm2_env.axm_monitor.count && found.pm2_env.axm_actions.some((each) => each.action_name === 'km:inner') && found;
  });
  expect(pm2_env.axm_monitor).toMatchObject({
    read: { value: 7, unit: 'u', historic: true },
    set: { value: 'text' },
    count: { value: 3, historic: false },
    spread: { value: 9 },
  });
  expect(pm2_env.axm_monitor.rate).toBeUndefined();
  const kinds = Object.fromEntries(pm2_env.axm_actions.map((each) => [each.action_name, [each.action_type, each.arity]]));
  expect(kinds).toMatchObject({ ping: ['custom', 1], echo: ['custom', 2], 'km:inner': ['internal', 1] });
  const [{ data }] = await box.call('trigger', 'app', 'ping');
  expect(data).toMatchObject({ action_name: 'ping', return: { pong: 1 } });
  expect((await box.call('trigger', 'app', 'echo', { k: 1 }))[0].data.return).toEqual({ got: { k: 1 } });
});

test('events and errors of an app arrive on the bus', async () => {
  const bus = await box.call('launchBus');
  const heard = {};
  bus.on('human:event', ({ data }) => {
    heard.event = data;
  });
  bus.on('process:exception', ({ data }) => {
    heard.error = data;
  });
  box.write(
    'app.js',
    `const io = require(${LIBRARY})${isReference ? '.init()' : ''};
    io.emit('page:created', { by: 'me' });
    io.notifyError(new RangeError('too far'), { place: 'there' });
    setInterval(() => {}, 1000);`,
  );
  await box.call('start', 'app.js');
  await until(() => heard.event && heard.error);
  expect(heard.event).toEqual({ by: 'me', __name: 'page:created' });
  expect(heard.error).toMatchObject({ name: 'RangeError', message: 'too far', metadata: { place: 'there' } });
});

test('a module gets its configuration: its own, then what the user has set', async () => {
  box.write('package.json', JSON.stringify({ name: 'mod-x', version: '1.2.3', config: { a: 1, b: 'x', password: 'p' } }));
  box.write(
    'mod.js',
    `require(${LIBRARY})${isReference ? '.init()' : ''}.initModule({}, (error, conf) => {
      console.log(JSON.stringify([error, conf.a, conf.b, conf.password, conf.module_conf]));
    });
    setInterval(() => {}, 1000);`,
  );
  await box.call('start', { script: 'mod.js', name: 'mod-x', env: { 'mod-x': JSON.stringify({ b: '5' }) } });
  await until(() => box.log('mod-x-out.log').includes('\n'));
  expect(JSON.parse(box.log('mod-x-out.log'))).toEqual([null, 1, 5, 'p', { a: 1, b: 5, password: 'Password hidden' }]);
  const { pm2_env } = await until(async () => {
    const found = named(await box.call('list'), 'mod-x');
    return found.pm2_env.axm_options.module_version && found;
  });
  expect(pm2_env.axm_options).toMatchObject({ isModule: true, module_name: 'mod-x', module_version: '1.2.3' });
});

test('outside pm2 everything can be called, and the script ends by itself', async () => {
  const { code, stdout } = await box.run(`
    const io = require(${LIBRARY});
    io.counter('c').inc();
    io.emit('x', {});
    io.notifyError('no error');
    io.onExit((code, signal) => console.log('left with', code, signal));`);
  expect([code, stdout]).toEqual([0, 'left with 0 null\n']);
});

test('what cannot be an action, a metric or an event is refused by its name', async () => {
  if (isReference) return;
  const io = require(path.join(packageFolder, 'modules/pm2-io-bpm'));
  const refused = (work) => failure((async () => work())());
  expect((await refused(() => io.action('x', 5))).message).toContain('"action" argument of pm2.action must be a function');
  expect((await refused(() => io.metrics([{ name: 'a', type: 'odd' }]))).message).toContain('"type" argument of pm2.metrics');
  expect((await refused(() => io.gauge({}))).message).toContain('"name" argument of pm2.gauge');
  expect((await refused(() => io.emit('x', []))).message).toContain('"data" argument of pm2.emit must be an object, not an array');
});

test('measures keep what they are told, in bounded memory', () => {
  const counter = new Counter();
  expect(counter.val()).toBe(undefined);
  counter.dec(2);
  expect(counter.val()).toBe(-2);
  const histogram = new Histogram({ measurement: 'p95' });
  expect(histogram.val()).toBe(undefined);
  for (let value = 1; value <= 5000; value += 1) histogram.update(value);
  expect(histogram.fullResults()).toMatchObject({ min: 1, max: 5000, count: 5000, mean: 2500.5, sum: 12_502_500 });
  expect(histogram.fullResults().variance).toBeCloseTo(2_083_750, 0);
  expect(histogram.val()).toBeGreaterThan(4000);
  const meter = new Meter({ samples: 1, timeframe: 60 });
  expect(meter.val()).toBe(undefined);
  for (let mark = 0; mark < 100; mark += 1) meter.mark();
  expect(meter.val()).toBe(100);
});
