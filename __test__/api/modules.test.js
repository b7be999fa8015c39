'use strict';

const { execFileSync } = require('node:child_process');
const fs = require('node:fs');
const http = require('node:http');
const path = require('node:path');
const { sandbox, failure, until, testOurs, isReference } = require('./helper.js');
const { canonicName, isSafe } = require('../../src/js/module_name.js');

/*
 * Modules: what is installed, what runs of it, that it lives with the daemon, and that a failed installation leaves what was there.
 * Only folders and tarballs of the test's own; a stand-in for npm copies a folder.
 */

const box = sandbox();

const APP = 'setInterval(() => {}, 1000);';
const stored = () => JSON.parse(box.read(path.join(box.home, 'module_conf.json')));
const installed = (name) => path.join(box.home, 'modules', name);
const states = async () => (await box.call('list')).map(({ name, pm2_env }) => [name, pm2_env.status, pm2_env.version]);

/** A tarball of a module, as `pm2.package` makes them. */
function tarball(name, version, manifest, files = { 'app.js': APP }) {
  const folder = path.join(box.folder, `src-${version}`, 'module');
  fs.mkdirSync(folder, { recursive: true });
  fs.writeFileSync(path.join(folder, 'package.json'), JSON.stringify({ name, version, ...manifest }));
  for (const [file, text] of Object.entries(files)) fs.writeFileSync(path.join(folder, file), text);
  const archive = path.join(box.folder, `${name}-${version}.tar.gz`);
  execFileSync('tar', ['-czf', archive, '-C', path.dirname(folder), 'module']);
  return archive;
}

const TWO = {
  pm2: [
    { name: 'first', script: 'app.js' },
    { name: 'second', script: './app.js' },
  ],
};

/** A program called npm, in front of the PATH, that installs by copying a folder, or fails if there is none. */
async function withNpm(work) {
  const npm = box.write(
    'bin/npm',
    `#!${process.execPath}
    const fs = require('fs'); const path = require('path');
    const [, what] = process.argv.slice(2); const prefix = process.argv.at(-1);
    if (!fs.existsSync(what)) { console.error('npm ERR! 404 no such package'); process.exit(1); }
    const { name } = JSON.parse(fs.readFileSync(path.join(what, 'package.json'), 'utf8'));
    fs.cpSync(what, path.join(prefix, 'node_modules', name), { recursive: true });
    fs.writeFileSync(path.join(prefix, 'package.json'), JSON.stringify({ dependencies: { [name]: 'x' } }));`,
  );
  fs.chmodSync(npm, 0o755);
  const before = process.env.PATH;
  process.env.PATH = `${path.dirname(npm)}:${before}`;
  try {
    return await work();
  } finally {
    process.env.PATH = before;
  }
}

function source(version, more = {}, text = APP) {
  const folder = path.join(box.folder, 'mod-p');
  fs.mkdirSync(folder, { recursive: true });
  fs.writeFileSync(path.join(folder, 'package.json'), JSON.stringify({ name: 'mod-p', version, main: 'app.js', ...more }));
  fs.writeFileSync(path.join(folder, 'app.js'), text);
  return folder;
}

test('a tarball is unpacked, its apps run under its name, and installing it again does not double them', async () => {
  const first = tarball('multi', '0.1.0', TWO);
  expect(await box.call('install', first, { tarball: true })).toBe('Module installed & Started');
  const expected = [
    ['multi:first', 'online', '0.1.0'],
    ['multi:second', 'online', '0.1.0'],
  ];
  expect(await states()).toEqual(expected);
  expect((await box.call('list'))[0].pm2_env).toMatchObject({ pmx_module: true, pm_cwd: installed('multi') });
  expect(stored()['tar-modules'].multi).toMatchObject({ source: 'tarball', installed_at: expect.any(Number) });
  await box.call('install', tarball('multi', '0.2.0', TWO), {});
  expect(await states()).toEqual(expected.map(([name, status]) => [name, status, '0.2.0']));
  await box.call('install', tarball('multi', '0.3.0', { apps: [{ name: 'first', script: 'app.js' }] }), {});
  expect(await states()).toEqual([['multi:first', 'online', '0.3.0']]);
});

