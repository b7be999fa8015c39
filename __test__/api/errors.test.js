'use strict';

const fs = require('node:fs');
const path = require('node:path');
const { sandbox, failure, testOurs, FIXTURES } = require('./helper.js');

const box = sandbox();
const IDLE = path.join(FIXTURES, 'idle.js');

const message = async (...args) => (await failure(box.call(...args))).message;
/** pm2 hands an array of Errors to the callback when apps of a list fail. */
const messages = async (...args) => [await failure(box.call(...args))].flat().map((error) => error.message);

describe('targets that do not exist', () => {
  test.each([
    ['restart', 'none', 'process or namespace not found'],
    ['reload', 'none', 'process or namespace not found'],
    ['stop', 'none', 'process or namespace not found'],
    ['delete', 'none', 'process or namespace not found'],
    ['restart', 'all', 'process name not found'],
    ['stop', '/x/', 'process name not found'],
    ['restart', 99, 'God db process id unknown'],
    ['reload', 99, 'PM2 ID unknown'],
    ['stop', 99, '99 : id unknown'],
    ['delete', '99', '99 : id unknown'],
    ['scale', 'none', 'App not found'],
    ['reset', 'none', 'Unknown process name'],
    ['sendSignalToProcessName', 'none', 'Unknown process name'],
  ])('%s %s', async (method, target, text) => {
    const args = { scale: [target, 2], sendSignalToProcessName: ['SIGUSR2', target] }[method] ?? [target];
    expect(await message(method, ...args)).toBe(text);
  });

  testOurs('reset of an unknown id', async () => {
    expect(await message('reset', 99)).toBe('99 id unknown');
  });
});

describe('what cannot be started', () => {
  test('a script that is not there', async () => {
    expect(await message('start', path.join(box.folder, 'none.js'))).toBe(`Script not found: ${path.join(box.folder, 'none.js')}`);
    expect(await messages('start', { script: './none.js' })).toEqual([`Script not found: ${path.join(box.folder, 'none.js')}`]);
    expect(await box.call('list')).toEqual([]);
  });

  test('an app without a script', async () => {
    expect(await messages('start', { name: 'x' })).toEqual(['No script path - aborting']);
  });

  test('an interpreter that is not there', async () => {
    const [text] = await messages('start', { script: IDLE, interpreter: 'no-such-interpreter' });
    expect(text).toContain('no-such-interpreter');
    expect(text).toContain('NOT AVAILABLE in PATH');
  });

  testOurs('a working directory that is not there', async () => {
    const [text] = await messages('start', { script: IDLE, cwd: path.join(box.folder, 'none') });
    expect(text).toContain(path.join(box.folder, 'none'));
  });

  testOurs('one app of several: the others start, and the error is an array', async () => {
    const apps = [
      { name: 'good', script: IDLE },
      { name: 'bad', script: './none.js' },
    ];
    const [error, value] = await new Promise((resolve) => box.pm2.start(apps, (...args) => resolve(args)));
    expect(error.map((each) => each.message)).toEqual([`Script not found: ${path.join(box.folder, 'none.js')}`]);
    expect(value).toHaveLength(1);
    expect((await box.call('list')).map((each) => each.name)).toEqual(['good']);
    const rejected = await failure(box.pm2.start([{ name: 'bad', script: './none.js' }]));
    expect(rejected.errors).toHaveLength(1);
  });
});

