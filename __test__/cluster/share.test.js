'use strict';

const dgram = require('node:dgram');
const net = require('node:net');
const path = require('node:path');
const { sandbox, until, failure, isAlive } = require('../api/helper.js');
const { SERVER, APPS, freePort, ask, asks, served, shares } = require('./helper.js');
const { Load } = require('./load.js');

const box = sandbox();

const pids = async () => (await box.call('list')).map((each) => each.pid).sort();

/** Starts an app in cluster mode; its script is this text. */
async function start(text, { port, env, ...options } = {}) {
  const script = box.write(`${options.name ?? 'app'}.js`, text);
  return box.start({ script, name: 'app', instances: 2, env: { PORT: port ?? (await freePort()), ...env }, ...options });
}

describe('a port', () => {
  test('is shared evenly by the workers, each of which knows that it is one', async () => {
    const port = await freePort();
    await start(
      `const cluster = require('cluster'); console.log(JSON.stringify([cluster.isWorker, cluster.isPrimary, process.argv[1],
      require.main === module, process.env.NODE_APP_INSTANCE, process.env.NODE_UNIQUE_ID === undefined, process.execArgv]));${APPS.plain}`,
      { port },
    );
    await served(port, 2);
    const counts = await shares(port, 200);
    expect([...counts.keys()].sort()).toEqual(await pids());
    for (const count of counts.values()) expect(count).toBeGreaterThan(60);
    const said = [0, 1].map((id) => JSON.parse(box.log(`app-out-${id}.log`)));
    expect(said).toEqual(['0', '1'].map((instance) => [true, false, path.join(box.folder, 'app.js'), true, instance, true, []]));
  });

  test.each(['rr', 'none'])("is shared in Node's own way %s", async (policy) => {
    const port = await freePort();
    await start(APPS.plain, { port, env: { NODE_CLUSTER_SCHED_POLICY: policy } });
    await served(port, 2);
    const counts = await shares(port, 60);
    expect([...counts.keys()].sort()).toEqual(await pids());
    // A round of its own for each worker; one connection more whenever one was slow to say that it took its last.
    if (policy === 'rr') for (const count of counts.values()) expect(Math.abs(count - 30)).toBeLessThan(15);
  });

  test('that nobody chose is the same for all', async () => {
    await start(`${SERVER} server.listen(0, () => console.log(server.address().port));`);
    const ports = await until(() => {
      const found = [0, 1].map((id) => Number(box.log(`app-out-${id}.log`)));
      return found.every(Boolean) && found;
    });
    expect(ports[0]).toBe(ports[1]);
    expect([...(await shares(ports[0], 60)).keys()].sort()).toEqual(await pids());
  });

  test('of another program is EADDRINUSE, as in plain Node, also when that one shares', async () => {
    const other = net.createServer();
    await new Promise((resolve) => other.listen(0, resolve));
    const { port } = other.address();
    await start(`${SERVER} server.on('error', (e) => console.log(e.code, e.syscall, e.port)); server.listen(process.env.PORT);`, {
      port,
      instances: 1,
    });
    await until(() => box.log('app-out-0.log') !== '');
    other.close();
    expect(box.log('app-out-0.log')).toBe(`EADDRINUSE bind ${port}\n`);
  });

  test('of another app is EADDRINUSE too, and free when that one is stopped', async () => {
    const port = await freePort();
    await start(APPS.plain, { port });
    await served(port);
    const second = `${SERVER} server.on('error', (e) => { console.log(e.code); setTimeout(() => server.listen(process.env.PORT), 50); });
      server.listen(process.env.PORT, () => console.log('there'));`;
    await start(second, { port, name: 'second', instances: 1 });
    await until(() => box.log('second-out-2.log').startsWith('EADDRINUSE'));
    await box.call('stop', 'app');
    await until(() => box.log('second-out-2.log').endsWith('there\n'));
    const [{ pid }] = await box.call('describe', 'second');
    expect(await ask(port)).toBe(String(pid));
  });

  test("that is exclusive is the first worker's alone", async () => {
    const port = await freePort();
    await start(
      `${SERVER} server.on('error', (e) => console.log(e.code)); server.listen({ port: process.env.PORT, exclusive: true }, () => console.log('there'));`,
      { port },
    );
    await until(() => box.log('app-out-0.log') !== '' && box.log('app-out-1.log') !== '');
    // Whichever of them is first.
    expect([0, 1].map((id) => box.log(`app-out-${id}.log`)).sort()).toEqual(['EADDRINUSE\n', 'there\n']);
  });

  test('asked for twice by one worker is in use the second time', async () => {
    const port = await freePort();
    await start(
      `${SERVER} server.listen(process.env.PORT, () => http.createServer().on('error', (e) => console.log(e.code)).listen(process.env.PORT));`,
      { port, instances: 1 },
    );
    await until(() => box.log('app-out-0.log') !== '');
    expect(box.log('app-out-0.log')).toBe('EADDRINUSE\n');
    await served(port);
  });

  test('is closed with its app', async () => {
    const port = await freePort();
    await start(APPS.plain, { port });
    await served(port);
    await ask(port);
    await box.call('delete', 'app');
    expect((await failure(ask(port))).code).toBe('ECONNREFUSED');
  });
});