test("'all' means no module, a saved list has none, and uninstall takes a module away whole", async () => {
  await box.call('install', tarball('mono', '1.0.0', { pm2: [{ name: 'one', script: 'app.js' }] }));
  box.write('plain.js', APP);
  await box.call('start', 'plain.js');
  await box.call('dump');
  expect(JSON.parse(box.read(path.join(box.home, 'dump.pm2'))).map((each) => each.name)).toEqual(['plain']);
  await box.call('delete', 'all');
  expect((await states()).map(([name]) => name)).toEqual(['one']);
  await box.call('uninstall', 'mono');
  expect(await states()).toEqual([]);
  expect(fs.existsSync(installed('mono'))).toBe(false);
  expect(stored()['tar-modules']).toEqual({});
});

testOurs('a new daemon starts what is installed, and a module that is broken keeps nobody from connecting', async () => {
  await box.call('install', tarball('multi', '0.1.0', TWO));
  await box.call('install', tarball('broken', '0.1.1', { pm2: [{ script: 'app.js' }] }));
  fs.rmSync(path.join(installed('broken'), 'package.json'));
  await box.call('kill');
  const next = box.instance();
  const { failed_modules } = await next.connect();
  expect(failed_modules).toEqual([{ name: 'broken', message: expect.stringContaining(path.join(installed('broken'), 'package.json')) }]);
  expect((await states()).map(([name]) => name)).toEqual(['multi:first', 'multi:second']);
  expect((await next.connect()).failed_modules).toEqual(failed_modules);
  await box.call('update');
  expect((await states()).map(([name]) => name)).toEqual(['multi:first', 'multi:second']);
});

testOurs('a package is installed by npm, keeps what the user has set, and is restarted by set', async () => {
  await withNpm(async () => {
    const started = await box.call('install', source('1.0.0', { config: { size: '10M', keep: 3 } }));
    expect(started.map((each) => each.pm2_env.name)).toEqual(['mod-p']);
    expect((await box.call('list'))[0].pm2_env).toMatchObject({ name: 'mod-p', pmx_module: true, version: '1.0.0' });
    expect(stored()).toMatchObject({ 'module-db-v2': { 'mod-p': {} }, 'mod-p': { size: '10M', keep: 3 } });
    await box.call('set', 'mod-p:size', '20M');
    expect((await box.call('describe', 'mod-p'))[0].pm2_env).toMatchObject({ restart_time: 1, size: '20M', keep: 3 });
    await box.call('install', source('1.1.0', { config: { size: '10M', keep: 4, more: true } }));
    expect(stored()['mod-p']).toEqual({ size: '20M', keep: 3, more: true });
    expect(await states()).toEqual([['mod-p', 'online', '1.1.0']]);
    await box.call('uninstall', 'mod-p');
  });
  expect(stored()['mod-p']).toMatchObject({ size: '20M' });
  expect(stored()['module-db-v2']).toEqual({});
  expect(fs.existsSync(installed('mod-p'))).toBe(false);
});

testOurs('a folder may hold a package of another name, and the module bears that one', async () => {
  await withNpm(async () => {
    fs.renameSync(source('1.0.0'), path.join(box.folder, 'elsewhere'));
    await box.call('install', './elsewhere');
    await box.call('install', path.join(box.folder, 'elsewhere'));
    expect(await states()).toEqual([['mod-p', 'online', '1.0.0']]);
    expect(fs.readdirSync(path.join(box.home, 'modules'))).toEqual(['mod-p']);
    expect(stored()['module-db-v2']).toEqual({ 'mod-p': {} });
    await box.call('uninstall', 'mod-p');
    expect(await states()).toEqual([]);
  });
});

