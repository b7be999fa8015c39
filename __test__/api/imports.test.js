'use strict';

const { spawn } = require('node:child_process');
const fs = require('node:fs');
const http = require('node:http');
const path = require('node:path');
const { stripVTControlCharacters } = require('node:util');
const { sandbox, until, testOurs, packageFolder, isReference, ROOT } = require('./helper.js');

/*
 * The files of the package that programs reach by their path, and what these give them.
 */

const box = sandbox();
const inside = (file) => require(path.join(packageFolder, file));

/** What a process writes, and its end. */
function spawned(file, env) {
  const own = Object.entries(process.env).filter(([name]) => !name.startsWith('PM2_'));
  const child = spawn(process.execPath, [file], { cwd: box.folder, env: { ...Object.fromEntries(own), PM2_HOME: box.home, ...env } });
  let text = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (text += chunk));
  const gone = new Promise((resolve) => child.on('exit', resolve));
  return { output: () => text, end: () => child.kill('SIGKILL') && gone };
}

const getJson = (port, target) =>
  new Promise((resolve, reject) => {
    http
      .get({ port, host: '127.0.0.1', path: target, agent: false }, (response) => {
        let text = '';
        response.on('data', (chunk) => (text += chunk));
        response.on('end', () => resolve([response.statusCode, JSON.parse(text), response.headers]));
      })
      .on('error', reject);
  });

test('Common tells configuration files, and reads them', async () => {
  const Common = inside('lib/Common');
  const kinds = ['e.json', 'e.yml', 'e.yaml', 'e.config.js', 'e.config.cjs', 'e.config.mjs', 'app.js', 5].map(Common.isConfigFile);
  expect(kinds).toEqual(['json', 'yaml', 'yaml', 'js', 'js', 'mjs', null, null]);
  expect(Common.getConfigFileCandidates('e')).toEqual(['e.json', 'e.yml', 'e.yaml', 'e.config.js', 'e.config.cjs', 'e.config.mjs']);
  expect(Common.parseConfig('{a: 1, /* b */ c: ["d",]}', 'x.json')).toEqual({ a: 1, c: ['d'] });
  expect(Common.parseConfig('apps:\n  - script: a.js', 'x.yml')).toEqual({ apps: [{ script: 'a.js' }] });
  const file = box.write('x.config.js', 'module.exports = { apps: [{ script: "one.js" }] }');
  const { stdout } = await box.run(`
    const { parseConfig } = require(${JSON.stringify(path.join(packageFolder, 'lib/Common'))});
    const read = () => console.log(parseConfig(null, ${JSON.stringify(file)}).apps[0].script);
    read();
    require('fs').writeFileSync(${JSON.stringify(file)}, 'module.exports = { apps: [{ script: "two.js" }] }');
    read();`);
  expect(stdout).toBe('one.js\ntwo.js\n');
  expect(() => Common.parseConfig('a: [', 'x.yml')).toThrow();
});

test('Common checks and resolves declarations as a start would', () => {
  const Common = inside('lib/Common');
  const script = box.write('app.js', '');
  const [app] = Common.verifyConfs([{ script, maxMemoryRestart: '10M', instances: '2', exec_mode: 'cluster' }]);
  expect(app).toMatchObject({ name: 'app', max_memory_restart: 10_485_760, instances: 2, exec_mode: 'cluster_mode', treekill: true });
  expect(Common.verifyConfs([])).toEqual([]);
  const bad = Common.verifyConfs([{ script, instances: true }]);
  expect(bad).toBeInstanceOf(Error);
  expect(bad.message).toContain('Expect "instances" to be a typeof [object Number], but now is [object Boolean]');
  const record = Common.prepareAppConf({ cwd: box.folder }, { script: 'app.js', name: 'x', env: { A: '1' } });
  expect(record).toMatchObject({ pm_exec_path: script, pm_cwd: box.folder, exec_interpreter: 'node', exec_mode: 'fork_mode', name: 'x' });
  expect(record.env).toMatchObject({ A: '1', PATH: process.env.PATH });
  expect(record.pm_out_log_path).toMatch(/logs\/x-out\.log$/);
  const missing = Common.prepareAppConf({ cwd: box.folder }, { script: 'none.js', name: 'x' });
  expect(missing.message).toBe(`Script not found: ${path.join(box.folder, 'none.js')}`);
  expect(() => Common.resolveAppAttributes({ cwd: box.folder }, { script: 'none.js', name: 'x' })).toThrow('Script not found');
  const declared = { name: 'x', env: { A: 1, O: { z: 1 } }, env_p: { A: 2 } };
  const merged = Common.mergeEnvironmentVariables(declared, 'p', { p: { env: { D: 1, A: 0 } } });
  expect(merged).toMatchObject({ A: 2, O: '{"z":1}', D: 1, current_conf: { name: 'x', env: { A: 2, D: 1 } } });
  expect(declared.env.O).toEqual({ z: 1 });
  expect(Common.retErr('text').message).toBe('text');
});