test('a Unix socket is shared, has the asked mode, and goes with its app', async () => {
  const socket = path.join(box.folder, 'web.sock');
  await start(`${SERVER} server.listen({ path: '${socket}', readableAll: true, writableAll: true });`);
  await until(() => ask(socket).catch(() => null));
  expect(require('node:fs').statSync(socket).mode & 0o666).toBe(0o666);
  const answered = Number(await ask(socket));
  expect(await pids()).toContain(answered);
  await box.call('delete', 'app');
  expect(require('node:fs').existsSync(socket)).toBe(false);
});

test('a UDP port is shared', async () => {
  const port = await freePort();
  await start(
    `const socket = require('dgram').createSocket('udp4');
    socket.on('message', (message, from) => socket.send(String(process.pid), from.port)).bind(process.env.PORT, '127.0.0.1');`,
    { port },
  );
  const socket = dgram.createSocket('udp4');
  const answer = new Promise((resolve) => socket.once('message', (text) => resolve(Number(text))));
  // Datagrams get lost where nobody listens yet.
  const asking = setInterval(() => socket.send('hello', port, '127.0.0.1'), 20);
  const pid = await answer;
  clearInterval(asking);
  socket.close();
  expect(await pids()).toContain(pid);
});

describe('workers', () => {
  test('that are all killed under load are followed by others, who answer all who came meanwhile', async () => {
    const port = await freePort();
    await start(APPS.plain, { port, restart_delay: 500 });
    await served(port);
    const before = await pids();
    const load = new Load(port);
    await load.more(100);
    for (const pid of before) process.kill(pid, 'SIGKILL');
    await until(() => !before.some(isAlive));
    const meanwhile = await asks(port, 40, 40);
    expect(before.map(String)).not.toEqual(expect.arrayContaining(meanwhile));
    const [after, lost] = [load.answers, load.lost.length];
    await until(() => load.answers > after + 200);
    await load.stop();
    // What a worker had accepted died with it: one request of each client at most. Nobody was refused, and nobody waits for ever.
    expect(load.lost.length).toBeLessThanOrEqual(64);
    for (const how of load.lost) expect(how).toMatch(/^(ECONNRESET|CLOSED)$/);
    expect(load.lost.length).toBe(lost);
    await served(port, 2);
    expect([...(await shares(port, 80)).keys()].sort()).toEqual(await pids());
  });

  test('that are restarted under load refuse nobody', async () => {
    const port = await freePort();
    await start(APPS.plain, { port });
    await served(port);
    const load = new Load(port);
    await load.more(100);
    const before = await pids();
    await box.call('restart', 'app');
    const meanwhile = await asks(port, 40, 40);
    await load.stop();
    // A request in the hands of a worker that has no SIGINT listener ends with it, as with every restart.
    for (const how of load.lost) expect(how).toMatch(/^(ECONNRESET|CLOSED)$/);
    expect(before.map(String)).not.toEqual(expect.arrayContaining(meanwhile));
  });

  test('are reported with the codes and exceptions they ended with', async () => {
    const events = [];
    const bus = await box.pm2.launchBus();
    bus.on('process:exception', ({ process, data }) => events.push(['exception', process.name, data.message]));
    bus.on('process:event', ({ event, process }) => event === 'exit' && events.push(['exit', process.name, process.exit_code]));
    await start('throw new Error("broken")', { name: 'thrower', instances: 1, autorestart: false, exec_mode: 'cluster' });
    await until(async () => (await box.status('thrower'))[0] === 'stopped');
    await start('process.exit(7)', { name: 'leaver', instances: 1, autorestart: false, exec_mode: 'cluster' });
    await until(async () => (await box.status('leaver'))[0] === 'stopped');
    expect((await box.call('list')).map((each) => each.pm2_env.exit_code)).toEqual([1, 7]);
    await until(() => events.length === 3);
    bus.close();
    expect(events).toEqual([
      ['exception', 'thrower', 'broken'],
      ['exit', 'thrower', 1],
      ['exit', 'leaver', 7],
    ]);
  });

  test('each get their fair share of connections', async () => {
    const port = await freePort();
    await start(APPS.plain, { port, instances: 4 });
    await served(port, 4);
    const counts = await shares(port, 2000, 16);
    // On a machine that has other things to do, one that is not let run for a while is given less.
    for (const count of counts.values()) expect(count).toBeGreaterThan((2000 / 4) * 0.5);
  });

  // It is busy for longer than a test may take: whoever waited for it would wait in vain.
  test('one that is stuck keeps nobody else waiting', async () => {
    const port = await freePort();
    await start(APPS.plain, { port, instances: 4, merge_logs: true });
    await served(port, 4);
    const blocked = failure(ask(port, '/?block=600000', { patience: 0 }));
    const [, busy] = await until(() => /^busy (\d+)$/m.exec(box.log('app-out.log')));
    const answers = await asks(port, 400, 16);
    expect(new Set(answers)).toEqual(new Set((await pids()).map(String).filter((pid) => pid !== busy)));
    process.kill(Number(busy), 'SIGKILL');
    expect((await blocked).code).toBe('ECONNRESET');
  });

  test('more or fewer serve the same port, and numbers of instances are used again', async () => {
    const port = await freePort();
    await start(APPS.plain, { port });
    await served(port);
    await box.call('scale', 'app', 4);
    const instances = async () => (await box.call('list')).map((each) => each.pm2_env.NODE_APP_INSTANCE).sort();
    expect(await instances()).toEqual([0, 1, 2, 3]);
    await served(port, 4);
    await box.call('scale', 'app', 2);
    expect(await instances()).toEqual([2, 3]);
    expect([...(await shares(port, 80)).keys()].sort()).toEqual(await pids());
    await box.call('scale', 'app', 3);
    expect(await instances()).toEqual([0, 2, 3]);
  });

  test("have a record like pm2's", async () => {
    const [first] = await box.call('start', { script: box.write('a.js', APPS.plain), instances: 2, env: { PORT: await freePort() } });
    expect(Object.keys(first)).toEqual(['state', 'id', 'process', 'pm2_env']);
    expect(first.process).toMatchObject({ pid: expect.any(Number), connected: true });
    expect(first.pm2_env).toMatchObject({
      exec_mode: 'cluster_mode',
      status: 'online',
      instances: 2,
      NODE_APP_INSTANCE: 0,
      _pm2_version: '7.0.4',
    });
  });
});
