'use strict';

const fs = require('node:fs');
const net = require('node:net');
const path = require('node:path');
const { spawn } = require('node:child_process');
const { sandbox, call, failure, until, living, isAlive, testOurs, FIXTURES } = require('./helper.js');

const box = sandbox();
const IDLE = path.join(FIXTURES, 'idle.js');
const pm2Of = `const pm2 = require(process.env.PM2_UNDER_TEST);`;

test('connecting launches a daemon, connecting again finds it', async () => {
  const first = await box.call('connect');
  expect(first).toMatchObject({
    new_pm2_instance: true,
    rpc_socket_file: path.join(box.home, 'rpc.sock'),
    pub_socket_file: path.join(box.home, 'pub.sock'),
    pm2_home: box.home,
  });
  const second = await call(box.instance(), 'connect');
  expect(second.new_pm2_instance).toBe(false);
});

test('the daemon lives on after the script that launched it, with its pid in pm2.pid', async () => {
  const { code, stderr } = await box.run(`${pm2Of} pm2.connect((error) => { if (error) throw error; pm2.disconnect(); });`);
  expect([code, stderr]).toEqual([0, '']);
  const pid = Number(box.read('h/pm2.pid'));
  expect(isAlive(pid)).toBe(true);
  expect(await box.call('list')).toEqual([]);
});

test('a relative PM2_HOME is below the folder of the program, for the daemon and its apps too', async () => {
  const { stdout, code } = await box.run(
    `${pm2Of}
    pm2.start({ script: ${JSON.stringify(IDLE)}, name: 'a', cwd: '/' }, (error, [{ pm2_env }]) => {
      const { pm_out_log_path, pm_pid_path } = pm2_env;
      console.log(JSON.stringify([error, pm2.Client.rpc_socket_file, pm_out_log_path, pm_pid_path]));
      pm2.kill(() => pm2.disconnect());
    });`,
    { env: { PM2_HOME: './h' } },
  );
  expect(code).toBe(0);
  const names = ['rpc.sock', 'logs/a-out.log', 'pids/a-0.pid'];
  expect(JSON.parse(stdout)).toEqual([null, ...names.map((name) => path.join(box.home, name))]);
  expect(box.read('h/logs/a-out.log')).toBe('');
});

testOurs('a file that a variable names relatively is the same to the program and the daemon: below the home', async () => {
  const { stdout } = await box.run(
    `${pm2Of}
    (async () => {
      await pm2.set('key', 'value');
      await pm2.start({ script: ${JSON.stringify(IDLE)}, name: 'a' });
      await pm2.dump();
      console.log((await pm2.resurrect()).length > 2);
      await pm2.kill();
    })();`,
    { env: { PM2_MODULE_CONF_FILE: 'mine.json', PM2_DUMP_FILE_PATH: 'mine.dump' } },
  );
  expect(stdout).toBe('true\n');
  expect(JSON.parse(box.read('h/mine.json'))).toEqual({ key: 'value' });
  expect(JSON.parse(box.read('h/mine.dump'))).toHaveLength(1);
});

test('a script ends by itself after disconnect, and not before', async () => {
  const { code, stdout } = await box.run(`${pm2Of}
    pm2.connect((error) => {
      if (error) throw error;
      // Nothing of the script's own holds the event loop for this long.
      setTimeout(() => { console.log('still here'); pm2.disconnect(); }, 500).unref();
    });
    process.on('exit', () => console.log('exit'));`);
  expect([code, stdout]).toEqual([0, 'still here\nexit\n']);
});

testOurs('nothing keeps a script alive after disconnect', async () => {
  await box.call('connect');
  const { stdout } = await box.run(`${pm2Of}
    const report = () => console.log(JSON.stringify(process.getActiveResourcesInfo()));
    pm2.connect(() => pm2.list(() => pm2.disconnect(() => setImmediate(report))));`);
  expect(JSON.parse(stdout)).toEqual([]);
});

testOurs('a call that a disconnect follows at once fails with it, and connects no more', async () => {
  const { code, stdout } = await box.run(
    `${pm2Of}
    const calls = { start: { script: ${JSON.stringify(IDLE)} }, restart: 'all', reload: 'all', stop: 'all', delete: 'all', list: {} };
    const said = [];
    const once = (method) => new Promise((resolve) => {
      pm2.connect(() => {
        pm2[method](calls[method], (error) => { said.push(error && error.message); resolve(); });
        pm2.disconnect();
      });
    });
    (async () => {
      for (const method of Object.keys(calls)) await once(method);
      console.log(JSON.stringify(said));
    })();`,
  );
  expect(code).toBe(0);
  expect(JSON.parse(stdout)).toEqual(Array(6).fill('the connection to pm2 was closed before the answer came'));
});

