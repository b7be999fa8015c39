'use strict';

const { execFileSync, spawn } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');
const { sandbox, failure, until, testOurs, packageFolder } = require('./helper.js');

/*
 * The methods that few programs call: each is there, and does what it says or fails with the reason.
 */

const box = sandbox();

const IDLE = 'setInterval(() => {}, 1000);';

testOurs('every method of pm2 7.0.4 is there, with as many arguments', () => {
  const reference = require('pm2-reference').custom.prototype;
  const { prototype } = require(packageFolder).custom;
  // These print there and have a value here, so a callback comes last.
  const longer = new Set(['report', 'generateSample']);
  const counts = (object) => (name) => [name, object[name]?.length];
  const names = Object.getOwnPropertyNames(reference).filter((name) => !longer.has(name));
  expect(names.map(counts(prototype))).toEqual(names.map(counts(reference)));
  for (const name of longer) expect(typeof prototype[name]).toBe('function');
});

// Protects: the list by which these methods are found before their file is loaded.
testOurs('every method that is loaded late is a method of the API, with as many arguments', () => {
  const { prototype } = require(packageFolder).custom;
  const late = require(path.join(packageFolder, 'src/js/further.js')).Further.prototype;
  const names = Object.getOwnPropertyNames(late).filter((name) => name !== 'constructor');
  const shape = (object) => (name) => [name, object[name]?.name, object[name]?.length];
  expect(names.map(shape(prototype))).toEqual(names.map(shape(late)));
});

testOurs('what is not there fails with the reason, by callback and by promise', async () => {
  for (const name of [
    'monit',
    'dashboard',
    'boilerplate',
    'link',
    'unlink',
    'killAgent',
    'openDashboard',
    'profile',
    'deepUpdate',
    'publish',
  ]) {
    const error = await failure(box.call(name));
    expect([name, error.code, error.message.length > 20]).toEqual([name, 'ERR_PM2_ABSENT', true]);
    await expect(box.pm2[name]()).rejects.toThrow(error.message);
  }
  expect((await failure(box.call('monit'))).message).toBe('Monit cant be called programmatically');
  expect([box.pm2.speedList(), box.pm2.exitCli(1)]).toEqual([false, false]);
});

/** A folder with stand-ins for programs in front of the PATH while `work` runs. */
async function withPrograms(programs, work) {
  for (const [name, text] of Object.entries(programs)) fs.chmodSync(box.write(`bin/${name}`, text), 0o755);
  const before = process.env.PATH;
  process.env.PATH = `${path.join(box.folder, 'bin')}:${before}`;
  try {
    return await work();
  } finally {
    process.env.PATH = before;
  }
}

function git(folder, ...args) {
  const identity = ['-c', 'user.name=t', '-c', 'user.email=t@t', '-c', 'init.defaultBranch=main'];
  return execFileSync('git', ['-C', folder, ...identity, ...args], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] }).trim();
}

/** A repository with one commit for each text in `app.js`; gives its path and the commits. */
function repository(...texts) {
  const folder = path.join(box.folder, 'origin');
  fs.mkdirSync(folder, { recursive: true });
  if (!fs.existsSync(path.join(folder, '.git'))) git(folder, 'init', '-q');
  const commits = texts.map((text) => {
    fs.writeFileSync(path.join(folder, 'app.js'), text);
    git(folder, 'add', '.');
    git(folder, 'commit', '-qm', text.slice(0, 20));
    return git(folder, 'rev-parse', 'HEAD');
  });
  return { folder, commits };
}

// It writes down what it was called with, and runs what it reads here instead of there.
const ssh = (calls) => `#!/bin/sh\necho "$@" >> ${JSON.stringify(calls)}\nexec sh -s\n`;

