'use strict';

/* Options about what runs and where: what each is seen to do. The form of an entry is in `every.test.js`. */

const { call, failure, until } = require('../../api/helper.js');

const isRoot = process.getuid() === 0;

/** A program that says what it is asked for and stays. */
const tells = (expression) => `console.log(JSON.stringify(${expression})); setInterval(() => {}, 1000);`;

/** An app that tells the value of an expression once, and the check of it. */
function telling(expression, options, expected) {
  return {
    app: (box, name) => ({ script: box.write(`${name}.js`, tells(expression)), ...options(box) }),
    seen: async (box, name) => JSON.parse(await line(box, name)),
    expected,
  };
}

/** The same of a shell script. */
function shellTelling(words, options, expected) {
  return {
    app: (box, name) => ({ script: box.write(`${name}.sh`, `echo "${words}"; exec sleep 1000\n`), cwd: '/', ...options(box) }),
    seen: async (box, name) => (await line(box, name)).trim(),
    expected,
  };
}

/** An option that decides nothing here: it is in the record, and the app runs. */
function kept(options, expected = options) {
  return {
    app: (box) => ({ script: box.idle, ...options }),
    seen: async (_box, _name, record) => {
      const { status, ...rest } = await record();
      return [status, Object.fromEntries(Object.keys(expected).map((key) => [key, rest[key]]))];
    },
    expected: () => ['online', expected],
  };
}

/** An option that only another call shows. */
const apart = (seen, expected) => ({ app: () => null, seen, expected });

module.exports = {
  script: {
    app: (box) => ({ script: box.idle }),
    seen: async (_box, _name, record) => (await record()).pm_exec_path,
    expected: (box) => box.idle,
  },
  name: {
    app: (box) => ({ name: 'called', script: box.write('anything.js', tells('process.env.name')) }),
    seen: async (box) => JSON.parse(await line(box, 'called')),
    expected: () => 'called',
  },
  name_prefix: apart(
    async (box) => {
      await box.call('start', box.write('prefix.json', JSON.stringify([{ name: 'late', script: box.idle }])), { name_prefix: 'first' });
      return (await box.call('describe', 'first:late')).length;
    },
    () => 1,
  ),
  namespace: apart(
    async (box) => {
      await box.call('start', { name: 'spaced', script: box.idle, namespace: 'outer' });
      return (await box.call('stop', 'outer')).map(({ name, namespace }) => [name, namespace]);
    },
    () => [['spaced', 'outer']],
  ),
  cwd: telling(
    '[process.cwd(), process.env.PWD]',
    () => ({ cwd: '/' }),
    () => ['/', '/'],
  ),
  args: telling(
    'process.argv.slice(2)',
    () => ({ args: 'one "two words" 3' }),
    () => ['one', 'two words', '3'],
  ),
  exec_interpreter: {
    app: (box, name) => ({ script: box.write(`${name}.txt`, 'echo "run by a shell"; exec sleep 1000\n'), exec_interpreter: 'sh' }),
    seen: line,
    expected: () => 'run by a shell\n',
  },
  node_args: telling(
    'process.execArgv',
    () => ({ node_args: ['--stack-size=900', '--no-warnings'] }),
    () => ['--stack-size=900', '--no-warnings'],
  ),
  env: telling(
    '[process.env.TEXT, process.env.NUMBER, process.env.OBJECT]',
    () => ({ env: { TEXT: 'a b', NUMBER: 7, OBJECT: { a: 1 } } }),
    () => ['a b', '7', '{"a":1}'],
  ),
  'env_*': apart(
    async (box) => {
      const script = box.write('named.js', tells('[process.env.A, process.env.B]'));
      const app = { name: 'named', script, env: { A: 'plain', B: 'b' }, env_stage: { A: 'stage' } };
      await box.call('start', app, { env: 'stage' });
      return JSON.parse(await line(box, 'named'));
    },
    () => ['stage', 'b'],
  ),
  filter_env: telling(
    '[process.env.EFFECT_SECRET, process.env.EFFECT_OTHER]',
    () => ({ filter_env: ['SECRET'] }),
    () => [null, 'other'],
  ),
  port: telling(
    'process.env.PORT',
    () => ({ port: 3100 }),
    () => '3100',
  ),
  io: telling(
    'process.env.io',
    () => ({ io: { apm: { tracing: true } } }),
    () => '{"apm":{"tracing":true}}',
  ),
  instances: {
    app: (box) => ({ script: box.idle, instances: 3, exec_mode: 'fork' }),
    seen: async (box, name) => (await box.call('describe', name)).map(({ pid, pm2_env }) => [pid > 0, pm2_env.instances]),
    expected: () => [
      [true, 3],
      [true, 3],
      [true, 3],
    ],
  },
  exec_mode: telling(
    'require("node:cluster").isWorker',
    () => ({ exec_mode: 'cluster', merge_logs: true }),
    () => true,
  ),
  execute_command: telling(
    'require("node:cluster").isWorker',
    () => ({ execute_command: true, instances: 1, merge_logs: true }),
    () => false,
  ),
  instance_var: {
    app: (box, name) => ({
      script: box.write(`${name}.js`, tells('[process.env.NUMBER_OF_MINE, process.env.NODE_APP_INSTANCE]')),
      instances: 2,
      exec_mode: 'fork',
      merge_logs: true,
      instance_var: 'NUMBER_OF_MINE',
    }),
    seen: async (box, name) => (await until(() => lines(box, name, 2), 'two lines')).sort(),
    expected: () => ['["0",null]', '["1",null]'],
  },
  increment_var: {
    app: (box, name) => ({
      script: box.write(`${name}.js`, tells('process.env.COUNTED')),
      instances: 2,
      exec_mode: 'fork',
      merge_logs: true,
      increment_var: 'COUNTED',
      env: { COUNTED: 4000 },
    }),
    seen: async (box, name) => (await until(() => lines(box, name, 2), 'two lines')).sort(),
    expected: () => ['"4000"', '"4001"'],
  },
  username: kept({ username: 'somebody' }, { username: require('node:os').userInfo().username }),
  uid: isRoot
    ? shellTelling(
        '$(id -u)',
        () => ({ uid: 65534 }),
        () => '65534',
      )
    : apart(
        async (box) => (await failure(box.call('start', { script: box.idle, uid: 1, force: true }))).message,
        () => 'To use UID and GID please run PM2 as root',
      ),
  gid: isRoot
    ? shellTelling(
        '$(id -g)',
        () => ({ gid: 65534 }),
        () => '65534',
      )
    : apart(
        async (box) => (await failure(box.call('start', { script: box.idle, gid: 1, force: true }))).message,
        () => 'To use UID and GID please run PM2 as root',
      ),
  umask: shellTelling(
    '$(umask)',
    () => ({ umask: '037' }),
    () => '0037',
  ),
  force: apart(
    async (box) => {
      const script = box.write('twice.js', 'setInterval(() => {}, 1000);');
      await box.call('start', script);
      const { message } = await failure(box.call('start', script));
      await box.call('start', script, { force: true });
      return [message, (await box.call('describe', 'twice')).length];
    },
    () => ['Script already launched', 2],
  ),
  append_env_to_name: apart(
    async (box) => {
      await box.call('start', { name: 'staged', script: box.idle, append_env_to_name: true }, { env: 'test' });
      return (await box.call('describe', 'staged-test')).length;
    },
    () => 1,
  ),
  write: apart(
    async (box) => {
      const before = process.env.PWD;
      process.env.PWD = box.folder;
      try {
        await box.call('start', box.write('written.js', 'setInterval(() => {}, 1000);'), { write: true, kill_timeout: 700 });
      } finally {
        process.env.PWD = before;
      }
      const { name, kill_timeout } = JSON.parse(box.read('written-pm2.json'));
      return [name, kill_timeout];
    },
    () => ['written', 700],
  ),
  install_url: kept({ install_url: '/somewhere/module.tgz' }),
  post_update: kept({ post_update: ['npm install'] }),
  vizion: kept({ vizion: false }),
  trace: kept({ trace: true }),
  disable_trace: kept({ disable_trace: true }, { trace: false }),
  v8: kept({ v8: true }),
  event_loop_inspector: kept({ event_loop_inspector: true }),
  deep_monitoring: kept({ deep_monitoring: true }),
  windowsHide: kept({ windowsHide: false }),
  kill_retry_time: kept({ kill_retry_time: 250 }),
  source_map_support: traced({ source_map_support: true }, 'original.ts:3'),
  disable_source_map_support: traced({ disable_source_map_support: true }, 'disable-source-map-support-app.js:1'),
  pmx: reported({ pmx: false }),
  automation: reported({ automation: false }),
};

