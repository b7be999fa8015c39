'use strict';

const path = require('node:path');
const { sandbox, call, failure, until, isAlive, isReference, testOurs, FIXTURES } = require('./helper.js');

const box = sandbox();
const IDLE = path.join(FIXTURES, 'idle.js');
const ARGS = path.join(FIXTURES, 'args.js');

const startAll = (...names) => box.start(names.map((name) => ({ name, script: IDLE })));

/** The lines that an app has printed, once there are so many. */
const linesOf = (name, count) =>
  until(() => {
    const lines = box.log(`${name}-out.log`).split('\n').slice(0, -1);
    return lines.length === count && lines;
  }, `${count} lines of ${name}`);

const pids = async () => (await box.call('list')).map((each) => each.pid);

describe('list and describe', () => {
  test("an element has exactly pm2's members, in ascending order of id", async () => {
    const list = await startAll('a', 'b');
    expect(list.map((each) => Object.keys(each))).toEqual([
      ['pid', 'name', 'pm2_env', 'pm_id', 'monit'],
      ['pid', 'name', 'pm2_env', 'pm_id', 'monit'],
    ]);
    expect(list.map((each) => each.pm_id)).toEqual([0, 1]);
    expect(list[0].monit).toEqual({ memory: expect.any(Number), cpu: expect.any(Number) });
  });

  // Protects: what comes in pieces and is parsed in pieces.
  test('a list that is longer than a socket holds is whole and in order, one beside the other', async () => {
    const LONG = `"ü\\},{"pid":[{ ${'x'.repeat(6000)}`;
    const sleepers = Array.from({ length: 40 }, (_, id) => ({
      name: `${id}`,
      script: 'sleep',
      args: '100',
      interpreter: 'none',
      env: { LONG },
    }));
    await box.start(sleepers);
    const check = (list) => expect(list.map((each) => [each.name, each.pm2_env.LONG])).toEqual(sleepers.map(({ name }) => [name, LONG]));
    check(await box.call('list'));
    for (const list of await Promise.all([box.call('list'), box.call('list')])) check(list);
  });

  test('objects within an element that begin as elements do stay where they are', async () => {
    const notes = "Array.from({ length: 1800 }, (_, pid) => ({ pid, text: '},{' }))";
    const telling = `process.send({ type: 'axm:option:configuration', data: { notes: ${notes} } }); setInterval(() => {}, 1000);`;
    await box.start([
      { name: 'telling', script: box.write('telling.js', telling) },
      { name: 'last', script: IDLE, env: { LONG: 'x'.repeat(100_000) } },
    ]);
    const list = await until(async () => {
      const all = await box.call('list');
      return all[0].pm2_env.axm_options.notes && all;
    }, 'the notes');
    expect(list.map((each) => each.name)).toEqual(['telling', 'last']);
    expect(list[0].pm2_env.axm_options.notes.map((note) => note.pid)).toEqual([...Array(1800).keys()]);
  });

  test('the members that callers read are there', async () => {
    const [{ pm2_env: record }] = await startAll('a');
    expect(record).toMatchObject({
      name: 'a',
      namespace: 'default',
      status: 'online',
      exec_mode: 'fork_mode',
      instances: 1,
      restart_time: 0,
      unstable_restarts: 0,
      pm_exec_path: IDLE,
      node_args: [],
      axm_actions: expect.any(Array),
      axm_monitor: expect.any(Object),
      axm_options: expect.any(Object),
      created_at: expect.any(Number),
      pm_uptime: expect.any(Number),
      autorestart: true,
      vizion: true,
      env: expect.any(Object),
      pm_out_log_path: path.join(box.home, 'logs', 'a-out.log'),
      pm_err_log_path: path.join(box.home, 'logs', 'a-error.log'),
      pm_pid_path: path.join(box.home, 'pids', 'a-0.pid'),
      unique_id: expect.stringMatching(/^[0-9a-f-]{36}$/),
      username: expect.any(String),
    });
  });

  test('describe finds by name and by id, and nothing is an empty list', async () => {
    await startAll('a', 'b');
    expect((await box.call('describe', 'b')).map((each) => each.pm_id)).toEqual([1]);
    expect((await box.call('describe', 0)).map((each) => each.name)).toEqual(['a']);
    expect((await box.call('describe', '1')).map((each) => each.name)).toEqual(['b']);
    expect(await box.call('describe', 'none')).toEqual([]);
    expect(await box.call('describe', 99)).toEqual([]);
  });

  test('getPID and getProcessIdByName', async () => {
    const list = await startAll('a', 'b');
    expect(await box.call('getPID', 'b')).toEqual([list[1].pid]);
    expect(await box.call('getPID')).toEqual(list.map((each) => each.pid));
    expect(await box.call('getPID', 'none')).toEqual([]);
    if (!isReference) {
      expect(await box.call('getProcessIdByName', 'b')).toEqual([1]);
      expect(await box.call('getProcessIdByName', 'none')).toEqual([]);
    }
  });
});

