'use strict';

/*
 * A daemon that is killed or replaced under its callers. The same for many kills in a row is in `__test__/daemon/recovery.rs`.
 */

const path = require('node:path');
const { sandbox, call, until, daemonPid, isAlive, testOurs, FIXTURES } = require('./helper.js');

const box = sandbox();
const ECHO = path.join(FIXTURES, 'echo.js');
const IDLE = path.join(FIXTURES, 'idle.js');

async function killDaemon() {
  const pid = daemonPid(box.home);
  process.kill(pid, 'SIGKILL');
  await until(() => !isAlive(pid), 'its end');
}

testOurs('a caller goes on after the daemon was killed, with the same object and the same bus', async () => {
  const [{ pid }] = await box.call('start', { script: ECHO }).then(() => box.call('list'));
  const bus = await box.call('launchBus');
  const answers = [];
  bus.on('process:msg', (packet) => answers.push(packet.data.got.data.n));
  for (let n = 0; n < 5; n++) {
    await killDaemon();
    const packet = { type: 'process:msg', data: { n }, topic: true };
    // The bus may still be on its way back when the first answer is published.
    await until(async () => {
      await box.call('sendDataToProcessId', 0, packet);
      return answers.includes(n);
    }, 'an answer on the bus');
  }
  const [app] = await box.call('list');
  expect([app.pid, app.pm2_env.restart_time, app.pm2_env.status]).toEqual([pid, 0, 'online']);
});

testOurs('the socket of a bus says when the daemon has gone, when there is one again, and its own end', async () => {
  const [bus, sock] = await new Promise((resolve) => box.pm2.launchBus((_error, ...both) => resolve(both)));
  expect(bus.sock).toBe(sock);
  const said = [];
  for (const event of ['reconnect attempt', 'connect', 'close']) sock.on(event, () => said.push(event));
  const other = box.instance();
  await call(other, 'killDaemon');
  await until(() => said.includes('reconnect attempt'), 'the first attempt');
  await call(other, 'connect');
  await until(() => said.includes('connect'), 'another daemon');
  expect([...new Set(said)]).toEqual(['reconnect attempt', 'connect']);
  sock.close();
  await until(() => said.includes('close'), 'the end');
  await box.call('disconnect');
  expect(said.filter((event) => event === 'close')).toHaveLength(1);
});

testOurs('a call in flight fails with an error that says what to do', async () => {
  // Answered when the app says that it is ready, which it never does.
  const outcome = box.call('start', IDLE, { waitReady: true, listenTimeout: 3_600_000 }).catch((error) => error);
  const other = box.instance();
  await until(async () => (await call(other, 'list')).length === 1, 'the call to be under way');
  await killDaemon();
  const error = await outcome;
  expect([error.code, error.message]).toEqual(['ECONNRESET', expect.stringContaining('try again')]);
  expect(await box.call('list')).toHaveLength(1);
});

testOurs('update keeps every process, and takes over the environment of the caller', async () => {
  await box.call('start', { script: ECHO });
  const [{ pid }] = await box.call('list');
  const before = daemonPid(box.home);
  expect(await box.call('update')).toEqual({ success: true });
  await until(() => ![before, null].includes(daemonPid(box.home)), 'another daemon');
  const [app] = await box.call('list');
  expect([app.pid, app.pm2_env.restart_time]).toEqual([pid, 0]);
  expect(await box.call('updatePM2')).toEqual({ success: true });
});
