'use strict';

/* `watch` and what goes with it: what counts as a change, what is ignored, how often it restarts, when it ends. */

const { spawnSync } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');
const { sandbox, until, daemonPid } = require('../api/helper.js');

const box = sandbox();
const WATCHED = { name: 'w', watch: true, kill_timeout: 500 };

async function restarts(name = 'w') {
  const [found] = await box.call('describe', name);
  return found.pm2_env.restart_time;
}

async function record() {
  return (await box.call('describe', 'w'))[0].pm2_env;
}

const log = () => box.read('h/pm2.log');

/** Starts an app in a folder of its own (the home must not be watched) and waits until the folder is watched. */
async function startWatched(options) {
  const script = box.write('app/app.js', 'setInterval(() => {}, 1000);');
  await box.call('start', { ...WATCHED, script, cwd: path.dirname(script), ...options });
  await until(() => log().includes('[Watch] Start watching w'), 'watching');
  await watching();
}

/** The walk is done when the daemon has nothing more to add. */
async function watching() {
  const pid = daemonPid(box.home);
  let before = -1;
  await until(() => {
    const now = inotify(pid);
    const isSettled = now === before;
    before = now;
    return isSettled;
  }, 'the end of the walk');
}

function inotify(pid) {
  let count = 0;
  for (const fd of fs.readdirSync(`/proc/${pid}/fdinfo`)) {
    try {
      count += fs.readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'utf8').split('inotify wd:').length - 1;
    } catch {
      // Closed meanwhile.
    }
  }
  return count;
}

const quiet = (ms = 700) => new Promise((resolve) => setTimeout(resolve, ms));

/** A change counts when its app is online: in the midst of a restart there will be a look at it anyway. */
const restarted = (count) =>
  until(async () => {
    const { restart_time, status } = await record();
    return restart_time >= count && status === 'online';
  }, `restart ${count}`);

/** A new file that is whole at once: one change, and not one when it is made and another when it is written. */
function put(name) {
  fs.mkdirSync(path.join(box.folder, path.dirname(name)), { recursive: true });
  fs.renameSync(box.write('aside', 'x'), path.join(box.folder, name));
}

/** One change of a file that is there. */
const touch = (name) => fs.appendFileSync(path.join(box.folder, name), '\n');

test('a changed, a new, a removed and a renamed file each restart the app', async () => {
  await startWatched();
  touch('app/app.js');
  await restarted(1);
  expect(log()).toContain(`Change detected on path ${path.join(box.folder, 'app/app.js')} for app w - restarting`);
  put('app/new.txt');
  await restarted(2);
  fs.renameSync(path.join(box.folder, 'app/new.txt'), path.join(box.folder, 'app/other.txt'));
  await restarted(3);
  fs.unlinkSync(path.join(box.folder, 'app/other.txt'));
  await restarted(4);
  expect((await record()).watch).toBe(true);
});

test('a burst of changes restarts once', async () => {
  await startWatched();
  // Whoever writes them may be halted in between; the daemon hears of all of them together.
  const daemon = daemonPid(box.home);
  process.kill(daemon, 'SIGSTOP');
  for (let index = 0; index < 200; index += 1) box.write(`app/f${index}`, 'x');
  process.kill(daemon, 'SIGCONT');
  await restarted(1);
  await quiet();
  expect(await restarts()).toBe(1);
});

test('folders that come later are watched, and what a link leads to', async () => {
  const outside = path.dirname(box.write('outside/a.js', '1'));
  fs.mkdirSync(path.join(box.folder, 'app'), { recursive: true });
  fs.symlinkSync(outside, path.join(box.folder, 'app/link'));
  fs.symlinkSync(path.join(box.folder, 'app'), path.join(outside, 'loop'));
  await startWatched();
  touch('outside/a.js');
  await restarted(1);
  fs.mkdirSync(path.join(box.folder, 'app/later'));
  await restarted(2);
  fs.mkdirSync(path.join(box.folder, 'app/later/deep'));
  await restarted(3);
  put('app/later/deep/x.js');
  await restarted(4);
});

