'use strict';

const path = require('node:path');
const { sandbox, call, failure, until, isReference, testOurs, FIXTURES } = require('./helper.js');

const box = sandbox();
const IDLE = path.join(FIXTURES, 'idle.js');
const ARGS = path.join(FIXTURES, 'args.js');

/** What an app such as `args.js` saw: its first line. */
async function seen(name = 'args') {
  return JSON.parse((await until(() => box.log(`${name}-out.log`).includes('\n') && box.log(`${name}-out.log`))).split('\n')[0]);
}

describe('each documented form', () => {
  test('start(options)', async () => {
    const started = await box.call('start', { script: IDLE, name: 'web' });
    expect(started).toHaveLength(1);
    expect(started[0].process.pid).toBeGreaterThan(1);
    expect(started[0].pm2_env).toMatchObject({ name: 'web', pm_id: 0, status: 'online', pm_exec_path: IDLE, exec_mode: 'fork_mode' });
  });

  test('start(script)', async () => {
    const [app] = await box.start(IDLE);
    expect(app.name).toBe('idle');
    expect(app.pm2_env).toMatchObject({
      status: 'online',
      pm_cwd: box.folder,
      exec_interpreter: expect.stringContaining('node'),
      namespace: 'default',
    });
  });

  test('start(script, options)', async () => {
    const [app] = await box.start(IDLE, { name: 'named', maxRestarts: 3, killTimeout: 500 });
    expect(app.name).toBe('named');
    expect(app.pm2_env).toMatchObject({ max_restarts: 3, kill_timeout: 500 });
  });

  test('start(jsonConfigFile)', async () => {
    const file = box.write(
      'apps.json',
      JSON.stringify({
        apps: [
          { name: 'one', script: IDLE },
          { name: 'two', script: IDLE },
        ],
      }),
    );
    expect((await box.start(file)).map((each) => each.name).sort()).toEqual(['one', 'two']);
  });

  testOurs('start(script, jsonConfigFile)', async () => {
    const file = box.write('options.json', '{"name": "from-file", "args": ["a", "b c"], "env": {"ECHO": "1"}}');
    await box.call('start', ARGS, file);
    expect(await seen('from-file')).toMatchObject({ argv: ['a', 'b c'], ECHO: '1' });
  });

  test('start([apps]) and start({apps})', async () => {
    await box.call('start', [{ name: 'one', script: IDLE }]);
    await box.call('start', {
      apps: [
        { name: 'two', script: IDLE },
        { name: 'three', script: IDLE },
      ],
    });
    expect((await box.call('list')).map((each) => each.name).sort()).toEqual(['one', 'three', 'two']);
  });

  test('nothing to start is nothing started', async () => {
    expect(await box.call('start', [])).toEqual([]);
    expect(await box.call('start', { apps: [] })).toEqual([]);
  });

  test('without a callback it is done all the same', async () => {
    await box.call('connect');
    box.pm2.start({ script: IDLE });
    await until(async () => (await box.call('list'))[0]?.pm2_env.status === 'online');
  });
});

