'use strict';

/* Options about restarts and ends: what each is seen to do. The form of an entry is in `every.test.js`. */

const net = require('node:net');
const path = require('node:path');
const { isAlive, until } = require('../../api/helper.js');

const IDLE = 'setInterval(() => {}, 1000);';
const FAILING = 'process.exit(3);';

/** An app of this source, and one look at its record when `when` holds. */
function living(source, options, when, look, expected) {
  return {
    app: (box, name) => ({ script: box.write(`${name}/${name}.js`, source), ...options(box) }),
    seen: async (_box, name, record) => {
      await until(async () => when(await record()), `${name} to get there`);
      return look(await record());
    },
    expected: () => expected,
  };
}

/** What a server of this machine says to a client. */
function told(target) {
  return new Promise((resolve, reject) => {
    let text = '';
    const socket = net.connect({ host: '127.0.0.1', ...target });
    socket
      .on('data', (chunk) => (text += chunk))
      .on('end', () => resolve(text))
      .on('error', reject);
  });
}

const status = (word) => (record) => record.status === word;

/** An app whose folder is watched, and whether the change of a file there restarts it. Another change afterwards always does. */
function watching(options, ignored) {
  return {
    app: (box, name) => {
      const script = box.write(`${name}/${name}.js`, IDLE);
      box.write(`${name}/inner/file.txt`, '0');
      return { script, cwd: path.dirname(script), watch: true, kill_timeout: 300, ...options };
    },
    seen: async (box, name, record) => {
      await until(() => box.read('h/pm2.log').includes(`Start watching ${name}\n`), 'watching');
      if (ignored !== undefined) {
        box.write(`${name}/${ignored}`, String(Date.now()));
        await untilWatched(box, name, record);
        return box.read('h/pm2.log').includes(`Change detected on path ${path.join(box.folder, name, ignored)}`);
      }
      await untilWatched(box, name, record);
      return (await record()).restart_time > 0;
    },
    expected: () => ignored === undefined,
  };
}

/** Changes a file until its app has been restarted: the walk through the folder may not have come so far. */
async function untilWatched(box, name, record) {
  const before = (await record()).restart_time;
  let count = 0;
  await until(async () => {
    count += 1;
    if (count % 10 === 1) box.write(`${name}/inner/file.txt`, String(count));
    return (await record()).restart_time > before;
  }, 'a restart by a change');
}

/** An app that does not end by itself when it is asked to, and what `stop` comes to. */
function stopping(source, options, expected) {
  return {
    app: (box, name) => ({ script: box.write(`${name}.js`, source), ...options }),
    seen: async (box, name) => {
      await until(() => box.log(`${name}-out.log`).includes('up'), 'the start');
      await box.call('stop', name);
      return box.log(`${name}-out.log`).trim().split('\n');
    },
    expected: () => expected,
  };
}