test('Utility has its small things', () => {
  const Utility = inside('lib/Utility.js');
  box.write('sub/package.json', '{"version":"3.2.1"}');
  expect(Utility.findPackageVersion(box.write('sub/deep/app.js', ''))).toBe('3.2.1');
  expect(Utility.whichFileExists(['/no/such', box.folder])).toBe(box.folder);
  expect(Utility.extendMix({ a: 1, b: 2 }, { a: 'null', c: 3 })).toEqual({ b: 2, c: 3 });
  expect(Utility.getCanonicModuleName('user/pm2-x#branch')).toBe('pm2-x');
  expect([Utility.checkPathIsNull('NULL'), Utility.checkPathIsNull('/dev/null'), Utility.checkPathIsNull('a')]).toEqual([
    true,
    true,
    false,
  ]);
  expect(Utility.generateUUID()).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4/);
  expect(Utility.formatCLU({ pm2_env: { env: {}, name: 'x' } })).toEqual({ name: 'x' });
});

test('the schema tells type and other names of every option', () => {
  const schema = inside('lib/API/schema.json');
  const names = (value) => [value].flat().sort();
  const reference = require('pm2-reference/lib/API/schema.json');
  for (const [name, { type, alias }] of Object.entries(reference)) {
    expect([name, names(schema[name].type)]).toEqual([name, names(type)]);
    for (const other of alias === undefined ? [] : names(alias)) expect(names(schema[name].alias)).toContain(other);
  }
});

test('the Client class can be made by itself, and the log functions print the ends of files', async () => {
  await box.call('connect');
  const Client = inside('lib/Client.js');
  const client = new Client({ pm2_home: box.home, conf: box.pm2._conf, daemon_mode: true });
  expect(await new Promise((resolve) => client.pingDaemon(resolve))).toBe(true);
  await new Promise((resolve) => client.close(resolve));
  const old = box.write('old.log', 'a\nb\nc\nunfinished');
  fs.utimesSync(old, 1e9, 1e9);
  const young = box.write('young.log', 'x\n');
  const files = [young, old, '/no/such'].map((file) => ({ path: file, app_name: '0|app', type: 'out' }));
  const log = JSON.stringify(path.join(packageFolder, 'lib/API/Log'));
  const { stdout } = await box.run(`require(${log}).tail(${JSON.stringify(files)}, 2, false, () => console.log('end'))`);
  expect(stripVTControlCharacters(stdout)).toBe(
    `${old} last 2 lines:\n0|app      | b\n0|app      | c\n\n${young} last 2 lines:\n0|app      | x\n\nend\n`,
  );
});

test('log lines can be followed by a program as text and as JSON', async () => {
  const script = box.write('talk.js', 'setInterval(() => console.log("hi"), 50)');
  await box.call('start', { script, name: 'talk' });
  // Otherwise there may be no last line yet.
  await until(() => box.log('talk-out.log') !== '');
  const library = JSON.stringify(packageFolder);
  const follow = (work) => spawned(box.write(`follow-${work.length}.js`, `const pm2 = require(${library}); ${work}`));
  const text = follow(`require(${library} + '/lib/API/Log').stream(pm2.Client, 'talk', false, false, 'out');`);
  const json = follow(`require(${library} + '/lib/API/Log').jsonStream(pm2.Client, 'all');`);
  const both = follow(`pm2.streamLogs('talk', 1, false, null, 'out');`);
  const plain = ({ output }) => stripVTControlCharacters(output());
  try {
    await until(() => /^0\|talk +\| hi$/m.test(plain(text)));
    await until(() => /"message":"hi".*"process_id":0,"app_name":"talk"/.test(plain(json)));
    await until(() => /talk-out\.log last 1 lines:\n0\|talk +\| hi\n\n0\|talk +\| hi\n/.test(plain(both)));
  } finally {
    await Promise.all([text.end(), json.end(), both.end()]);
  }
});