describe('configuration files', () => {
  const APPS = [
    ['with.json', '{\n // a comment\n apps: [{name: \'web\', script: ["args", ".js"].join(""), args: "x",}] }'],
    ['app.config.js', 'module.exports = { apps: { name: "web", script: "args.js", args: ["x"] } };'],
    ['app.config.cjs', 'module.exports = [{ name: "web", script: "./args.js", args: "x" }];'],
    ['app.config.mjs', 'export const apps = [{ name: "web", script: "args.js", args: "x" }];'],
    ['apps.yml', 'apps:\n  - name: web\n    script: args.js\n    args: x\n'],
    ['apps.yaml', '- name: web\n  script: ./args.js\n  args: [x]\n'],
  ];
  // In a process of its own: Jest has its own module system, which neither imports nor forgets a module.
  const start = (file) => `
    const pm2 = require(process.env.PM2_UNDER_TEST);
    pm2.start(${JSON.stringify(file)}, (error) => {
      if (error) console.log(error.message);
      pm2.disconnect();
    });`;

  test.each(APPS)('%s', async (name, text) => {
    box.write('args.js', `require(${JSON.stringify(ARGS)})`);
    box.write(name, text);
    expect(await box.run(start(name))).toMatchObject({ code: 0, stdout: '' });
    expect(await seen('web')).toMatchObject({ argv: ['x'], cwd: box.folder });
  });

  testOurs('export default', async () => {
    box.write('app.config.mjs', `export default { apps: [{ name: 'idle', script: ${JSON.stringify(IDLE)} }] };`);
    await box.run(start('app.config.mjs'));
    expect(await box.status('idle')).toEqual(['online']);
  });

  test('a file is read afresh each time', async () => {
    const { stdout } = await box.run(`
      const fs = require('fs');
      const pm2 = require(process.env.PM2_UNDER_TEST);
      const write = (name) => fs.writeFileSync('app.config.js', 'module.exports = [{ name: "' + name + '", script: ${JSON.stringify(IDLE)} }]');
      write('a');
      pm2.start('app.config.js', () => {
        write('b');
        pm2.start('app.config.js', () => pm2.list((error, list) => {
          console.log(list.map((each) => each.name).join());
          pm2.disconnect();
        }));
      });`);
    expect(stdout).toBe('a,b\n');
  });

  test('starting a file again restarts what runs', async () => {
    const file = box.write('apps.json', JSON.stringify([{ name: 'web', script: IDLE }]));
    await box.call('start', file);
    const again = await box.call('start', file);
    expect(again).toHaveLength(1);
    const [app] = await box.call('list');
    expect([app.pm_id, app.pm2_env.restart_time, app.pm2_env.status]).toEqual([0, 1, 'online']);
  });

  test('env chooses env_<name>', async () => {
    const app = { name: 'args', script: ARGS, env: { ECHO: 'plain', PORT: 1 }, env_production: { ECHO: 'production' } };
    await box.call('start', box.write('apps.json', JSON.stringify({ apps: [app] })), { env: 'production' });
    expect(await seen()).toMatchObject({ ECHO: 'production', PORT: '1' });
  });

  test('only acts on the apps named', async () => {
    const file = box.write('apps.json', JSON.stringify(['a', 'b', 'c'].map((name) => ({ name, script: IDLE }))));
    expect((await box.start(file, { only: 'a,c' })).map((each) => each.name).sort()).toEqual(['a', 'c']);
  });
});