/** What an app has said, once its first line is whole. */
function line(box, name) {
  return until(() => box.log(`${name}-out.log`).endsWith('\n') && box.log(`${name}-out.log`), `what ${name} says`);
}

function lines(box, name, count) {
  const found = box.log(`${name}-out.log`).split('\n').slice(0, -1);
  return found.length >= count && found;
}

/** A script of one line which says that it was made of line 3 of `original.ts`, and throws. The map lies elsewhere than beside it. */
function traced(options, expected) {
  const map = { version: 3, sources: ['original.ts'], names: [], mappings: 'AAEA' };
  return {
    app: (box, name) => {
      const url = `data:application/json;base64,${Buffer.from(JSON.stringify(map)).toString('base64')}`;
      return {
        script: box.write(`${name}-app.js`, `throw new Error('traced')\n//# sourceMappingURL=${url}\n`),
        autorestart: false,
        ...options,
      };
    },
    seen: async (box, name, record) => {
      await until(async () => (await record()).status === 'stopped', 'its end');
      return box.log(`${name}-error.log`).includes(expected);
    },
    expected: () => true,
  };
}

/** Whether an exception of the app is reported; another app's report shows that this one's would have come. */
function reported(options) {
  return apart(
    async (box) => {
      const name = `silent-${Object.keys(options)[0]}`;
      const pm2 = box.instance();
      const bus = await call(pm2, 'launchBus');
      const found = [];
      bus.on('process:exception', (packet) => found.push(packet.process.name));
      const script = box.write('thrower.js', 'setTimeout(() => { throw new Error("thrown"); }, 20);');
      await box.call('start', { name, script, autorestart: false, ...options });
      await until(async () => (await box.call('describe', name))[0].pm2_env.status === 'stopped', 'the end of the silent one');
      await box.call('start', { name: `heard-${name}`, script, autorestart: false });
      await until(() => found.includes(`heard-${name}`), 'the report of the other');
      return found.includes(name);
    },
    () => false,
  );
}