describe('restart', () => {
  test('gives trimmed processes, another pid and one more restart', async () => {
    const [before] = await startAll('a');
    const [value] = await box.call('restart', 'a');
    expect(Object.keys(value)).toEqual(['name', 'namespace', 'pm_id', 'status', 'restart_time', 'pm2_env']);
    expect(Object.keys(value.pm2_env)).toEqual(['name', 'namespace', 'pm_id', 'status', 'restart_time', 'env']);
    expect(value).toMatchObject({ name: 'a', pm_id: 0, restart_time: 1, status: 'online' });
    const [after] = await box.call('list');
    expect(after.pid).not.toBe(before.pid);
    await until(() => !isAlive(before.pid));
  });

  test('starts what is stopped, without counting', async () => {
    await startAll('a');
    await box.call('stop', 'a');
    await box.call('restart', 'a');
    const [app] = await box.call('list');
    expect([app.pm2_env.status, app.pm2_env.restart_time]).toEqual(['online', 0]);
  });

  test('targets: name, id, numeric text, all, regex, namespace, script', async () => {
    await box.start([
      { name: 'api-1', script: IDLE },
      { name: 'api-2', script: IDLE, namespace: 'ns' },
      { name: 'job', script: ARGS, namespace: 'ns' },
    ]);
    const touched = async (target) => (await box.call('restart', target)).map((each) => each.name).sort();
    expect(await touched('api-1')).toEqual(['api-1']);
    expect(await touched(2)).toEqual(['job']);
    expect(await touched('1')).toEqual(['api-2']);
    expect(await touched('all')).toEqual(['api-1', 'api-2', 'job']);
    expect(await touched('/^api/')).toEqual(['api-1', 'api-2']);
    expect(await touched('ns')).toEqual(['api-2', 'job']);
    expect(await touched(ARGS)).toEqual(['job']);
  });

  // In pm2 this holds only in a process that has never started an object, an array or a file.
  testOurs('options change what is stored', async () => {
    await startAll('a');
    await box.call('restart', 'a', { maxMemoryRestart: '100M', killTimeout: 900 });
    const [app] = await box.call('list');
    expect(app.pm2_env).toMatchObject({ kill_timeout: 900, max_memory_restart: 104857600 });
  });

  test('the environment stays unless updateEnv is given', async () => {
    process.env.ECHO = 'first';
    try {
      await box.call('start', { script: ARGS });
      await linesOf('args', 1);
      process.env.ECHO = 'second';
      await box.call('restart', 'args');
      await linesOf('args', 2);
      await box.call('restart', 'args', { updateEnv: true });
      expect((await linesOf('args', 3)).map((line) => JSON.parse(line).ECHO)).toEqual(['first', 'first', 'second']);
    } finally {
      delete process.env.ECHO;
    }
  });

  test('a file takes its environment along', async () => {
    const write = (ECHO) => box.write('apps.json', JSON.stringify([{ name: 'args', script: ARGS, env: { ECHO } }]));
    await box.call('start', write('one'));
    await linesOf('args', 1);
    await box.call('restart', write('two'));
    expect((await linesOf('args', 2)).map((line) => JSON.parse(line).ECHO)).toEqual(['one', 'two']);
  });
});

