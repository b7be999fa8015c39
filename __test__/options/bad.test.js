'use strict';

/*
 * What cannot be done as it was asked for: one error that says what was given and what is allowed, nothing half started, and the app that
 * runs meanwhile left alone. All cases share one daemon.
 */

const fs = require('node:fs');
const path = require('node:path');
const { Sandbox, failure } = require('../api/helper.js');

const box = new Sandbox();
let witness;

beforeAll(async () => {
  box.open();
  box.idle = box.write('idle.js', 'setInterval(() => {}, 1000);');
  box.write('script.sh', 'exec sleep 1000\n');
  fs.writeFileSync(path.join(box.folder, 'plain.txt'), 'text', { mode: 0o644 });
  fs.mkdirSync(path.join(box.folder, 'folder'));
  await box.call('start', { name: 'witness', script: box.idle });
  witness = await left();
});

afterAll(() => box.close());

/** Everything that is managed, and how often it was started. */
const left = async () => (await box.call('list')).map(({ name, pid, pm2_env }) => [name, pid, pm2_env.status, pm2_env.restart_time]);

const script = () => ({ name: 'bad', script: box.idle });
const NUL = 'a\0b';
const LONG = 'x'.repeat(200_000);

/** Label, what is started, and what the message must hold. */
const CASES = [
  // Contradictions.
  [
    'cluster of another language',
    () => ({ ...script(), interpreter: 'bash', exec_mode: 'cluster' }),
    'with interpreter "bash", allowed: fork)',
  ],
  [
    'cluster of a shell script',
    () => ({ script: 'script.sh', exec_mode: 'cluster' }),
    'only Node apps run in cluster mode (given: "cluster" with interpreter "bash", allowed: fork)',
  ],
  ['cluster of a program', () => ({ script: 'sleep', args: '1000', exec_mode: 'cluster' }), 'with interpreter "none"'],
  // Files.
  ['a folder', () => ({ script: 'folder' }), 'it has neither package.json nor index.js'],
  ['no file', () => ({ script: './missing.js' }), 'Script not found: '],
  ['what may not be executed', () => ({ script: './plain.txt', interpreter: 'none' }), 'Script not executable: '],
  ['cwd that is not there', () => ({ ...script(), cwd: '/nowhere/at/all' }), 'Working directory not found: /nowhere/at/all'],
  ['cwd that is a file', () => ({ ...script(), cwd: box.idle }), 'Working directory not found: '],
  ['no such interpreter', () => ({ ...script(), interpreter: 'no-such-program' }), 'Interpreter no-such-program is NOT AVAILABLE in PATH'],
  ['an interpreter that is a folder', () => ({ ...script(), interpreter: '/tmp' }), 'Interpreter /tmp is NOT AVAILABLE'],
  ['output into a folder', () => ({ ...script(), out_file: './folder' }), 'Verify "out_file" failed, it should be a file (given: "'],
  ['pid file that is a folder', () => ({ ...script(), pid_file: './folder' }), 'Verify "pid_file" failed'],
  ['output below a file', () => ({ ...script(), error_file: `${box.idle}/x.log` }), 'Could not create folder'],
  // Numbers.
  ...['kill_timeout', 'restart_delay', 'max_restarts', 'max_memory_restart', 'listen_timeout', 'min_uptime', 'port', 'instances'].flatMap(
    (option) => [
      [`${option} NaN`, () => ({ ...script(), [option]: Number.NaN }), `"${option}"`, '(given: "NaN", allowed: '],
      [`${option} Infinity`, () => ({ ...script(), [option]: Number.POSITIVE_INFINITY }), `"${option}"`, '(given: "Infinity", allowed: '],
      [`${option} 1e308`, () => ({ ...script(), [option]: 1e308 }), `The maximum of "${option}" is `, 'but now is 1e+308'],
    ],
  ),
  ['a negative time', () => ({ ...script(), kill_timeout: -1 }), 'The minimum of "kill_timeout" is 0, but now is -1'],
  [
    'two points',
    () => ({ ...script(), max_memory_restart: '1.5.5G' }),
    'Verify "max_memory_restart" with regex failed',
    '(given: "1.5.5G"',
  ],
  [
    'half an instance',
    () => ({ ...script(), instances: 1.5 }),
    'Verify "instances" with regex failed, it should be a whole number (given: 1.5',
  ],
  ['too many instances', () => ({ ...script(), instances: 100_000 }), 'instances: at most 1000 are allowed'],
  [
    'a port that is none',
    () => ({ ...script(), port: 70_000 }),
    'The maximum of "port" is 65535, but now is 70000 (given: 70000, allowed: a whole number, 0 to 65535)',
  ],
  ['a mask of too many bits', () => ({ ...script(), umask: 512 }), 'The maximum of "umask" is 511'],
  ['a mask that is not octal', () => ({ ...script(), umask: '9' }), 'octal digits'],
  [
    'exit codes that are none',
    () => ({ ...script(), stop_exit_codes: ['x', {}] }),
    '"stop_exit_codes" is ["x",{}], allowed: an exit code or a list of them',
  ],
  ['a number too big to count', () => ({ ...script(), kill_timeout: 10n }), 'cannot be written as JSON'],
  // Texts.
  [
    'a name of two lines',
    () => ({ ...script(), name: 'a\nb' }),
    'Verify "name" with regex failed, it should be text without control characters (given: "a\\nb"',
  ],
  ['a name with NUL', () => ({ ...script(), name: NUL }), '"name"'],
  [
    'a name of 10 kB',
    () => ({ ...script(), name: 'x'.repeat(10_000) }),
    'Verify "name" with regex failed, it should be text of at most 235 characters',
  ],
  ['a namespace with NUL', () => ({ ...script(), namespace: NUL }), '"namespace"'],
  ...['script', 'cwd', 'out_file', 'interpreter', 'node_args', 'args', 'instance_var', 'increment_var', 'log_date_format'].map((option) => [
    `${option} with NUL`,
    () => ({ ...script(), [option]: option.endsWith('args') ? [NUL] : NUL }),
    'it should be text without NUL characters',
  ]),
  [
    'a variable with NUL',
    () => ({ ...script(), env: { GOOD: '1', BAD: NUL } }),
    'Verify "env.BAD" with regex failed, it should be text without NUL characters (given: an object',
  ],
  ['a variable’s name with NUL', () => ({ ...script(), env: { [NUL]: '1' } }), 'without NUL characters'],
  ['a variable of another environment with NUL', () => ({ ...script(), env_test: { BAD: NUL } }), '"env_test.BAD"'],
  [
    'an argument that no system takes',
    () => ({ ...script(), args: ['short', LONG] }),
    'Verify "args" with regex failed, it should be text of at most 131071 bytes',
  ],
  ['a variable that no system takes', () => ({ ...script(), env: { BIG: LONG } }), 'Verify "env.BIG" with regex failed'],
  ['an object that no system takes', () => ({ ...script(), env: { BIG: { inner: LONG } } }), '"env.BIG"'],
  ['a format that no system takes', () => ({ ...script(), log_date_format: LONG }), '"log_date_format"'],
  // Shapes.
  [
    'arguments in lists',
    () => ({ ...script(), args: [['a'], { b: 1 }] }),
    'Verify "args" with regex failed, its items should be texts, numbers or booleans',
  ],
  ['objects to watch', () => ({ ...script(), watch: [{ a: 1 }] }), 'Verify "watch" with regex failed'],
  [
    'a list of variables',
    () => ({ ...script(), env: ['SECRET=1'] }),
    'Expect "env" to be a typeof [object Object] / [object String], but now is [object Array] (given: a list',
  ],
  [
    'a function',
    () => ({ ...script(), kill_timeout: () => 5 }),
    'Expect "kill_timeout" to be a typeof [object Number], but now is [object Object]',
  ],
  ['a mode that is none', () => ({ ...script(), exec_mode: 'clusterx' }), 'Verify "exec_mode" with regex failed'],
  [
    'a bad pattern',
    () => ({ ...script(), cron: '* * *' }),
    'Cron pattern error: CronPattern: ',
    'allowed: a cron pattern of five or six parts, or 0)',
  ],
  ['an object in itself', () => cyclic(), 'circular'],
  ['an object of 200 levels', () => ({ ...script(), env: { A: nested(200) } }), 'what was given is nested deeper than 127 levels'],
  ['a number for a script', () => ({ script: {} }), 'Expect "script" to be a typeof [object String]'],
  ['apps that are none', () => ['text', 5], 'must be an object, but is a text'],
  [
    'several bad options of several apps',
    () => [
      { ...script(), name: 'one', port: 'x' },
      { ...script(), name: 'two', env: 5 },
    ],
    '"port"',
    'app: one)',
    '"env"',
    'app: two)',
  ],
];