module.exports = {
  autostart: living(
    IDLE,
    () => ({ autostart: false }),
    status('stopped'),
    ({ restart_time }) => restart_time,
    0,
  ),
  autorestart: living(
    FAILING,
    () => ({ autorestart: false }),
    status('stopped'),
    ({ restart_time }) => restart_time,
    0,
  ),
  stop_exit_codes: living(
    FAILING,
    () => ({ stop_exit_codes: [7, 3] }),
    status('stopped'),
    ({ exit_code }) => exit_code,
    3,
  ),
  max_restarts: living(
    FAILING,
    () => ({ max_restarts: 4, min_uptime: '1h' }),
    status('errored'),
    ({ restart_time }) => restart_time,
    3,
  ),
  min_uptime: living(
    // Longer than the default for a stable run, shorter than what this one asks for.
    'setTimeout(() => process.exit(1), 1100);',
    () => ({ min_uptime: '1h', max_restarts: 2 }),
    status('errored'),
    ({ restart_time }) => restart_time,
    1,
  ),
  restart_delay: living(
    FAILING,
    () => ({ restart_delay: 3_600_000 }),
    status('waiting restart'),
    ({ restart_time }) => restart_time,
    0,
  ),
  exp_backoff_restart_delay: living(
    FAILING,
    () => ({ exp_backoff_restart_delay: 10, max_restarts: 100, min_uptime: '1h' }),
    ({ prev_restart_delay }) => prev_restart_delay > 30,
    ({ unstable_restarts }) => unstable_restarts > 1,
    true,
  ),
  max_memory_restart: living(
    IDLE,
    () => ({ max_memory_restart: '1M' }),
    ({ restart_time }) => restart_time > 0,
    ({ max_memory_restart }) => max_memory_restart,
    1048576,
  ),
  cron_restart: living(
    IDLE,
    () => ({ cron_restart: '* * * * * *' }),
    ({ restart_time }) => restart_time > 0,
    ({ status }) => typeof status,
    'string',
  ),
  wait_ready: {
    app: () => null,
    seen: async (box) => {
      const script = box.write('ready.js', `process.on('message', (word) => word.data === 'go' && process.send('ready')); ${IDLE}`);
      const started = box.call('start', { name: 'waits', script, wait_ready: true, listen_timeout: 3_600_000 });
      const found = async () => (await box.call('describe', 'waits'))[0]?.pm2_env;
      await until(async () => (await found())?.status === 'launching', 'the launch');
      await until(async () => {
        // The script hears nothing before it listens.
        await box.call('sendDataToProcessId', (await found()).pm_id, { type: 'process:msg', topic: 'go', data: 'go' }).catch(() => {});
        return (await found()).status === 'online';
      }, 'readiness');
      return (await started).length;
    },
    expected: () => 1,
  },
  listen_timeout: {
    app: () => null,
    // The default would do too, but not within the patience of a test: the point is that it ends at all.
    seen: async (box) => {
      const script = box.write('mute.js', IDLE);
      await box.call('start', { name: 'mute', script, wait_ready: true, listen_timeout: 100 });
      const [{ pm2_env }] = await box.call('describe', 'mute');
      return [pm2_env.status, pm2_env.listen_timeout];
    },
    expected: () => ['online', 100],
  },
  kill_timeout: {
    app: (box, name) => ({
      script: box.write(`${name}.js`, `process.on('SIGINT', () => console.log('asked')); console.log('up'); ${IDLE}`),
      kill_timeout: 60_000,
    }),
    seen: async (box, name, record) => {
      await until(() => box.log(`${name}-out.log`).includes('up'), 'the start');
      const [{ pid }] = await box.call('describe', name);
      const stopped = box.call('stop', name);
      await until(() => box.log(`${name}-out.log`).includes('asked'), 'the signal');
      const { status: during } = await record();
      process.kill(pid, 'SIGKILL');
      await stopped;
      return [during, (await record()).status];
    },
    expected: () => ['stopping', 'stopped'],
  },
  shutdown_with_message: stopping(
    `process.on('SIGINT', () => console.log('signal'));
     process.on('message', (word) => { console.log(word); process.exit(0); }); console.log('up');`,
    { shutdown_with_message: true, kill_timeout: 60_000 },
    ['up', 'shutdown'],
  ),
  treekill: {
    app: (box, name) => ({
      script: box.write(
        `${name}.js`,
        `const child = require('node:child_process').spawn('sleep', ['1000'], { stdio: 'ignore', detached: true });
         console.log(child.pid); ${IDLE}`,
      ),
      treekill: false,
    }),
    seen: async (box, name) => {
      const child = Number(await until(() => box.log(`${name}-out.log`).endsWith('\n') && box.log(`${name}-out.log`), 'the child'));
      await box.call('stop', name);
      const lived = isAlive(child);
      process.kill(child, 'SIGKILL');
      await until(() => !isAlive(child), 'its end');
      return lived;
    },
    expected: () => true,
  },
  sticky: {
    app: (box, name) => ({
      script: box.write(
        `${name}.js`,
        "const server = require('node:net').createServer((socket) => socket.end(String(process.pid))); server.listen(0, () => console.log(server.address().port));",
      ),
      instances: 2,
      sticky: true,
      merge_logs: true,
    }),
    // Clients from several addresses of this machine: whether each always comes to the same worker, and how many workers there are.
    seen: async (box, name) => {
      const port = Number(
        await until(() => box.log(`${name}-out.log`).split('\n').length === 3 && box.log(`${name}-out.log`).split('\n')[0]),
      );
      const clients = Array.from({ length: 16 }, (_, i) => `127.0.0.${i + 1}`);
      const answers = await Promise.all(clients.map((localAddress) => Promise.all([1, 2, 3].map(() => told({ port, localAddress })))));
      return [answers.every((three) => new Set(three).size === 1), new Set(answers.flat()).size];
    },
    expected: () => [true, 2],
  },
  watch: watching({}),
  ignore_watch: watching({ ignore_watch: ['left.txt'] }, 'left.txt'),
  watch_options: watching({ ignore_watch: 'nothing', watch_options: { ignored: '**/left.txt' } }, 'left.txt'),
  watch_delay: {
    ...watching({ watch_delay: '1h' }),
    // Somebody who watches the same folder without a delay tells when the change has been seen.
    seen: async (box, name, record) => {
      const witness = { ...watching({}).app(box, name), name: `${name}-witness`, force: true };
      await box.call('start', witness);
      const witnessed = async () => (await box.call('describe', witness.name))[0].pm2_env;
      await untilWatched(box, name, witnessed);
      const before = (await record()).restart_time;
      await box.call('restart', name, { watch_delay: 50 });
      await box.call('delete', witness.name);
      await untilWatched(box, name, record);
      return before;
    },
    expected: () => 0,
  },
};