testOurs('deploy sets up a checkout on a host, updates it, goes back, and runs commands there', async () => {
  const { folder, commits } = repository('one', 'two');
  const at = path.join(box.folder, "it's here");
  const production = {
    user: 'me',
    host: ['a.example', { host: 'b.example', port: 23 }],
    key: '/key',
    ssh_options: ['StrictHostKeyChecking=no'],
    repo: folder,
    path: at,
    ref: 'origin/main',
    env: { GREETING: "it's me" },
    'pre-deploy-local': `echo local >> ${JSON.stringify(path.join(box.folder, 'local'))}`,
    'post-deploy': 'echo "$GREETING: $(cat app.js)" >> ../said',
  };
  const file = box.write('eco.config.js', `module.exports = { apps: [], deploy: { production: ${JSON.stringify(production)} } }`);
  const calls = path.join(box.folder, 'calls');
  await withPrograms({ ssh: ssh(calls) }, async () => {
    const deploy = (...words) => box.call('deploy', file, ['production', ...words]);
    expect((await failure(deploy())).message).toContain('run setup first');
    await deploy('setup');
    await deploy();
    expect(fs.readFileSync(path.join(at, 'said'), 'utf8')).toBe("it's me: two\nit's me: two\n");
    expect(box.read('local').split('\n')).toHaveLength(4);
    await deploy(commits[0]);
    expect(fs.readFileSync(path.join(at, 'current/app.js'), 'utf8')).toBe('one');
    const [current] = await deploy('curr');
    expect(current.trim()).toBe(commits[0]);
    expect(await deploy('exec', 'cat', 'app.js')).toEqual(['one', 'one']);
    await box.call('deploy', file, { rawArgs: ['node', 'pm2', 'deploy', file, 'production', 'revert', '3'] });
    expect(fs.readFileSync(path.join(at, 'current/app.js'), 'utf8')).toBe('two');
    expect((await failure(deploy('revert', '99'))).message).toContain('nothing was deployed 99 times ago');
  });
  const lines = fs.readFileSync(calls, 'utf8').split('\n');
  expect(lines).toContain('-o StrictHostKeyChecking=no -i /key me@a.example sh -s');
  expect(lines).toContain('-o StrictHostKeyChecking=no -p 23 -i /key me@b.example sh -s');
});

testOurs('deploy says what is missing or not allowed, and reaches no host with it', async () => {
  const file = box.write(
    'd.config.js',
    'module.exports = { deploy: { p: { host: "h", path: "/x", ref: "main" }, o: { host: "-oProxyCommand=x", repo: "r", path: "/x", ref: "m" } } }',
  );
  await withPrograms({ ssh: `#!/bin/sh\ntouch ${box.folder}/reached\n` }, async () => {
    expect((await failure(box.call('deploy', file, ['none']))).message).toBe(`none environment is not defined in ${file} file`);
    expect((await failure(box.call('deploy', file, ['__proto__']))).message).toContain('__proto__ environment is not defined');
    expect((await failure(box.call('deploy', file, ['p']))).message).toBe(`deploy.p.repo is missing in ${file}`);
    expect((await failure(box.call('deploy', file, ['o']))).message).toContain('-oProxyCommand=x is no host');
    expect((await failure(box.call('deploy', file, ['o', '; rm x']))).message).toContain('"command" argument of pm2.deploy');
    expect((await failure(box.call('deploy', 'production', []))).message).toContain('no file to deploy by');
  });
  expect(fs.existsSync(path.join(box.folder, 'reached'))).toBe(false);
});

testOurs('an app follows its checkout to the newest commit, back and forth, and is reloaded each time', async () => {
  const { folder, commits } = repository(`${IDLE} // one`);
  const work = path.join(box.folder, 'work');
  execFileSync('git', ['clone', '-q', folder, work]);
  await box.call('start', { script: path.join(work, 'app.js'), name: 'app', cwd: work, post_update: ['echo moved >> ../moved'] });
  expect((await failure(box.call('pullAndReload', 'app'))).msg).toBe('Already up to date for app');
  commits.push(...repository(`${IDLE} // two`, `${IDLE} // three`).commits);
  const head = () => git(work, 'rev-parse', 'HEAD');
  await box.call('pullAndReload', 'app');
  expect(head()).toBe(commits[2]);
  await box.call('backward', 'app');
  expect(head()).toBe(commits[1]);
  await box.call('forward', 'app');
  expect(head()).toBe(commits[2]);
  expect((await failure(box.call('forward', 'app'))).msg).toBe('No next commit for app');
  await box.call('pullCommitId', 'app', commits[0]);
  expect(head()).toBe(commits[0]);
  expect((await failure(box.call('backward', 'app'))).msg).toBe('No previous commit for app');
  expect((await failure(box.call('pullCommitId', 'app', 'abcdef1'))).msg).toContain('abcdef1 is no commit');
  expect((await failure(box.call('pullCommitId', 'app', '--hard'))).message).toContain('"commit" argument');
  expect(box.read('moved')).toBe('moved\n'.repeat(4));
  expect((await box.call('describe', 'app'))[0].pm2_env.restart_time).toBe(4);
  fs.writeFileSync(path.join(work, 'app.js'), `${IDLE} // mine`);
  expect((await failure(box.call('pullAndReload', 'app'))).message).toContain('app.js');
  expect(fs.readFileSync(path.join(work, 'app.js'), 'utf8')).toContain('mine');
  await box.call('start', { script: box.write('plain/x.js', IDLE), name: 'plain', cwd: path.join(box.folder, 'plain') });
  expect((await failure(box.call('pullAndReload', 'plain'))).msg).toBe('No versioning system found for process plain');
});