describe('options of a wrong type', () => {
  test.each([
    [{ max_memory_restart: '10 apples' }, 'max_memory_restart'],
    [{ instances: true }, 'instances'],
    [{ exec_mode: 'both' }, 'exec_mode'],
    [{ min_uptime: 5 }, 'min_uptime'],
    [{ kill_timeout: 'soon' }, 'kill_timeout'],
    [{ autorestart: 'true' }, 'autorestart'],
    [{ args: 5 }, 'args'],
    [{ name: 5 }, 'name'],
    [{ cwd: 5 }, 'cwd'],
  ])('%j names %s', async (options, name) => {
    expect(await message('start', { script: IDLE, ...options })).toContain(`"${name}"`);
    expect(await box.call('list')).toEqual([]);
  });

  testOurs('a function where none is allowed', async () => {
    expect(await message('start', { script: IDLE, name: () => 'x' })).toContain('"name"');
  });

  test('a cron pattern that is none', async () => {
    expect(await message('start', { script: IDLE, cron_restart: 'zz' })).toContain('Cron pattern error');
  });

  testOurs.each([
    ['start', [undefined], 'script'],
    ['start', [''], 'script'],
    ['start', [null], 'script'],
    ['start', [{ script: IDLE }, 5], 'options'],
    ['restart', [undefined], 'target'],
    ['restart', [1.5], 'target'],
    ['stop', [true], 'target'],
    ['delete', [''], 'target'],
    ['reload', ['x', []], 'options'],
    ['describe', [{}], 'target'],
    ['scale', ['x', 'many'], 'count'],
    ['sendDataToProcessId', [5, 'text'], 'packet'],
    ['sendLineToStdin', [0, 5], 'line'],
    ['sendSignalToProcessName', [{}, 'x'], 'signal'],
    ['trigger', ['x', 5], 'action'],
  ])('%s(%j) names the argument', async (method, args, name) => {
    const text = await message(method, ...args);
    expect(text).toContain(`The "${name}" argument of pm2.${method} must be`);
    expect(fs.existsSync(path.join(box.home, 'pm2.pid'))).toBe(false);
  });

  testOurs('what cannot be written as JSON', async () => {
    const circle = { script: IDLE };
    circle.self = circle;
    expect(await message('start', circle)).toContain('cannot be written as JSON');
  });
});

describe('configuration files with a mistake', () => {
  testOurs('JSON: file, line and column', async () => {
    const file = box.write('apps.json', '{\n  "apps": [\n    { "name": "x" "script": "y" }\n  ]\n}');
    const error = await failure(box.call('start', file));
    expect(error.message).toBe(`File ${file} malformated (line 3, column 19): Unexpected string`);
    expect(error).toMatchObject({ code: 'ERR_PM2_CONFIG', file, line: 3, column: 19 });
  });

  test('JSON: nothing is started', async () => {
    await failure(box.call('start', box.write('apps.json', '{"apps": [')));
    expect(await box.call('list')).toEqual([]);
  });

  testOurs('JSON: an expression that does not end', async () => {
    expect(await message('start', box.write('apps.json', '(() => { for (;;); })()'))).toContain('timed out');
  });

  testOurs('JavaScript: file and reason', async () => {
    const file = box.write('app.config.js', '\nthrow new Error("bad day");\n');
    expect(await message('start', file)).toBe(`File ${file} malformated (line 2, column 7): bad day`);
  });

  testOurs('YAML', async () => {
    const file = box.write('apps.yml', 'apps:\n  - name: "x\n    script: y\n');
    expect(await message('start', file)).toContain(file);
    expect(await box.call('list')).toEqual([]);
  });

  testOurs('a file that holds no app', async () => {
    expect(await message('start', box.write('apps.json', '5'))).toContain('must contain an app');
  });

  testOurs.each(['start', 'restart', 'reload', 'stop', 'delete'])('%s of a file that is not there', async (method) => {
    expect(await message(method, 'none.json')).toBe(`File ${path.join(box.folder, 'none.json')} not found`);
  });
});

// Protects: a callback given where an argument is missing is called, with what is missing, and not taken for the argument.
testOurs.each([
  'start',
  'restart',
  'reload',
  'stop',
  'delete',
  'scale',
  'reset',
  'describe',
  'env',
  'trigger',
  'sendDataToProcessId',
  'install',
])('pm2.%s with nothing but a callback', async (method) => {
  expect(await message(method)).toMatch(new RegExp(`pm2\\.${method} must be .*, not undefined$`));
});