describe('reload', () => {
  test('in fork mode is a restart', async () => {
    const [before] = await startAll('a');
    const [value] = await box.call('reload', 'a');
    expect(value).toMatchObject({ name: 'a', pm_id: 0 });
    const [after] = await box.call('list');
    expect([after.pid !== before.pid, after.pm2_env.restart_time, after.pm2_env.status]).toEqual([true, 1, 'online']);
  });

  testOurs('gracefulReload does the same for a fork', async () => {
    await startAll('a');
    await box.call('gracefulReload', 'a');
    expect((await box.call('list'))[0].pm2_env).toMatchObject({ restart_time: 1, status: 'online' });
  });
});

describe('stop and delete', () => {
  test('stop ends the process and keeps it listed', async () => {
    const [{ pid }] = await startAll('a');
    const [value] = await box.call('stop', 'a');
    expect(value).toMatchObject({ name: 'a', pm_id: 0, status: 'stopped' });
    expect(isAlive(pid)).toBe(false);
    const [app] = await box.call('list');
    expect([app.pid, app.pm2_env.status, app.monit]).toEqual([0, 'stopped', { memory: 0, cpu: 0 }]);
    expect(await box.call('stop', 'a')).toMatchObject([{ status: 'stopped' }]);
  });

  test('delete forgets, and ids begin at 0 again once nothing is left', async () => {
    const list = await startAll('a', 'b');
    await box.call('delete', 'a');
    expect((await box.call('list')).map((each) => each.name)).toEqual(['b']);
    const [, c] = await startAll('c');
    expect(c.pm_id).toBe(2);
    await box.call('delete', 'all');
    expect(await box.call('list')).toEqual([]);
    expect(list.some((each) => isAlive(each.pid))).toBe(false);
    expect((await startAll('d'))[0].pm_id).toBe(0);
  });

  test('a whole tree goes', async () => {
    const script = box.write(
      'tree.js',
      `
      const { spawn } = require('child_process');
      console.log(spawn('sh', ['-c', 'sleep 100 & echo $!; trap "" INT; wait'], { stdio: ['ignore', 'inherit', 'inherit'] }).pid);
      setInterval(() => {}, 1000);`,
    );
    await box.call('start', { script, kill_timeout: 400 });
    const children = await until(() => {
      const seen = box.log('tree-out.log').trim().split('\n').map(Number);
      return seen.length === 2 && seen;
    });
    await box.call('stop', 'tree');
    await until(() => !children.some(isAlive));
  });

  test('what ignores SIGINT is killed after kill_timeout', async () => {
    const script = box.write('stubborn.js', 'process.on("SIGINT", () => {}); setInterval(() => {}, 1000); console.log("up")');
    await box.call('start', { script, kill_timeout: 600 });
    await until(() => box.log('stubborn-out.log').includes('up'));
    const at = Date.now();
    await box.call('stop', 'stubborn');
    expect(Date.now() - at).toBeGreaterThanOrEqual(580);
  });

  test('shutdown_with_message sends the message instead', async () => {
    const script = box.write('polite.js', 'process.on("message", (m) => { console.log("got", m); process.exit(0); }); console.log("up")');
    await box.call('start', { script, shutdown_with_message: true, kill_timeout: 60_000 });
    await until(() => box.log('polite-out.log').includes('up'));
    await box.call('stop', 'polite');
    expect(box.log('polite-out.log')).toContain('got shutdown');
  });

  test('stop and delete of a file act on its apps', async () => {
    const file = box.write('apps.json', JSON.stringify([{ name: 'a', script: IDLE }]));
    await startAll('a', 'b');
    await box.call('stop', file);
    expect((await box.call('list')).map((each) => each.pm2_env.status)).toEqual(['stopped', 'online']);
    await box.call('delete', file);
    expect((await box.call('list')).map((each) => each.name)).toEqual(['b']);
  });

  testOurs('stop, reload and delete take an app object', async () => {
    await startAll('a', 'b');
    await box.call('reload', { name: 'a', script: IDLE });
    await box.call('stop', { name: 'a', script: IDLE });
    expect((await box.call('list')).map((each) => each.pm2_env.status)).toEqual(['stopped', 'online']);
    await box.call('delete', [{ name: 'b', script: IDLE }]);
    expect((await box.call('list')).map((each) => each.name)).toEqual(['a']);
  });

  test('delete of JSON text', async () => {
    await startAll('a', 'b');
    await box.call('delete', JSON.stringify({ apps: [{ name: 'a', script: IDLE }] }), 'pipe');
    expect((await box.call('list')).map((each) => each.name)).toEqual(['b']);
  });
});