testOurs('resurrect without a callback says at once that nothing readable was saved', async () => {
  expect(box.pm2.resurrect()).toBe(false);
  box.write(path.join('h', 'dump.pm2'), '[{');
  expect(box.pm2.resurrect()).toBe(false);
  await box.call('start', { script: box.write('idle.js', IDLE) });
  await box.call('dump');
  expect(JSON.parse(await box.pm2.resurrect())).toHaveLength(1);
});

test('stdin of a program can be an app’s, until it ends', async () => {
  const script = box.write('echo.js', `process.stdin.on('data', (text) => console.log('heard ' + JSON.stringify(String(text)))); ${IDLE}`);
  await box.call('start', { script, name: 'echo' });
  await box.call('start', { script: box.write('other.js', 'setInterval(() => console.log("noise"), 20)'), name: 'other' });
  const attach = box.write(
    'attach.js',
    `const pm2 = require(${JSON.stringify(packageFolder)});
    pm2.connect(() => pm2.attach(0, '!', () => setTimeout(() => pm2.disconnect(), 300)));`,
  );
  const child = spawn(process.execPath, [attach], { env: { ...process.env, PM2_HOME: box.home }, stdio: ['pipe', 'pipe', 'inherit'] });
  let text = '';
  child.stdout.on('data', (chunk) => (text += chunk));
  const gone = new Promise((resolve) => child.on('exit', resolve));
  child.stdin.write('one\n');
  await until(() => text.includes('heard "one!"\n'));
  child.stdin.end('two\n');
  expect(text).not.toContain('noise');
  expect(await gone).toBe(0);
  await until(() => box.log('echo-out.log').includes('heard "two!"'));
});

testOurs('a report tells of daemon and processes, and of no variable', async () => {
  await box.call('start', { script: box.write('idle.js', IDLE), env: { SECRET: 'hunter2' } });
  const text = await box.call('report');
  for (const part of ['PM2 report', 'Daemon', 'System info', 'PM2 list', 'idle', 'App [idle:0] online', box.home])
    expect(text).toContain(part);
  expect(text).not.toContain('hunter2');
  expect(text.startsWith('```\n') && text.endsWith('```\n')).toBe(true);
});

testOurs('processes can be acted on by the name of an RPC method', async () => {
  const script = box.write('idle.js', IDLE);
  await box.call('_startScript', script, { name: 'a' });
  expect((await box.call('_operate', 'restartProcessId', 'a', {}))[0]).toMatchObject({ name: 'a', restart_time: 1 });
  expect((await box.call('_operate', 'stopProcessId', 'a')).map((each) => each.status)).toEqual(['stopped']);
  expect((await failure(box.call('_operate', 'killMe', 'a'))).message).toContain('"rpcMethod" argument of pm2._operate');
  expect((await failure(box.call('inspect', 'a'))).message).toBe('Unknown process');
  await box.call('_operate', 'deleteProcessId', 'all', {});
  expect(await box.call('list')).toEqual([]);
});

testOurs('samples, rules for logrotate and lists are written where they are asked for', async () => {
  const { PWD } = process.env;
  process.env.PWD = box.folder;
  try {
    await box.call('generateSample', 'simple');
    expect(require(path.join(box.folder, 'ecosystem.config.js')).apps).toEqual([{ name: 'app1', script: './app.js' }]);
    await box.call('generateSample');
    expect(box.read('ecosystem.config.js')).toContain('deploy');
  } finally {
    process.env.PWD = PWD;
  }
  const { path: file } = await box.call('logrotate', { folder: box.folder, user: 'someone' });
  expect(file).toBe(path.join(box.folder, 'pm2-someone'));
  expect(fs.readFileSync(file, 'utf8')).toMatch(/pm2\.log" ".*logs\/"\*\.log \{[\s\S]*copytruncate[\s\S]*\}/);
  expect((await failure(box.call('logrotate', { folder: box.folder, user: '../x' }))).message).toContain('options.user');
  await box.call('start', { script: box.write('idle.js', IDLE) });
  const { stdout } = await box.run(`const pm2 = require(process.env.PM2_UNDER_TEST);
    pm2.connect(async () => { await pm2.jlist(); pm2.disconnect(); })`);
  expect(JSON.parse(stdout).map((each) => each.name)).toEqual(['idle']);
});
