'use strict';

const path = require('node:path');
const { sandbox, call, failure, until, testOurs, FIXTURES } = require('./helper.js');

const box = sandbox();
const IDLE = path.join(FIXTURES, 'idle.js');
const ECHO = path.join(FIXTURES, 'echo.js');

/** Every event since, as `[name, payload]`. */
async function record(pattern = '*') {
  // Compat: pm2's launchBus calls back only when a daemon is there.
  await box.call('connect');
  const bus = await box.call('launchBus');
  const events = [];
  bus.on(pattern, (...args) => events.push(args));
  return events;
}

const names = (events) => events.filter(([name]) => name === 'process:event').map(([, packet]) => packet.event);
const found = (events, name, isMeant = () => true) => until(() => events.find((each) => each[0] === name && isMeant(each[1])), name);

test('the message example of the documents', async () => {
  await box.call('start', { script: ECHO });
  const bus = await box.call('launchBus');
  const answered = new Promise((resolve) => bus.on('process:msg', resolve));
  const packet = { type: 'process:msg', data: { some: 'data', hello: true }, topic: 'my topic', id: 0 };
  expect(await box.call('sendDataToProcessId', packet)).toEqual({ success: true, data: packet });
  const { data, process: from, at } = await answered;
  expect(data).toEqual({ success: true, got: packet });
  expect(from).toMatchObject({ pm_id: 0, name: 'echo', namespace: 'default' });
  expect(at).toEqual(expect.any(Number));
});

test('sendDataToProcessId(id, packet)', async () => {
  await box.call('start', { script: ECHO });
  const events = await record('process:msg');
  await box.call('sendDataToProcessId', 0, { type: 'process:msg', data: { n: 1 }, topic: true });
  await until(() => events.length === 1);
  expect(events[0][0].data.got).toEqual({ type: 'process:msg', data: { n: 1 }, topic: true, id: 0 });
});

// Protects: the documents' own example, which pm2 7.0.4 refuses.
testOurs('a packet without a topic is about its type', async () => {
  await box.call('start', { script: ECHO });
  const events = await record('process:msg');
  const packet = { type: 'process:msg', data: { some: 'data', hello: true }, id: 0 };
  await box.call('sendDataToProcessId', packet);
  await until(() => events.length === 1);
  expect(events[0][0].data.got).toEqual({ ...packet, topic: 'process:msg' });
  expect(packet).not.toHaveProperty('topic');
});

test('launchBus gives the bus and its socket', async () => {
  await box.call('connect');
  const args = await new Promise((resolve) => box.pm2.launchBus((...all) => resolve(all)));
  expect([args.length, args[0], typeof args[1].on, typeof args[1].off, typeof args[2].close]).toEqual([
    3,
    null,
    'function',
    'function',
    'function',
  ]);
});

test('nothing is lost between launchBus and a start in its callback', async () => {
  const events = [];
  await new Promise((resolve, reject) => {
    box.pm2.connect(() => {
      box.pm2.launchBus((error, bus) => {
        if (error) reject(error);
        bus.on('*', (name, packet) => events.push([name, packet]));
        box.pm2.start({ script: IDLE }, resolve);
      });
    });
  });
  await until(() => names(events).length === 2);
  expect(names(events)).toEqual(['online', 'start']);
});

test("a start, a restart and a stop have pm2's events", async () => {
  await box.call('connect');
  const events = await record();
  await box.call('start', { script: IDLE });
  await found(events, 'process:event', (packet) => packet.event === 'start');
  await box.call('restart', 'idle');
  await found(events, 'process:event', (packet) => packet.event === 'restart');
  await box.call('stop', 'idle');
  await found(events, 'process:event', (packet) => packet.event === 'stop');
  expect(names(events)).toEqual(['online', 'start', 'exit', 'exit', 'online', 'restart', 'exit', 'exit', 'stop']);
  const [, packet] = events.find(([name]) => name === 'process:event');
  expect(packet).toMatchObject({ manually: false, at: expect.any(Number), process: { name: 'idle', pm_id: 0 } });
  expect(packet.process.env).toBe(undefined);
});

testOurs('launchBus connects by itself', async () => {
  const bus = await box.call('launchBus');
  expect(typeof bus.on).toBe('function');
});

testOurs('delete has an event', async () => {
  await box.call('start', { script: IDLE });
  const events = await record();
  await box.call('delete', 'idle');
  await found(events, 'process:event', (packet) => packet.event === 'delete');
});

test('what an app prints is on the bus', async () => {
  const events = await record();
  await box.call('start', { script: box.write('say.js', 'console.log("out"); console.error("err"); setInterval(() => {}, 1000)') });
  const [, out] = await found(events, 'log:out');
  const [, err] = await found(events, 'log:err');
  expect([out.data, err.data]).toEqual(['out\n', 'err\n']);
  expect(out.process).toMatchObject({ pm_id: 0, name: 'say', namespace: 'default' });
  await found(events, 'log:PM2');
});

test('a star stands for something, and its value comes first', async () => {
  await box.call('connect');
  const bus = await box.call('launchBus');
  const seen = [];
  bus.on('log:*', (type, packet) => seen.push([type, packet.data]));
  bus.on('nothing*', () => seen.push('never'));
  await box.call('start', { script: box.write('say.js', 'console.log("hello"); setInterval(() => {}, 1000)') });
  await until(() => seen.some(([type, data]) => type === 'out' && data === 'hello\n'));
  expect(seen).not.toContain('never');
});

test('off ends a pattern', async () => {
  await box.call('start', { script: ECHO });
  const bus = await box.call('launchBus');
  let first = 0;
  let second = 0;
  bus.on('process:msg', () => {
    first += 1;
  });
  const send = () => box.call('sendDataToProcessId', 0, { data: 1, topic: true });
  await send();
  await until(() => first === 1);
  bus.off('process:msg');
  bus.on('process:*', () => {
    second += 1;
  });
  await send();
  await until(() => second === 1);
  expect(first).toBe(1);
});