testOurs('an installation that fails leaves what was there, running, and says what npm said', async () => {
  await withNpm(async () => {
    await box.call('install', source('1.0.0'));
    fs.renameSync(path.join(box.folder, 'mod-p'), path.join(box.folder, 'elsewhere'));
    const error = await failure(box.call('install', path.join(box.folder, 'mod-p')));
    expect(error.message).toContain('Installation failed via NPM, module has been restored to prev version');
    expect(error.message).toContain('npm ERR! 404 no such package');
    expect(await states()).toEqual([['mod-p', 'online', '1.0.0']]);
    expect(fs.readdirSync(path.join(box.home, 'modules'))).toEqual(['mod-p']);
    const unknown = await failure(box.call('install', 'no-such-thing'));
    expect(unknown.message).toContain('404');
    expect(fs.readdirSync(path.join(box.home, 'modules'))).toEqual(['mod-p']);
    expect(stored()['module-db-v2']).toEqual({ 'mod-p': {} });
  });
});

testOurs('with safe a version that keeps falling over gives way to the one before', async () => {
  await withNpm(async () => {
    await box.call('install', source('1.0.0'));
    const falling = source('2.0.0', {}, 'process.exit(1)');
    const error = await failure(box.call('install', falling, { safe: 60_000 }));
    expect(error.message).toBe('New Module is instable, restored to previous version');
    expect(await states()).toEqual([['mod-p', 'online', '1.0.0']]);
  });
});

testOurs('a tarball that is none, or would lead out of its folder, changes nothing', async () => {
  const text = box.write('text.tar.gz', 'no archive');
  expect((await failure(box.call('install', text))).message).toContain('is no module: it must hold module/package.json');
  expect((await failure(box.call('install', 'absent.tar.gz'))).message).toContain(path.join(box.folder, 'absent.tar.gz'));
  const out = tarball('x', '1.0.0', { ...TWO, name: '../../x' });
  expect((await failure(box.call('install', out))).message).toContain("must have a name that can be a folder's");
  const bare = tarball('bare', '1.0.1', {});
  expect((await failure(box.call('install', bare))).message).toContain('apps, pm2, bin and main are missing');
  expect(fs.existsSync(path.join(box.home, 'modules')) ? fs.readdirSync(path.join(box.home, 'modules')) : []).toEqual([]);
  expect(await states()).toEqual([]);
});