describe('options', () => {
  test('args, as an array and as a command line', async () => {
    await box.call('start', { script: ARGS, name: 'array', args: ['one', 'two three'] });
    await box.call('start', { script: ARGS, name: 'line', args: 'one "two three" --k=\'v w\'' });
    expect((await seen('array')).argv).toEqual(['one', 'two three']);
    expect((await seen('line')).argv.slice(0, 2)).toEqual(['one', 'two three']);
  });

  testOurs('start(script, {args, snake_case}) honours both', async () => {
    const [app] = await box.start(ARGS, { args: ['a'], max_restarts: 4, kill_timeout: 700 });
    expect((await seen()).argv).toEqual(['a']);
    expect(app.pm2_env).toMatchObject({ max_restarts: 4, kill_timeout: 700 });
  });

  test('cwd is the working directory and the base of the script', async () => {
    box.write('sub/args.js', `require(${JSON.stringify(ARGS)})`);
    await box.call('start', { script: 'args.js', cwd: path.join(box.folder, 'sub') });
    expect((await seen()).cwd).toBe(path.join(box.folder, 'sub'));
  });

  test('env reaches the app, objects in it as JSON', async () => {
    await box.call('start', { script: ARGS, env: { ECHO: { a: [1] }, NODE_ENV: 'x' }, port: 3100 });
    expect(await seen()).toMatchObject({ ECHO: '{"a":[1]}', NODE_ENV: 'x', PORT: '3100' });
  });

  test('output and error choose the log files', async () => {
    const script = box.write('both.js', 'console.log("to out"); console.error("to err"); setInterval(() => {}, 1000)');
    await box.call('start', { script, output: 'o.txt', error: './logs/e.txt', cwd: box.folder });
    await until(() => box.read('o.txt').includes('to out') && box.read('logs/e.txt').includes('to err'));
  });

  test('pid_file is written and goes with the process', async () => {
    const [app] = await box.start({ script: IDLE, pid: path.join(box.folder, 'my.pid') });
    expect(box.read(app.pm2_env.pm_pid_path)).toBe(String(app.pid));
    await box.call('stop', 'idle');
    expect(box.read(app.pm2_env.pm_pid_path)).toBe('');
  });

  test('autostart: false only lists', async () => {
    const [app] = await box.start({ script: IDLE, autostart: false });
    expect([app.pm2_env.status, app.pid ?? 0]).toEqual(['stopped', 0]);
  });

  test('fork mode with instances counts them in NODE_APP_INSTANCE', async () => {
    const list = await box.start({ script: IDLE, instances: 3, exec_mode: 'fork' });
    expect(list.map((each) => [each.pm_id, each.pm2_env.NODE_APP_INSTANCE, each.pm2_env.exec_mode])).toEqual([
      [0, 0, 'fork_mode'],
      [1, 1, 'fork_mode'],
      [2, 2, 'fork_mode'],
    ]);
  });

  test('a shell script and a binary', async () => {
    const shell = box.write('job.sh', 'echo "shell $ECHO"; exec sleep 60');
    await box.call('start', { script: shell, env: { ECHO: 'says' } });
    const list = await box.start({ script: 'sleep', args: '60', name: 'binary' });
    await until(() => box.log('job-out.log') === 'shell says\n');
    expect(list.map((each) => each.pm2_env.exec_interpreter)).toEqual(['bash', 'none']);
  });

  test('node_args come before the script', async () => {
    const script = box.write('flags.js', 'console.log(JSON.stringify(process.execArgv)); setInterval(() => {}, 1000)');
    await box.call('start', { script, node_args: '--no-warnings --stack-size=900' });
    expect(await seen('flags')).toEqual(['--no-warnings', '--stack-size=900']);
  });

  test('stop_exit_codes and autorestart: false end in stopped', async () => {
    const script = box.write('three.js', 'setTimeout(() => process.exit(3), 100)');
    await box.call('start', { script, name: 'codes', stop_exit_codes: [3] });
    await box.call('start', { script, name: 'never', autorestart: false });
    await until(async () => (await box.call('list')).every((each) => each.pm2_env.status === 'stopped'));
  });

  test('a crash loop ends in errored after max_restarts', async () => {
    await box.call('start', { script: box.write('crash.js', 'throw new Error("no")'), max_restarts: 3, min_uptime: 3_600_000 });
    await until(async () => (await box.status('crash'))[0] === 'errored');
  });

  test('wait_ready waits for ready', async () => {
    const script = box.write('ready.js', 'setTimeout(() => process.send("ready"), 400); setInterval(() => {}, 1000)');
    const at = Date.now();
    // A message that is not heard shows as a start that outlasts the test.
    await box.call('start', { script, wait_ready: true, listen_timeout: 120_000 });
    expect(Date.now() - at).toBeGreaterThan(350);
    expect(await box.status('ready')).toEqual(['online']);
  });

  test('node_version and version are in the record', async () => {
    box.write('package.json', '{"version": "4.5.6"}');
    await box.call('start', { script: box.write('own.js', 'setInterval(() => {}, 1000)') });
    const record = await until(async () => {
      const [app] = await box.call('list');
      return app.pm2_env.node_version && app.pm2_env;
    });
    expect([record.node_version, record.version]).toEqual([process.versions.node, '4.5.6']);
  });
});

describe('a string that is not a file', () => {
  test('a name restarts what bears it', async () => {
    await box.call('start', { script: IDLE, name: 'web' });
    await box.call('stop', 'web');
    await box.call('start', 'web');
    expect(await box.status('web')).toEqual(['online']);
    expect(await box.call('list')).toHaveLength(1);
  });

  test('the same script again is refused, unless forced', async () => {
    await box.call('start', IDLE);
    expect((await failure(box.call('start', IDLE))).message).toBe('Script already launched');
    await box.call('start', IDLE, { force: true });
    expect(await box.call('list')).toHaveLength(2);
  });

  test('an object given to start is not needed again: two calls, two apps', async () => {
    const app = Object.freeze({ script: IDLE, name: 'frozen' });
    const given = isReference ? { ...app } : app;
    await box.call('start', given);
    await call(box.instance(), 'start', { ...app, name: 'other' });
    expect(await box.call('list')).toHaveLength(2);
  });
});