describe('the rest', () => {
  test('reset sets the counts back', async () => {
    await startAll('a');
    await box.call('restart', 'a');
    expect(await box.call('reset', 'a')).toEqual({ success: true });
    expect((await box.call('list'))[0].pm2_env.restart_time).toBe(0);
  });

  test('scale up and down', async () => {
    await box.call('start', { script: IDLE, name: 'a', instances: 2, exec_mode: 'fork' });
    await box.call('scale', 'a', 4);
    expect(await pids()).toHaveLength(4);
    await box.call('scale', 'a', '+1');
    expect(await pids()).toHaveLength(5);
    await box.call('scale', 'a', 2);
    expect((await box.call('list')).map((each) => each.pm_id)).toEqual([3, 4]);
  });

  test('signals by id and by name', async () => {
    const script = box.write('sig.js', 'process.on("SIGUSR2", () => console.log("usr2")); setInterval(() => {}, 1000); console.log("up")');
    await box.call('start', { script });
    await until(() => box.log('sig-out.log').includes('up'));
    expect(await box.call('sendSignalToProcessId', 'SIGUSR2', 0)).toHaveLength(1);
    await until(() => box.log('sig-out.log').split('usr2').length === 2);
    expect(await box.call('sendSignalToProcessName', 'SIGUSR2', 'sig')).toHaveLength(1);
    await until(() => box.log('sig-out.log').split('usr2').length === 3);
  });

  test('Client.executeRemote calls a method by name', async () => {
    await startAll('a');
    const remote = (...args) => new Promise((resolve) => box.pm2.Client.executeRemote(...args, (...values) => resolve(values)));
    expect(await remote('ping', {})).toEqual([null, { msg: 'pong' }]);
    const [error, list] = await remote('getMonitorData', {});
    expect([error, list.length]).toEqual([null, 1]);
    const [stopError, stopped] = await remote('stopProcessId', 0);
    expect([stopError, stopped.pm2_env.status]).toEqual([null, 'stopped']);
    expect((await remote('noSuchMethod', {}))[0].message).toBe('method "noSuchMethod" does not exist');
  });

  test('Client lists processes and their ids', async () => {
    await startAll('a', 'b');
    const client = (method, ...args) => new Promise((resolve) => box.pm2.Client[method](...args, (...values) => resolve(values)));
    expect((await client('getAllProcess'))[1]).toHaveLength(2);
    expect((await client('getAllProcessId'))[1]).toEqual([0, 1]);
    expect((await client('getAllProcessIdWithoutModules'))[1]).toEqual([0, 1]);
    expect((await client('getProcessIdByName', 'b'))[1]).toEqual([1]);
    expect((await client('getProcessByName', 'a'))[1]).toHaveLength(1);
    expect((await client('getProcessByNameOrId', '1'))[1]).toMatchObject([{ name: 'b' }]);
  });

  test('reloadLogs reopens the files', async () => {
    await startAll('a');
    expect(await box.call('reloadLogs')).toEqual({});
  });

  test('two instances on one home see the same processes', async () => {
    await startAll('a');
    const other = box.instance();
    await call(other, 'stop', 'a');
    expect(await box.status('a')).toEqual(['stopped']);
    expect((await failure(call(other, 'restart', 'none'))).message).toBe('process or namespace not found');
  });
});
