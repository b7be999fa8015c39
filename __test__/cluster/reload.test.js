'use strict';

const fs = require('node:fs');
const path = require('node:path');
const { sandbox, until, failure, isAlive, daemonPid } = require('../api/helper.js');
const { SERVER, APPS, RELOADS, freePort, ask, served } = require('./helper.js');
const { Load } = require('./load.js');

const box = sandbox();

/** Starts the app of this text in cluster mode; gives its port once it is served. */
async function start(text, options) {
  const port = await freePort();
  await box.start({ script: box.write('app.js', text), name: 'app', instances: 2, env: { PORT: port }, ...options });
  if (text.includes('PORT')) await served(port);
  return port;
}

const list = async () => (await box.call('list')).map((each) => [each.pm_id, each.pm2_env.status, each.pm2_env.restart_time]);
const pids = async () => (await box.call('list')).map((each) => each.pid);

describe('no request is lost in a reload of an app', () => {
  const kinds = Object.keys(APPS).flatMap((app) => [
    [app, false],
    [app, true],
  ]);
  test.each(kinds)('that is %s, keep-alive %s', async (app, keepAlive) => {
    const port = await start(APPS[app], { wait_ready: app === 'ready' });
    const before = await pids();
    const load = new Load(port, { keepAlive });
    await load.more(100);
    for (let i = 0; i < RELOADS; i += 1) await box.call('reload', 'app');
    await load.stop();
    expect(load.lost).toEqual([]);
    expect(await list()).toEqual([
      [0, 'online', RELOADS],
      [1, 'online', RELOADS],
    ]);
    for (const pid of before) expect(isAlive(pid)).toBe(false);
  });

  test.each(['rr', 'none'])("with Node's own scheduling %s", async (policy) => {
    const port = await freePort();
    const script = box.write('app.js', APPS.plain);
    await box.start({ script, name: 'app', instances: 2, env: { PORT: port, NODE_CLUSTER_SCHED_POLICY: policy } });
    await served(port);
    const load = new Load(port);
    await load.more(100);
    for (let i = 0; i < 2; i += 1) await box.call('reload', 'app');
    await load.stop();
    expect(load.lost).toEqual([]);
  });

  test('that is scaled up and down', async () => {
    const port = await start(APPS.plain);
    const load = new Load(port, { keepAlive: true });
    await load.more(100);
    await box.call('scale', 'app', 4);
    await box.call('scale', 'app', 1);
    await load.stop();
    expect(load.lost).toEqual([]);
  });
});

test('the answer describes the old workers, and the pid files name the new ones', async () => {
  await start(APPS.plain);
  const answer = await box.call('reload', 'app');
  expect(answer.map((each) => [each.pm_id, each.status])).toEqual([
    ['_old_0', 'stopped'],
    ['_old_1', 'stopped'],
  ]);
  const files = [0, 1].map((id) => Number(fs.readFileSync(path.join(box.home, 'pids', `app-${id}.pid`), 'utf8')));
  expect(files).toEqual(await pids());
});

test('gracefulReload tells the old worker `shutdown` first', async () => {
  await start(`process.on('message', (m) => console.log('told', m));${APPS.plain}`, { instances: 1 });
  await box.call('gracefulReload', 'app');
  expect(box.log('app-out-0.log')).toBe('told shutdown\n');
  expect(await list()).toEqual([[0, 'online', 1]]);
});