test('dots and node_modules are ignored when nothing is said, and links when watch_options says so', async () => {
  const outside = path.dirname(box.write('outside/a.js', '1'));
  fs.mkdirSync(path.join(box.folder, 'app/node_modules'), { recursive: true });
  fs.symlinkSync(outside, path.join(box.folder, 'app/link'));
  await startWatched({ watch_options: { followSymlinks: false } });
  box.write('app/.env', 'x');
  box.write('app/node_modules/m/index.js', 'x');
  box.write('outside/a.js', '2');
  await quiet();
  expect(await restarts()).toBe(0);
});

test('ignore_watch takes paths, globs and the text of regular expressions', async () => {
  for (const folder of ['logs', 'tmp', 'src']) fs.mkdirSync(path.join(box.folder, 'app', folder), { recursive: true });
  await startWatched({ ignore_watch: ['logs', '**/*.tmp', '\\.cache$'] });
  expect((await record()).ignore_watch).toEqual(['logs', '**/*.tmp', '\\.cache$']);
  box.write('app/logs/a/b.log', 'x');
  box.write('app/src/x.tmp', 'x');
  box.write('app/src/x.cache', 'x');
  await quiet();
  expect(await restarts()).toBe(0);
  box.write('app/src/x.js', 'x');
  await restarted(1);
});

test('an empty ignore_watch ignores nothing, a dot and a star what begins with a dot', async () => {
  for (const folder of ['node_modules', 'src']) fs.mkdirSync(path.join(box.folder, 'app', folder), { recursive: true });
  await startWatched({ ignore_watch: [] });
  box.write('app/node_modules/x.js', 'x');
  await restarted(1);
  await box.call('delete', 'w');
  await startWatched({ ignore_watch: ['.*'] });
  box.write('app/.env', 'x');
  await quiet();
  expect(await restarts()).toBe(0);
  box.write('app/src/x.js', 'x');
  await restarted(1);
});

test('watch takes paths and globs', async () => {
  for (const folder of ['server', 'client', 'lib']) fs.mkdirSync(path.join(box.folder, 'app', folder), { recursive: true });
  await startWatched({ watch: ['server', 'lib/*.js'] });
  expect((await record()).watch).toEqual(['server', 'lib/*.js']);
  box.write('app/client/x.js', 'x');
  box.write('app/lib/x.css', 'x');
  await quiet();
  expect(await restarts()).toBe(0);
  put('app/lib/x.js');
  await restarted(1);
  put('app/server/x');
  await restarted(2);
});

test('watch_delay waits', async () => {
  await startWatched({ watch_delay: 800 });
  const start = Date.now();
  box.write('app/x', 'x');
  await restarted(1);
  expect(Date.now() - start).toBeGreaterThanOrEqual(800);
});

test('files can be polled where the file system reports nothing', async () => {
  await startWatched({ watch_options: { usePolling: true, interval: 50 } });
  await quiet(300);
  box.write('app/x', 'x');
  await restarted(1);
});

test('an app that was given up is started by a change', async () => {
  await startWatched({ autorestart: false });
  const replace = (text) => fs.renameSync(box.write('aside', text), path.join(box.folder, 'app/app.js'));
  replace('syntax error');
  await until(async () => (await record()).status === 'stopped', 'the end');
  replace('setInterval(() => {}, 1000);');
  await until(async () => (await record()).status === 'online', 'a start');
});

test('stop ends watching, restart can begin it, and nobody watches costs nothing', async () => {
  await startWatched();
  const threads = () => fs.readdirSync(`/proc/${daemonPid(box.home)}/task`).length;
  expect(threads()).toBeGreaterThan(1);
  await box.call('stop', 'w');
  expect((await record()).watch).toBe(false);
  await until(() => threads() === 1, 'the end of the threads');
  await box.call('restart', 'w');
  box.write('app/x', 'x');
  await quiet();
  expect(await restarts()).toBe(0);
  await box.call('restart', 'w', { watch: true });
  const before = await restarts();
  await watching();
  touch('app/x');
  await restarted(before + 1);
  expect(log()).toContain('[Watch] Stop watching w');
});

