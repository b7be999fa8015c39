'use strict';

/* startup and uninstallStartup as methods: every way to call them, without a daemon. What they write is tested in `src/client/startup`. */

const fs = require('node:fs');
const path = require('node:path');
const { sandbox, call, failure } = require('../api/helper.js');

const box = sandbox();

/** A folder that stands for another machine, and a program of this one's init system, which only says how it was called. */
function machine() {
  const folder = path.dirname(box.write('programs/systemctl', `#!/bin/sh\necho "$@" >> '${box.folder}/called'\n`));
  fs.chmodSync(path.join(folder, 'systemctl'), 0o755);
  return { root: path.join(box.folder, 'disk'), serviceName: 'x' };
}

async function withPrograms(work) {
  const before = process.env.PATH;
  process.env.PATH = `${box.folder}/programs:${before}`;
  try {
    return await work();
  } finally {
    process.env.PATH = before;
  }
}

test('a service is made and removed on another disk, no daemon is started and nothing here is told', async () => {
  const options = machine();
  const destination = path.join(options.root, 'etc/systemd/system/x.service');
  await withPrograms(async () => {
    expect(await box.call('startup', 'systemd', options)).toEqual({
      destination,
      template: fs.readFileSync(destination, 'utf8'),
      commands: [`systemctl --root=${options.root} enable x`],
      platform: 'systemd',
      detected: 'systemd',
      service: 'x',
    });
    expect(fs.readdirSync(path.join(options.root, box.home))).toEqual(['bin']);
    const gone = await box.call('uninstallStartup', 'systemd', options);
    expect(gone).toMatchObject({ platform: 'systemd', failed: [] });
    expect(gone.commands).toEqual([`systemctl --root=${options.root} disable x`, `rm ${destination}`]);
  });
  expect(fs.existsSync(destination)).toBe(false);
  expect(box.read('called')).toBe(`--root=${options.root} enable x\n--root=${options.root} disable x\n`);
  expect(fs.existsSync(path.join(box.home, 'bin'))).toBe(false);
  expect(fs.existsSync(path.join(box.home, 'pm2.pid'))).toBe(false);
});

test('every shape of arguments ends in one callback or a promise', async () => {
  machine();
  const options = { print: true };
  await withPrograms(async () => {
    for (const args of [['systemd', options], [options], [undefined, options], [null, options]]) {
      expect(await box.call('startup', ...args)).toMatchObject({ platform: 'systemd' });
      expect(await box.pm2.startup(...args)).toMatchObject({ platform: 'systemd' });
    }
    // Without a word what it is for, it concerns this machine: whoever is root has it done, so only an unknown platform is asked for here.
    expect((await failure(call(box.pm2, 'startup', 'windows'))).message).toMatch(/^Unknown platform \/ init system name/);
    expect((await failure(call(box.pm2, 'uninstallStartup', 'windows'))).message).toMatch(/^Unknown platform/);
    // As pm2's command line calls it, with more than can be written down.
    const commander = { ...options, args: [{}, { name: () => 'startup' }] };
    commander.args[0].self = commander;
    expect(await box.call('startup', 'openrc', commander)).toMatchObject({ platform: 'openrc', service: 'pm2' });
  });
});

test('bad arguments are named', async () => {
  for (const [args, words] of [
    [[5], '"platform" argument'],
    [['systemd', 'x'], '"options" argument'],
    [['systemd', { user: () => {} }], '"user" argument'],
    [['systemd', { user: {} }], 'option "user" must be text, not {}'],
    [['systemd', { waitIp: 1 }], 'option "waitIp" must be true or false, not 1'],
    [['systemd', { hp: '/a\nb' }], 'control character'],
  ]) {
    expect((await failure(box.pm2.startup(...args))).message).toContain(words);
  }
});