function cyclic() {
  const app = script();
  app.env = { app };
  return app;
}

function nested(levels) {
  let value = {};
  for (let level = 0; level < levels; level += 1) value = { value };
  return value;
}

// Protects: whoever asks for what cannot be is told what and why, and pays with nothing that runs.
test.each(CASES)('%s', async (_label, app, ...expected) => {
  const error = await failure(box.call('start', app()));
  const message = (Array.isArray(error) ? error : [error]).map((each) => each.message).join();
  for (const part of expected) expect(message).toContain(part);
  expect(message).not.toContain('SECRET');
  expect(message.length).toBeLessThan(2000);
  expect(await left()).toEqual(witness);
});

// Protects: the same words for a script with options, and for a restart, which must not stop what it cannot start again.
test('options beside a script and of a restart are checked alike', async () => {
  const beside = await failure(box.call('start', box.write('other.js', ''), { name: 'x\0', maxRestarts: Number.NaN }));
  expect(beside.message).toMatch(/"name".*"max_restarts".*given: "NaN"/);
  const again = await failure(box.call('restart', 'witness', { args: [NUL], env: { A: NUL } }));
  expect(again.message).toMatch(/"args".*"env.A"/);
  const declared = await failure(box.call('restart', { name: 'witness', script: box.idle, port: 1e9 }));
  expect((Array.isArray(declared) ? declared[0] : declared).message).toContain('"port"');
  for (const target of ['witness', { name: 'witness', script: box.idle }]) {
    for (const [change, expected] of [
      [{ interpreter: 'no-such-program' }, 'Interpreter no-such-program is NOT AVAILABLE'],
      [{ out_file: path.join(box.folder, 'folder') }, 'Verify "out_file" failed'],
    ]) {
      const asked = typeof target === 'string' ? [target, change] : [{ ...target, ...change }];
      const error = await failure(box.call('restart', ...asked));
      expect((Array.isArray(error) ? error[0] : error).message).toContain(expected);
    }
  }
  expect(await left()).toEqual(witness);
});

// Protects: a command line is a name too where no other is given, however it looks.
test('a long command of several lines is started under a name that can be a file', async () => {
  const command = `sleep 1000\n${': x; '.repeat(200)}`;
  await box.call('start', { script: command });
  const name = (await left()).map(([each]) => each).find((each) => each !== 'witness');
  expect(name.length).toBe(235);
  expect(name.startsWith('sleep 1000 : x')).toBe(true);
  await box.call('delete', name);
  expect(await left()).toEqual(witness);
});