testOurs('connecting twice needs one disconnect', async () => {
  const { code, stdout } = await box.run(`${pm2Of}
    let calls = 0;
    const done = (error, meta) => { calls += 1; if (calls === 2) pm2.disconnect(() => console.log(calls)); };
    pm2.connect(done);
    pm2.connect(done);`);
  expect([code, stdout]).toEqual([0, '2\n']);
});

testOurs('disconnecting without a connection succeeds', async () => {
  expect(await box.call('disconnect')).toBe(undefined);
  await box.call('connect');
  expect(await box.call('disconnect')).toBe(undefined);
  expect(await box.call('disconnect')).toBe(undefined);
});

test('after disconnect any method connects anew', async () => {
  await box.call('connect');
  await box.call('disconnect');
  expect(await box.call('list')).toEqual([]);
});

test('without connect the first call connects, and launches the daemon', async () => {
  expect(await box.call('list')).toEqual([]);
  expect(living(box.home).size).toBeGreaterThan(0);
});

test('the daemon answers ping and getVersion', async () => {
  expect(await box.call('ping')).toEqual({ msg: 'pong' });
  expect(await box.call('getVersion')).toBe('7.0.4');
});

test('pingDaemon gives a boolean and launches nothing', async () => {
  const ping = () => new Promise((resolve) => box.pm2.Client.pingDaemon((...args) => resolve(args)));
  expect(await ping()).toEqual([false]);
  expect(living(box.home).size).toBe(0);
  await box.call('connect');
  expect(await ping()).toEqual([true]);
});

test('kill ends the daemon and its apps, and leaves neither pid file nor sockets', async () => {
  const [{ pid }] = await box.start({ script: IDLE });
  const daemon = Number(box.read('h/pm2.pid'));
  expect(await box.call('killDaemon')).toEqual({ success: true });
  await until(() => !isAlive(pid) && !isAlive(daemon));
  await until(() => !['pm2.pid', 'rpc.sock', 'pub.sock'].some((name) => fs.existsSync(path.join(box.home, name))));
});

test('after kill the next call launches another daemon', async () => {
  await box.call('connect');
  const before = box.read('h/pm2.pid');
  await box.call('kill');
  await box.call('disconnect').catch(() => {});
  expect(await call(box.instance(), 'list')).toEqual([]);
  expect(box.read('h/pm2.pid')).not.toBe(before);
});

testOurs('kill without a daemon succeeds and starts none', async () => {
  expect(await box.call('kill')).toEqual({ success: true });
  expect(fs.existsSync(path.join(box.home, 'pm2.pid'))).toBe(false);
});

testOurs('a script ends after kill and disconnect', async () => {
  const { code } = await box.run(`${pm2Of} pm2.connect(() => pm2.kill(() => pm2.disconnect()));`);
  expect(code).toBe(0);
});

testOurs('calls that are under way when the connection closes call back once, with an error', async () => {
  await box.call('connect');
  const slow = failure(box.call('start', { script: IDLE, wait_ready: true, listen_timeout: 3_600_000 }));
  await until(async () => (await call(box.instance(), 'list')).length === 1);
  box.pm2.disconnect();
  expect((await slow).message).toContain('closed');
});

testOurs('ten scripts that start at the same moment get one daemon', async () => {
  const script = `${pm2Of} pm2.connect((error) => { if (error) throw error; pm2.getVersion((e, v) => pm2.disconnect(() => console.log(v))); });`;
  const results = await Promise.all(Array.from({ length: 10 }, () => box.run(script)));
  expect(results).toEqual(results.map(() => ({ code: 0, stdout: '7.0.4\n', stderr: '' })));
  const sockets = [...living(box.home).keys()].filter((pid) => holds(pid, path.join(box.home, 'rpc.sock')));
  expect(isAlive(Number(box.read('h/pm2.pid')))).toBe(true);
  expect(sockets.length).toBeLessThanOrEqual(2);
});

testOurs('instances with homes of their own have daemons of their own', async () => {
  const other = box.instance({ pm2_home: box.extraHome('other') });
  await box.call('start', { script: IDLE, name: 'here' });
  await call(other, 'start', { script: IDLE, name: 'there' });
  expect((await box.call('list')).map((each) => each.name)).toEqual(['here']);
  expect((await call(other, 'list')).map((each) => each.name)).toEqual(['there']);
});

test('a stale socket file is no daemon', async () => {
  fs.mkdirSync(box.home, { recursive: true });
  await staleSocket(path.join(box.home, 'rpc.sock'));
  expect((await box.call('connect')).new_pm2_instance).toBe(true);
  expect(await box.call('list')).toEqual([]);
});

