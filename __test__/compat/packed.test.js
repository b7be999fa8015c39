'use strict';

// Who packs a checkout, or installs from a repository, gets what runs: the native half is in the package, and nothing else is needed.

const { execFile } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');
const { promisify } = require('node:util');
const { ROOT, homes, script } = require('./helper');

const execute = promisify(execFile);
const newHome = homes();

const PACK = ['pack', '--ignore-scripts', '--json', '--pack-destination'];
const INSTALL = ['install', '--offline', '--ignore-scripts', '--no-audit', '--no-fund'];

test('a package packed from the checkout installs without a network and supervises', async () => {
  const home = newHome();
  const folder = path.join(home, 'project');
  fs.mkdirSync(folder);
  fs.writeFileSync(path.join(folder, 'package.json'), '{"name":"project","version":"1.0.0"}');
  const { stdout } = await execute('npm', [...PACK, folder], { cwd: ROOT });
  const [{ filename }] = Object.values(JSON.parse(stdout));
  await execute('npm', [...INSTALL, path.join(folder, filename)], { cwd: folder });
  const installed = path.join(folder, 'node_modules', 'pm2');
  expect(fs.lstatSync(installed).isSymbolicLink()).toBe(false);
  const list = await script(installed, home, async ({ pm2, call }) => {
    await call(pm2, 'start', { script: 'sleep', args: '1000', name: 'packed' });
    return (await call(pm2, 'list')).map(({ name, pm2_env }) => [name, pm2_env.status]);
  });
  expect(list).toEqual([['packed', 'online']]);
});
