'use strict';

/* Who runs an app and with what: user, group, groups, home, umask, working directory, and an interpreter that changes. */

const fs = require('node:fs');
const path = require('node:path');
const { sandbox, failure, until } = require('../api/helper.js');

const box = sandbox();
const testRoot = process.getuid() === 0 ? test : test.skip;
const testUser = process.getuid() === 0 ? test.skip : test;

/** What a shell script says of itself. */
async function told(options) {
  fs.chmodSync(box.folder, 0o755);
  const script = box.write('who.sh', '#!/bin/sh\necho "$(id -u) $(id -g) $(id -G) $(umask) $HOME $(pwd)."; exec sleep 1000\n');
  fs.chmodSync(script, 0o755);
  await box.call('start', { script, name: 'who', kill_timeout: 500, ...options });
  return (await until(() => box.log('who-out.log').includes('.\n') && box.log('who-out.log'), 'the answer')).trim();
}

testRoot('uid by name brings the group, the groups and the home of that user', async () => {
  const [, , uid, gid, , home] = fs
    .readFileSync('/etc/passwd', 'utf8')
    .match(/^nobody:.*$/m)[0]
    .split(':');
  expect(await told({ uid: 'nobody', umask: '027', cwd: '/' })).toBe(`${uid} ${gid} ${gid} 0027 ${home} /.`);
  const [{ pm2_env }] = await box.call('describe', 'who');
  expect(pm2_env).toMatchObject({ uid: Number(uid), gid: Number(gid), umask: 0o27 });
});

testRoot('user and gid by number; a Node app of another user runs and has its channel', async () => {
  fs.chmodSync(box.folder, 0o755);
  const script = box.write(
    'who.js',
    `process.on('message', () => {}); process.send({ type: 'who', data: [process.getuid(), process.getgid(), process.getgroups()] });`,
  );
  const bus = await box.pm2.launchBus();
  const said = new Promise((resolve) => bus.on('who', ({ data }) => resolve(data)));
  await box.call('start', { script, name: 'n', user: 65534, gid: 1, cwd: '/' });
  const [uid, gid] = await said;
  expect([uid, gid]).toEqual([65534, 1]);
});

testRoot('an unknown user or group is refused, and nothing is started', async () => {
  const script = box.write('a.js', '');
  expect(await failure(box.call('start', { script, uid: 'no-such-user' }))).toBeTruthy();
  expect(await failure(box.call('start', { script, gid: 'no-such-group' }))).toBeTruthy();
  expect(await box.call('list')).toEqual([]);
});

testUser('whoever is not root cannot change the user', async () => {
  expect(await failure(box.call('start', { script: box.write('a.js', ''), uid: 'nobody' }))).toBeTruthy();
});

test('umask is octal text or a number', async () => {
  expect((await told({ umask: '0077' })).split(' ').at(-3)).toBe('0077');
  expect(await failure(box.call('start', { script: box.write('b.js', ''), umask: '9' }))).toBeTruthy();
});

test('an interpreter found in PATH is looked for at each start', async () => {
  const script = box.write('app.x', 'whatever');
  const folder = path.dirname(box.write('bin/speak', '#!/bin/sh\necho one; exec sleep 1000\n'));
  fs.chmodSync(path.join(folder, 'speak'), 0o755);
  const before = process.env.PATH;
  process.env.PATH = `${folder}:${before}`;
  try {
    await box.call('start', { script, name: 'x', interpreter: 'speak' });
  } finally {
    process.env.PATH = before;
  }
  await until(() => box.log('x-out.log').includes('one'), 'the first interpreter');
  fs.writeFileSync(path.join(folder, 'speak.new'), '#!/bin/sh\necho two; exec sleep 1000\n', { mode: 0o755 });
  fs.renameSync(path.join(folder, 'speak.new'), path.join(folder, 'speak'));
  await box.call('restart', 'x');
  await until(() => box.log('x-out.log').includes('two'), 'the second interpreter');
});