describe('the old one stays and serves when the new one', () => {
  async function fails(text, options) {
    const port = await start(APPS.plain, { instances: 1, ...options });
    const before = await pids();
    box.write('app.js', text);
    const load = new Load(port, { clients: 8, keepAlive: true });
    await load.more(10);
    const error = await failure(box.call('reload', 'app'));
    const [problem] = [error].flat();
    await load.more(10);
    await load.stop();
    expect(load.lost).toEqual([]);
    expect(await pids()).toEqual(before);
    expect(await list()).toEqual([[0, 'online', 0]]);
    expect(await ask(port)).toBe(String(before[0]));
    // And the next attempt is as good as the first.
    box.write('app.js', APPS.plain);
    await box.call('reload', 'app');
    expect(await pids()).not.toEqual(before);
    return problem.message;
  }

  test('crashes at start; its last words are told', async () => {
    const message = await fails('console.error("one"); throw new Error("broken release");');
    expect(message).toMatch(
      /reload of app \(id 0\) failed: the new process ended with code 1 before it was ready; the old process goes on/,
    );
    expect(message).toMatch(/one\n[\s\S]*Error: broken release/);
  });

  test('does not listen any more', async () => {
    expect(await fails('setInterval(() => {}, 1000)', { listen_timeout: 5000 })).toMatch(/the new process did not listen in time/);
  });

  test('does not say ready', async () => {
    const silent = `${SERVER} server.listen(process.env.PORT);`;
    const port = await start(APPS.ready, { instances: 1, wait_ready: true, listen_timeout: 700 });
    const before = await pids();
    box.write('app.js', silent);
    const [problem] = [await failure(box.call('reload', 'app'))].flat();
    expect(problem.message).toMatch(/did not say "ready" in time/);
    expect(await pids()).toEqual(before);
    expect(await ask(port)).toBe(String(before[0]));
  });
});

test('one that needs longer to listen than pm2 waits succeeds', async () => {
  const port = await start(APPS.plain, { instances: 1 });
  const [before] = await pids();
  box.write('app.js', `${SERVER} setTimeout(() => server.listen(process.env.PORT), 4000);`);
  await box.call('reload', 'app');
  expect(await ask(port)).toBe(String((await pids())[0]));
  expect(isAlive(before)).toBe(false);
});

test('an app without a server is replaced too', async () => {
  await start('setInterval(() => {}, 1000)', { listen_timeout: 300 });
  const before = await pids();
  await box.call('reload', 'app');
  expect(await list()).toEqual([
    [0, 'online', 1],
    [1, 'online', 1],
  ]);
  for (const pid of before) expect(isAlive(pid)).toBe(false);
});

test('stop, restart and delete win over a reload that is under way', async () => {
  const port = await start(APPS.plain, { instances: 1 });
  box.write('app.js', `${SERVER} setTimeout(() => server.listen(process.env.PORT), 1e6);`);
  const reload = failure(box.call('reload', 'app'));
  await until(() => box.read(path.join(box.home, 'pm2.log')).split('starting in -cluster mode-').length === 3);
  await box.call('stop', 'app');
  const [problem] = [await reload].flat();
  expect(problem.message).toMatch(/it was stopped, restarted or deleted meanwhile/);
  expect((await list())[0].slice(0, 2)).toEqual([0, 'stopped']);
  expect((await failure(ask(port))).code).toBe('ECONNREFUSED');
});

test(
  'nothing is left behind by many reloads',
  async () => {
    const port = await start(APPS.plain, { instances: 1 });
    const both = managers();
    const descriptors = () => both.map((pid) => fs.readdirSync(`/proc/${pid}/fd`).length);
    for (let i = 0; i < 10; i += 1) await box.call('reload', 'app');
    const [held, used] = [descriptors(), privateMemory(both)];
    for (let i = 0; i < 10 * RELOADS; i += 1) await Promise.all([box.call('reload', 'app'), ask(port), ask(port)]);
    await until(() => descriptors().every((count, i) => count <= held[i]), `no more descriptors than ${held}`);
    // What was freed just now is given back a moment later.
    await until(() => privateMemory(both) < used + MEMORY_SLACK, `no more memory than ${used}`);
  },
  RELOADS * 20_000,
);

/** What an allocator may keep for itself, in bytes. Two hundred reloads that leaked a record each would leave ten times that. */
const MEMORY_SLACK = 256 * 1024;

/** The keeper and its daemon. */
function managers() {
  const keeper = Number(fs.readFileSync(path.join(box.home, 'pm2.pid'), 'utf8'));
  return [keeper, daemonPid(box.home)];
}

/** Bytes that only these processes use. */
function privateMemory(pids) {
  const texts = pids.map((pid) => fs.readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'));
  const sizes = texts.flatMap((text) => [...text.matchAll(/^Private_(?:Clean|Dirty): +(\d+) kB/gm)]);
  return sizes.reduce((sum, [, size]) => sum + Number(size) * 1024, 0);
}