testOurs('once hears one event, and off can name one listener', async () => {
  await box.call('start', { script: ECHO });
  const bus = await box.call('launchBus');
  const seen = [];
  const gone = () => seen.push('gone');
  bus
    .once('process:msg', () => seen.push('once'))
    .on('process:msg', gone)
    .on('process:msg', () => seen.push('on'))
    .off('process:msg', gone);
  for (let i = 0; i < 2; i++) await box.call('sendDataToProcessId', 0, { data: 1, topic: true });
  await until(() => seen.filter((each) => each === 'on').length === 2);
  expect(seen).toEqual(['once', 'on', 'on']);
});

test('an open bus keeps a script alive, disconnect ends both', async () => {
  const { code, stdout } = await box.run(`
    const pm2 = require(process.env.PM2_UNDER_TEST);
    pm2.connect(() => pm2.launchBus(() => setTimeout(() => { console.log('alive'); pm2.disconnect(); }, 400).unref()));`);
  expect([code, stdout]).toEqual([0, 'alive\n']);
});

testOurs('a closed bus lets a script end', async () => {
  const { code } = await box.run(`
    const pm2 = require(process.env.PM2_UNDER_TEST);
    pm2.launchBus((error, bus) => { bus.close(); pm2.disconnect(); });`);
  expect(code).toBe(0);
});

testOurs('a listener that throws is an uncaught exception, and others hear the event', async () => {
  const { stdout } = await box.run(`
    const pm2 = require(process.env.PM2_UNDER_TEST);
    process.on('uncaughtException', (error) => console.log(error.message));
    pm2.launchBus((error, bus) => {
      bus.on('process:event', () => { throw new Error('mine'); });
      bus.once('process:event', () => { console.log('other'); pm2.disconnect(); });
      pm2.start({ script: ${JSON.stringify(IDLE)} }, () => {});
    });`);
  expect(stdout).toBe('other\nmine\n');
});

test('messages of an app: typed, raw, and any JSON', async () => {
  const events = await record();
  const script = box.write(
    'talk.js',
    `
    for (const message of [{ type: 'my:event', data: { a: 1 } }, 'text', { type: 'no data' }, [1], 7]) process.send(message);
    setInterval(() => {}, 1000);`,
  );
  await box.call('start', { script });
  const [, typed] = await found(events, 'my:event');
  expect(typed).toMatchObject({ data: { a: 1 }, process: { pm_id: 0, name: 'talk', namespace: 'default' } });
  const raw = () => events.filter(([name]) => name === 'process:msg').map(([, packet]) => packet.raw);
  await until(() => raw().length === 4);
  expect(raw()).toEqual(['text', { type: 'no data' }, [1], 7]);
});

test('sendLineToStdin', async () => {
  await box.call('start', { script: ECHO });
  await until(() => box.log('echo-out.log').includes('up'));
  expect(await box.call('sendLineToStdin', 0, 'hello')).toEqual({ pm_id: 0, line: 'hello\n' });
  await until(() => box.log('echo-out.log').includes('line: hello'));
  expect(await box.call('sendLineToStdin', 0, 'more', ';')).toEqual({ pm_id: 0, line: 'more;' });
});

test('actions: an app registers one, msgProcess and trigger reach it', async () => {
  const script = box.write(
    'act.js',
    `
    process.send({ type: 'axm:action', data: { action_name: 'double', action_type: 'custom', arity: 2 } });
    process.on('message', (message) => {
      const isCalled = message === 'double' || message.msg === 'double';
      if (isCalled) process.send({ type: 'axm:reply', data: { at: 1, action_name: 'double', return: message.opts ? message.opts * 2 : 'none' } });
    });`,
  );
  await box.call('start', { script });
  await until(async () => (await box.call('list'))[0].pm2_env.axm_actions.some((each) => each.action_name === 'double'));
  const replies = await box.call('trigger', 'act', 'double', 21);
  expect(replies).toMatchObject([{ data: { action_name: 'double', return: 42 }, process: { pm_id: 0, name: 'act' } }]);
  expect(await box.call('msgProcess', { id: 0, msg: 'double' })).toEqual({ process_count: 1, success: true });
});

test('what cannot be sent is said', async () => {
  await box.call('start', { script: ECHO });
  const send = (packet) => failure(box.call('sendDataToProcessId', packet));
  expect((await send({ id: 0, topic: true })).message).toBe('ID, DATA or TOPIC field is missing');
  expect((await send({ id: 9, data: 1, topic: true })).message).toBe('Process with ID <9> unknown.');
  expect((await failure(box.call('sendLineToStdin', 9, 'x'))).message).toBe('Process with ID <9> unknown.');
  expect((await failure(box.call('sendSignalToProcessId', 'SIGUSR2', 9))).message).toBe('9 id unknown');
  await box.call('stop', 'echo');
  expect((await send({ id: 0, data: 1, topic: true })).message).toBe('Process with ID <0> offline.');
});

test('two buses hear the same', async () => {
  const first = await record();
  const other = box.instance();
  const second = [];
  (await call(other, 'launchBus')).on('*', (...args) => second.push(args));
  await box.call('start', { script: IDLE });
  await until(() => names(first).length === 2 && names(second).length === 2);
});

testOurs('a bus hears the next daemon after this one is gone', async () => {
  await box.call('connect');
  const events = await record();
  await call(box.instance(), 'kill');
  await call(box.instance(), 'start', { script: IDLE });
  await until(async () => {
    await call(box.instance(), 'restart', 'idle');
    return names(events).includes('restart');
  });
});
