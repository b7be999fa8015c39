'use strict';

// Programs around pm2 that are not this package's callers but stand between it and them: wrappers of its class, modules that bring
// a pm2 of their own, scripts that run the command line by its path. Each is written here as such programs are.

const { execFileSync } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');
const { REFERENCE, UNDER_TEST, homes, run, script, waitFor, writeApp } = require('./helper');

const newHome = homes();

test('a wrapper that makes promises of every method on the prototype gets a value from each', async () => {
  const home = newHome();
  const app = writeApp(home, 'idle.js', 'setInterval(() => {}, 1 << 30);');
  const seen = await script(
    UNDER_TEST,
    home,
    async ({ pm2 }, file) => {
      const { prototype } = pm2.custom;
      for (const [name, descriptor] of Object.entries(Object.getOwnPropertyDescriptors(prototype))) {
        const method = descriptor.value;
        if (!/^[a-z]/.test(name) || name === 'constructor' || typeof method !== 'function') continue;
        const wrapped = function (...args) {
          if (typeof args.at(-1) === 'function') return method.apply(this, args);
          return new Promise((resolve, reject) => method.call(this, ...args, (error, value) => (error ? reject(error) : resolve(value))));
        };
        Object.defineProperty(prototype, name, { ...descriptor, value: wrapped });
      }
      await pm2.connect();
      const started = await pm2.start({ script: file, name: 'wrapped' });
      const listed = await pm2.list();
      const [described] = await pm2.describe('wrapped');
      const [restarted] = await pm2.restart('wrapped');
      await pm2.dump();
      await pm2.flush('wrapped');
      await pm2.set('wrapped:key', 'value');
      const stored = await pm2.get('wrapped:key');
      const [stopped] = await pm2.stop('wrapped');
      await pm2.delete('wrapped');
      const failed = await pm2.stop('nobody').catch((error) => error.message);
      return [
        started.length,
        listed.length,
        described.name,
        restarted.restart_time,
        stored,
        stopped.status,
        (await pm2.list()).length,
        failed,
      ];
    },
    app,
  );
  expect(seen).toEqual([1, 1, 'wrapped', 1, 'value', 'stopped', 0, 'process or namespace not found']);
});

test('a module that brings its own pm2 lists, hears and acts through it', async () => {
  const home = newHome();
  const folder = path.join(home, 'src', 'module');
  fs.mkdirSync(folder, { recursive: true });
  fs.writeFileSync(
    path.join(folder, 'package.json'),
    JSON.stringify({ name: 'own', version: '1.0.0', apps: [{ name: 'own', script: 'm.js' }] }),
  );
  fs.writeFileSync(
    path.join(folder, 'm.js'),
    `const pm2 = require(${JSON.stringify(REFERENCE)});
    pm2.connect(() => pm2.launchBus((error, bus) => {
      bus.on('log:out', (packet) => packet.process.name === 'talker' && console.log('heard ' + packet.data.trim()));
      pm2.list((error, list) => console.log('listed ' + list.map((each) => each.name).sort()));
      process.on('message', ({ topic }) => pm2.restart(topic, (error, done) => console.log('restarted ' + (error || done.length))));
    }));`,
  );
  const archive = path.join(home, 'own.tar.gz');
  execFileSync('tar', ['-czf', archive, '-C', path.dirname(folder), 'module']);
  const talker = writeApp(home, 'talker.js', 'setInterval(() => console.log("hello"), 50);');
  await script(
    UNDER_TEST,
    home,
    async ({ pm2, call }, files) => {
      await call(pm2, 'start', { script: files.talker, name: 'talker' });
      await call(pm2, 'install', files.archive);
    },
    { archive, talker },
  );
  const log = () => {
    const file = path.join(home, 'logs', 'own-out.log');
    return fs.existsSync(file) ? fs.readFileSync(file, 'utf8') : '';
  };
  await waitFor('what the module saw', () => log().includes('heard hello') && log().includes('listed own,talker'));
  await script(UNDER_TEST, home, async ({ pm2, call }) => {
    const module = (await call(pm2, 'list')).find((each) => each.name === 'own');
    await call(pm2, 'sendDataToProcessId', { id: module.pm_id, type: 'process:msg', topic: 'talker', data: {} });
  });
  await waitFor('the restart', () => log().includes('restarted 1'));
});

test('the command line can be run by its path in the package', async () => {
  const home = newHome();
  const { code, stdout } = await run(process.execPath, [path.join(UNDER_TEST, 'bin', 'pm2'), '--version'], { home });
  const { version } = JSON.parse(fs.readFileSync(path.join(UNDER_TEST, 'package.json'), 'utf8'));
  expect([code, stdout.trim()]).toEqual([0, version]);
});