test('a foreign process behind pm2.pid is left alone', async () => {
  const foreign = spawn('sleep', ['60']);
  try {
    fs.mkdirSync(box.home, { recursive: true });
    fs.writeFileSync(path.join(box.home, 'pm2.pid'), String(foreign.pid));
    expect((await box.call('connect')).new_pm2_instance).toBe(true);
    await box.call('kill');
    expect(isAlive(foreign.pid)).toBe(true);
  } finally {
    foreign.kill('SIGKILL');
  }
});

testOurs('a home that cannot be made is an error that names it', async () => {
  const file = box.write('file', '');
  const error = await failure(call(box.instance({ pm2_home: path.join(file, 'home') }), 'connect'));
  expect(error.message).toContain(path.join(file, 'home'));
});

testOurs('a home whose sockets would have too long a path is an error that says so', async () => {
  const error = await failure(call(box.instance({ pm2_home: path.join(box.folder, 'x'.repeat(110)) }), 'connect'));
  expect(error.message).toContain('x'.repeat(110));
  expect(error.message).toMatch(/107|too long/);
});

testOurs('with connect(true) the daemon and its apps end with the process, however that ends', async () => {
  const script = `${pm2Of} pm2.connect(true, (error) => {
    if (error) throw error;
    pm2.start({ script: ${JSON.stringify(IDLE)} }, (error, [app]) => { console.log(app.pid ?? app.process.pid); process.kill(process.pid, 'SIGKILL'); });
  });`;
  const { stdout } = await box.run(script);
  const pid = Number(stdout);
  expect(pid).toBeGreaterThan(1);
  await until(() => !isAlive(pid));
  await until(() => living(box.home).size === 0);
});

testOurs('with connect(true) the process stays while its daemon does, and prints nothing', async () => {
  const script = `${pm2Of} pm2.connect(true, (error) => {
    pm2.start({ script: ${JSON.stringify(IDLE)} }, () => pm2.disconnect(() => setTimeout(() => {
      pm2.list((error, list) => { process.stderr.write(list[0].pm2_env.status); pm2.kill(); });
    }, 300).unref()));
  });`;
  expect(await box.run(script)).toEqual({ code: 0, stdout: '', stderr: 'online' });
});

testOurs('every method without a callback gives a promise', async () => {
  const { pm2 } = box;
  await pm2.connect();
  expect(await pm2.start({ script: IDLE, name: 'app' })).toHaveLength(1);
  expect(await pm2.list()).toHaveLength(1);
  expect(await pm2.describe('app')).toHaveLength(1);
  expect((await failure(pm2.stop('none'))).message).toBe('process or namespace not found');
  expect(await pm2.delete('app')).toHaveLength(1);
  expect(await pm2.disconnect()).toBe(undefined);
});

testOurs('a failure that nobody waits for is no unhandled rejection', async () => {
  const { code, stderr } = await box.run(`${pm2Of} pm2.connect(() => { pm2.stop('none'); setTimeout(() => pm2.disconnect(), 300); });`);
  expect([code, stderr]).toEqual([0, '']);
});

test('what a callback throws is an uncaught exception, and the callback is not called again', async () => {
  const { stdout } = await box.run(`${pm2Of}
    let calls = 0;
    process.on('uncaughtException', (error) => { console.log(error.message, calls); process.exit(); });
    process.on('unhandledRejection', () => console.log('rejection'));
    pm2.list(() => { calls += 1; throw new Error('mine'); });`);
  expect(stdout).toBe('mine 1\n');
});

function holds(pid, socket) {
  const inode = fs
    .readFileSync('/proc/net/unix', 'utf8')
    .split('\n')
    .filter((line) => line.endsWith(socket))
    .map((line) => line.split(/\s+/)[6]);
  try {
    return fs.readdirSync(`/proc/${pid}/fd`).some((fd) => {
      const target = fs.readlinkSync(`/proc/${pid}/fd/${fd}`);
      return inode.some((each) => target === `socket:[${each}]`);
    });
  } catch {
    return false;
  }
}

/** A socket file whose owner was killed. */
async function staleSocket(file) {
  const owner = spawn(process.execPath, ['-e', `require('net').createServer().listen(${JSON.stringify(file)})`]);
  await until(() => fs.existsSync(file) && connects(file));
  owner.kill('SIGKILL');
  await until(async () => !(await connects(file)));
}

function connects(file) {
  return new Promise((resolve) => {
    const socket = net.connect(file, () => socket.end(() => resolve(true)));
    socket.on('error', () => resolve(false));
  });
}