test('completion says what is being completed, and nothing when nothing is', async () => {
  const file = JSON.stringify(path.join(packageFolder, 'lib/completion.js'));
  const script = `const c = require(${file});
    c.complete('pm2', (error, state) => {
      if (state === undefined) return console.log('nothing', Boolean(c.isComplete()));
      c.log(['start', 'stop', 'list'], state);
      console.log(state.prev, state.last);
    })`;
  expect((await box.run(script)).stdout).toBe('nothing false\n');
  const answer = await box.run(`process.argv.splice(2, 0, 'completion'); ${script}`, {
    env: { COMP_CWORD: '1', COMP_POINT: '7', COMP_LINE: 'pm2 sto' },
  });
  expect(answer.stdout).toBe('stop\npm2 sto\n');
  expect(inside('lib/completion.js').parseOut('  -a, --all  \n  -b --both')).toEqual({ shorts: ['a', 'b'], longs: ['all', 'both'] });
});

test('the configuration store can be read and written without an instance', async () => {
  const file = JSON.stringify(path.join(packageFolder, 'lib/Configuration.js'));
  fs.mkdirSync(box.home, { recursive: true });
  fs.writeFileSync(path.join(box.home, 'module_conf.json'), '{}');
  const { stdout } = await box.run(`
    const c = require(${file});
    c.setSync('mod:a', 'x');
    c.setSyncIfNotExist('mod:a', 'y');
    c.setSyncIfNotExist('mod:b', 'z');
    c.setSync('__proto__.polluted', 'yes');
    c.set('other', 1, (error) => {
      c.unsetSync('mod:b');
      c.get('mod:a', (failed, value) => c.get('mod:none', (missing, nothing) => {
        const asked = [error, failed, value, Boolean(missing), nothing, {}.polluted ?? null];
        console.log(JSON.stringify([...asked, c.getSync('mod'), c.getSync('none'), c.getAllSync()]));
      }));
    });`);
  expect(JSON.parse(stdout)).toEqual([null, null, 'x', true, null, null, { a: 'x' }, null, { mod: { a: 'x' }, other: 1 }]);
});

testOurs('the web interface shows the list on the loopback address, and no environment', async () => {
  const env = { SECRET: 'hunter2' };
  await box.call('start', { script: box.write('idle.js', 'setInterval(() => {}, 1000)'), env });
  const web = spawned(path.join(packageFolder, 'lib/HttpInterface.js'), { PM2_WEB_PORT: '0' });
  try {
    const [, port] = await until(() => /Web interface listening on {2}127\.0\.0\.1:(\d+)/.exec(web.output()));
    const [status, state, headers] = await getJson(port, '/?x');
    expect([status, headers['content-type'], headers['access-control-allow-origin']]).toEqual([200, 'application/json', '*']);
    expect(Object.keys(state)).toEqual(['system_info', 'monit', 'processes']);
    expect(Object.keys(state.monit)).toEqual(['loadavg', 'total_mem', 'free_mem', 'cpu', 'interfaces']);
    expect(state.processes[0]).toMatchObject({ name: 'idle', pm_id: 0, pm2_env: { status: 'online' } });
    expect(JSON.stringify(state)).not.toContain('hunter2');
    expect((await getJson(port, '/other')).slice(0, 2)).toEqual([404, { err: '404' }]);
  } finally {
    await web.end();
  }
  const open = spawned(path.join(packageFolder, 'lib/HttpInterface.js'), { PM2_WEB_PORT: '0', PM2_WEB_ENV: 'true' });
  try {
    const [, port] = await until(() => /127\.0\.0\.1:(\d+)/.exec(open.output()));
    expect((await getJson(port, '/'))[1].processes[0].pm2_env.env.SECRET).toBe('hunter2');
  } finally {
    await open.end();
  }
});

test('none of these files does anything when it is loaded', async () => {
  if (isReference) return;
  const files = [
    'constants',
    'paths',
    'lib/API.js',
    'lib/API/Log',
    'lib/API/schema.json',
    'lib/Common',
    'lib/Utility.js',
    'lib/completion.js',
  ];
  const all = [...files, 'lib/Client.js', 'lib/Configuration.js', 'modules/pm2-io-bpm'].map((file) => path.join(ROOT, file));
  const { code, stdout, stderr } = await box.run(`for (const file of ${JSON.stringify(all)}) require(file);`);
  expect([code, stdout, stderr]).toEqual([0, '', '']);
  expect(fs.existsSync(box.home)).toBe(false);
});