test('startWatch, stopWatch and toggleWatch switch it', async () => {
  const script = box.write('app/app.js', 'setInterval(() => {}, 1000);');
  await box.call('start', { ...WATCHED, script, cwd: path.dirname(script), watch: false });
  const remote = (...args) => new Promise((resolve) => box.pm2.Client[args[0]](...args.slice(1), resolve));
  const isOn = async () => (await record()).watch;
  await remote('startWatch', 'restartProcessId', { id: 0 });
  expect(await isOn()).toBe(true);
  await until(() => log().includes('[Watch] Start watching w'), 'watching');
  await watching();
  box.write('app/x', 'x');
  await restarted(1);
  await remote('toggleWatch', 'restartProcessId', { id: 0 });
  expect(await isOn()).toBe(false);
  await remote('toggleWatch', 'restartProcessId', { id: 0 });
  expect(await isOn()).toBe(true);
  await remote('stopWatch', 'stopProcessId', 0);
  expect(await isOn()).toBe(false);
});

test('a file that is written as soon as its app is online restarts it, though its folder is not watched yet', async () => {
  // Protects: a listener of `online` may count on the watch. It takes long to come to a folder that lies deep; what was in it before
  // is no change.
  const deep = 'app/' + 'd/'.repeat(400);
  box.write(`${deep}before.js`, '1');
  const script = box.write('app/app.js', 'setInterval(() => {}, 1000);');
  const bus = await box.call('launchBus');
  let written;
  bus.on('process:event', ({ event }) => {
    if (event !== 'online' || written) return;
    written = path.join(box.folder, deep, 'new.json');
    put(`${deep}new.json`);
  });
  await box.call('start', { ...WATCHED, script, cwd: path.dirname(script), watch: ['**'] });
  await restarted(1);
  expect(log()).toContain(`Change detected on path ${written} for app w - restarting`);
  await quiet();
  expect(await restarts()).toBe(1);
});

test('a path that cannot be watched is said in the log, and the app runs', async () => {
  const script = box.write('app/app.js', 'setInterval(() => {}, 1000);');
  await box.call('start', { ...WATCHED, script, watch: ['/nowhere/at/all'] });
  await until(() => log().includes('[Watch] w: failed to watch /nowhere/at'), 'the complaint');
  expect((await record()).status).toBe('online');
  expect(await restarts()).toBe(0);
});

/** A namespace of its own has limits of its own; not every machine lets everybody have one. */
const limited = (limit, ...command) =>
  spawnSync('unshare', ['-Ur', 'sh', '-c', `echo ${limit} > /proc/sys/user/max_inotify_watches && exec "$@"`, 'sh', ...command]);
const testLimited = limited(3, 'true').status === 0 ? test : test.skip;

testLimited('more folders than the system lets anybody watch are said in the log with what helps, and the app runs', () => {
  // Protects: half a watch is none, and is told; the app is none the worse for it.
  for (let index = 0; index < 5; index += 1) box.write(`app/f${index}/x`, 'x');
  const app = {
    name: 'w',
    script: box.write('app/app.js', 'setInterval(() => {}, 1000);'),
    cwd: path.join(box.folder, 'app'),
    watch: true,
  };
  const script = box.write(
    'start.js',
    `process.env.PM2_HOME = ${JSON.stringify(box.home)};
     const { readFileSync } = require('node:fs');
     const pm2 = require(${JSON.stringify(path.join(__dirname, '../..'))});
     const fail = (error) => { if (error) { console.error(error); process.exit(1); } };
     pm2.start(${JSON.stringify(app)}, (error) => {
       fail(error);
       const wait = () => {
         if (!readFileSync(process.env.PM2_HOME + '/pm2.log', 'utf8').includes('ENOSPC')) return setTimeout(wait, 20);
         pm2.list((error, [found]) => {
           fail(error);
           console.log(found.pm2_env.status, found.pm2_env.restart_time);
           pm2.killDaemon(() => process.exit());
         });
       };
       wait();
     });`,
  );
  const { status, stdout, stderr } = limited(3, process.execPath, script);
  expect([status, `${stdout}`, `${stderr}`]).toEqual([0, 'online 0\n', '']);
  expect(log()).toMatch(/\[Watch\] w: failed to watch .*ENOSPC.*raise fs\.inotify\.max_user_watches or ignore more with ignore_watch/);
});
