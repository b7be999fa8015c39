'use strict';

// The published command line, unchanged, against our daemon: whoever has pm2 7.0.4 installed somewhere keeps using it.

const fs = require('node:fs');
const path = require('node:path');
const helper = require('./helper');

const { cli, homes, managerOf, startDaemon, waitFor, writeApp, ANSWERING_APP } = helper;
const newHome = homes();

async function jlist(home) {
  const { stdout } = await cli(home, 'jlist');
  return JSON.parse(stdout.slice(stdout.indexOf('[')));
}

/** A daemon of the package under test with one app, and the pids of the manager. */
async function homeWithApp(name) {
  const home = newHome();
  const manager = await startDaemon(home);
  const app = writeApp(home, `${name}.js`, ANSWERING_APP);
  const started = await cli(home, 'start', app);
  expect(started.code).toBe(0);
  return { home, manager, app, started };
}

test('the published list uses the daemon that runs and does not start one of its own', async () => {
  const home = newHome();
  const manager = await startDaemon(home);
  const listed = await cli(home, 'list');
  expect(listed.code).toBe(0);
  expect(listed.stdout).toMatch(/id.*name.*status/);
  expect(listed.stdout).not.toMatch(/Spawning PM2 daemon/);
  expect(managerOf(home)).toEqual(manager);
});

test('the published CLI finds no version to complain about', async () => {
  const home = newHome();
  await startDaemon(home);
  const { stdout, stderr } = await cli(home, 'list');
  expect(stdout + stderr).not.toMatch(/out-of-date/i);
});

test('an app started with the published CLI is listed online with all that jlist promises', async () => {
  const { home, manager, app, started } = await homeWithApp('one');
  expect(started.stdout).toMatch(/one.*online/);
  const [one] = await jlist(home);
  expect(Object.keys(one)).toEqual(['pid', 'name', 'pm2_env', 'pm_id', 'monit']);
  expect(one).toMatchObject({ name: 'one', pm_id: 0, pm2_env: { status: 'online', pm_exec_path: app, exec_mode: 'fork_mode' } });
  expect(fs.readlinkSync(`/proc/${one.pid}/exe`)).toBe(fs.realpathSync(process.execPath));
  expect(managerOf(home)).toEqual(manager);
});

test('describe prints the record and does not crash', async () => {
  const { home, app } = await homeWithApp('described');
  const { code, stdout } = await cli(home, 'describe', 'described');
  expect(code).toBe(0);
  expect(stdout).toContain(app);
  expect(stdout).toMatch(/status\s+│ online/);
});

test('describe of an unknown name ends with exit code 1 and says so', async () => {
  const { home } = await homeWithApp('known');
  const { code, stdout, stderr } = await cli(home, 'describe', 'unknown');
  expect(code).toBe(1);
  expect(stdout + stderr).toMatch(/unknown doesn't exist/);
});

test('restart gives a new pid and counts', async () => {
  const { home } = await homeWithApp('again');
  const [before] = await jlist(home);
  const { code } = await cli(home, 'restart', 'again');
  const [after] = await jlist(home);
  expect(code).toBe(0);
  expect(after.pid).not.toBe(before.pid);
  expect(after.pm2_env).toMatchObject({ status: 'online', restart_time: 1 });
});

test('stop leaves the app listed without a pid, and start brings it back', async () => {
  const { home } = await homeWithApp('paused');
  expect((await cli(home, 'stop', 'paused')).code).toBe(0);
  expect((await jlist(home))[0]).toMatchObject({ pid: 0, pm2_env: { status: 'stopped' } });
  expect((await cli(home, 'start', 'paused')).code).toBe(0);
  const [again] = await jlist(home);
  expect(again.pm2_env).toMatchObject({ status: 'online', restart_time: 0 });
});

test('delete forgets the app, and a second delete fails', async () => {
  const { home } = await homeWithApp('gone');
  expect((await cli(home, 'delete', 'gone')).code).toBe(0);
  expect(await jlist(home)).toEqual([]);
  const second = await cli(home, 'delete', 'gone');
  expect(second.code).toBe(1);
  expect(second.stdout + second.stderr).toMatch(/Process or Namespace gone not found/);
});

test('send writes a line to the app, and logs shows what it printed', async () => {
  const { home } = await homeWithApp('chatty');
  const [log, errors] = ['out', 'error'].map((stream) => path.join(home, 'logs', `chatty-${stream}.log`));
  await waitFor('the first line', () => fs.existsSync(log) && /hello from chatty/.test(fs.readFileSync(log, 'utf8')));
  await waitFor('its trouble', () => /trouble from chatty/.test(fs.readFileSync(errors, 'utf8')));
  expect((await cli(home, 'send', '0', 'good morning')).code).toBe(0);
  await waitFor('the line to come back', () => /line: good morning/.test(fs.readFileSync(log, 'utf8')));
  const shown = await cli(home, 'logs', 'chatty', '--nostream', '--lines', '20');
  expect(shown.code).toBe(0);
  expect(shown.stdout + shown.stderr).toMatch(/hello from chatty/);
  expect(shown.stdout + shown.stderr).toMatch(/trouble from chatty/);
  expect(shown.stdout + shown.stderr).toMatch(/line: good morning/);
});

test('kill ends the apps and the daemon', async () => {
  const { home } = await homeWithApp('last');
  const { code, stdout } = await cli(home, 'kill');
  expect(code).toBe(0);
  expect(stdout).toMatch(/Daemon Stopped/i);
  await waitFor('every process to go', () => helper.processesOf(home).length === 0);
  expect(fs.existsSync(path.join(home, 'pm2.pid'))).toBe(false);
});