testOurs('a tarball is fetched from where its address says, and nothing stays of one that cannot be', async () => {
  const archive = fs.readFileSync(tarball('far', '1.0.0', { pm2: [{ name: 'far', script: 'app.js' }] }));
  const server = http.createServer((request, response) => {
    if (request.url === '/far.tar.gz') return response.end(archive);
    return response.writeHead(404).end();
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  try {
    const address = `http://127.0.0.1:${server.address().port}`;
    expect(await box.call('install', `${address}/far.tar.gz`)).toBe('Module installed & Started');
    expect(stored()['tar-modules'].far.install_url).toBe(`${address}/far.tar.gz`);
    expect((await box.call('describe', 'far'))[0].pm2_env.install_url).toBe(`${address}/far.tar.gz`);
    const error = await failure(box.call('install', `${address}/none.tar.gz`));
    expect(error.message).toBe(`module ${address}/none.tar.gz cannot be fetched: answered 404`);
  } finally {
    server.close();
    server.closeAllConnections();
  }
  expect(fs.readdirSync(path.join(box.home, 'modules'))).toEqual(['far']);
});

test('package packs a folder so that it can be installed', async () => {
  box.write('my mod/package.json', JSON.stringify({ name: 'my-mod', version: '1.2.3', pm2: [{ name: 'my-mod', script: 'app.js' }] }));
  box.write('my mod/app.js', APP);
  const before = process.cwd();
  process.chdir(box.folder);
  try {
    await box.call('package', path.join(box.folder, 'my mod'));
  } finally {
    process.chdir(before);
  }
  const file = path.join(box.folder, 'my mod-v1-2-3.tar.gz');
  expect(execFileSync('tar', ['-tzf', file], { encoding: 'utf8' }).split('\n').filter(Boolean).sort()).toEqual([
    'module/',
    'module/app.js',
    'module/package.json',
  ]);
  await box.call('install', file);
  expect(await states()).toEqual([['my-mod', 'online', '1.2.3']]);
});

testOurs('a module under development runs from its folder and is watched', async () => {
  box.write('dev/package.json', JSON.stringify({ name: 'dev-mod', version: '0.0.1', main: 'app.js' }));
  const file = box.write('dev/app.js', APP);
  const before = process.cwd();
  process.chdir(path.join(box.folder, 'dev'));
  try {
    await box.call('install', '.');
  } finally {
    process.chdir(before);
  }
  expect((await box.call('describe', 'dev-mod'))[0].pm2_env).toMatchObject({ watch: true, pmx_module: true, version: '0.0.1' });
  fs.writeFileSync(file, `${APP} // changed`);
  await until(async () => (await box.call('describe', 'dev-mod'))[0].pm2_env.restart_time > 0);
  expect((await failure(box.call('uninstall', 'dev-mod'))).message).toBe('Unknown module');
  await box.call('deleteModule', 'dev-mod');
  expect(await states()).toEqual([]);
});

testOurs('what names no module is refused by its name; uninstalling all of none succeeds', async () => {
  await box.call('uninstall', 'all');
  expect((await failure(box.call('uninstall', 'none'))).message).toBe('Unknown module');
  for (const bad of [undefined, 5, '', ';|`'])
    expect((await failure(box.call('install', bad))).message).toContain('"module" argument of pm2.install');
  expect((await failure(box.call('install', 'typescript'))).message).toContain('typescript is no module');
  expect((await failure(box.call('install', '../..', {}))).message).toContain('"module" argument of pm2.install');
});

testOurs('a sample of a module is one', async () => {
  const before = process.cwd();
  process.chdir(box.folder);
  try {
    await box.call('generateModuleSample', 'fresh');
    expect((await failure(box.call('generateModuleSample', 'fresh'))).code).toBe('EEXIST');
    expect((await failure(box.call('generateModuleSample', '../up'))).message).toContain('"name" argument');
    expect(JSON.parse(box.read('fresh/package.json'))).toMatchObject({ name: 'fresh', main: 'index.js', config: { interval: 1000 } });
    fs.mkdirSync(path.join(box.folder, 'node_modules'));
    fs.symlinkSync(path.resolve(__dirname, '../..'), path.join(box.folder, 'node_modules/pm2'));
    process.chdir(path.join(box.folder, 'fresh'));
    await box.call('install', '.');
  } finally {
    process.chdir(before);
  }
  await until(async () => (await box.call('describe', 'fresh'))[0].pm2_env.axm_monitor.rounds);
});

test('the name of a module is read off whatever npm can install', () => {
  if (isReference) return;
  for (const [what, name] of Object.entries({
    'pm2-slack': 'pm2-slack',
    'pm2-slack@1.0.0': 'pm2-slack',
    'user/pm2-slack#branch': 'pm2-slack',
    '@org/pm2-slack@latest': '@org/pm2-slack',
    '@org/pm2-slack': '@org/pm2-slack',
    'dir/pm2-slack-1.0.0.tgz': 'pm2-slack',
    'git+https://host/user/pm2-slack.git': 'pm2-slack',
    'file:///home/user/pm2-slack/': 'pm2-slack',
    'http://host:12/modules/my-module?test=true': 'my-module',
    './some/where': 'where',
  })) {
    expect([what, canonicName(what)]).toEqual([what, name]);
  }
  expect([isSafe('..'), isSafe('a/b'), isSafe('@a/../b'), isSafe('.hidden'), isSafe('@org/x')]).toEqual([false, false, false, false, true]);
});
