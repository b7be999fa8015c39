'use strict';

const { execFileSync } = require('node:child_process');
const fs = require('node:fs');
const http = require('node:http');
const path = require('node:path');
const { sandbox, call, failure, until, testOurs } = require('./helper.js');
const { freePort } = require('../cluster/helper.js');

/*
 * The built-in static server: what it hands out, and above all what it does not.
 */

const box = sandbox();

/** One request; the path goes out as it is written here, without anybody tidying it up first. */
function request(port, target, { method = 'GET', headers = {} } = {}) {
  return new Promise((resolve, reject) => {
    const sent = http.request({ port, host: '127.0.0.1', path: target, method, headers, agent: false }, (response) => {
      const chunks = [];
      response.on('data', (chunk) => chunks.push(chunk));
      response.on('error', reject);
      response.on('end', () => resolve({ status: response.statusCode, headers: response.headers, body: Buffer.concat(chunks).toString() }));
    });
    sent.on('error', reject);
    sent.end();
  });
}

const answers = (port) =>
  until(() =>
    request(port, '/').then(
      () => true,
      () => false,
    ),
  );

function site() {
  box.write('secret.txt', 'nobody may see this');
  box.write('www/index.html', '<p>home');
  box.write('www/style.CSS', 'p {}');
  box.write('www/data.unknown', 'plain');
  box.write('www/a b & c.txt', 'spaces');
  box.write('www/sub/inner.txt', '0123456789');
  box.write('www/sub/.hidden', 'dot');
  box.write('www/sub/deeper/x.txt', 'x');
  fs.symlinkSync(path.join(box.folder, 'secret.txt'), path.join(box.folder, 'www/link.txt'));
  return path.join(box.folder, 'www');
}

async function served(options = {}, commander = {}) {
  const root = site();
  const port = await freePort();
  const started = await box.call('serve', root, port, options, commander);
  await answers(port);
  return { port, root, started };
}

const BASIC = (text) => `Basic ${Buffer.from(text).toString('base64')}`;

test('serve starts an ordinary app in fork mode that hands out a folder, until it is deleted', async () => {
  const { port, root, started } = await served();
  expect(started).toHaveLength(1);
  const [{ name, pm2_env }] = await box.call('list');
  expect(name).toBe(`static-page-server-${port}`);
  expect(pm2_env).toMatchObject({ exec_mode: 'fork_mode', pm_cwd: root, PM2_SERVE_PATH: root, PM2_SERVE_FTP: 'false' });
  expect(pm2_env.PM2_SERVE_PORT).toBe(port);
  expect(await request(port, '/')).toMatchObject({ status: 200, body: '<p>home' });
  await box.call('delete', name);
  await expect(request(port, '/')).rejects.toThrow('ECONNREFUSED');
});

test('a file is handed out with its type and to every origin; what is missing is 404, a folder 500', async () => {
  const { port, root } = await served({}, { name: 'pages' });
  expect(await box.status('pages')).toEqual(['online']);
  const home = await request(port, '/');
  expect(home.headers).toMatchObject({
    'content-type': 'text/html',
    'access-control-allow-origin': '*',
    'access-control-allow-methods': 'GET',
  });
  expect((await request(port, '/style.CSS?v=1')).headers['content-type']).toBe('text/css');
  expect(await request(port, '/data.unknown')).toMatchObject({ status: 200, headers: { 'content-type': 'text/plain' }, body: 'plain' });
  expect(await request(port, '/a%20b%20&%20c.txt')).toMatchObject({ status: 200, body: 'spaces' });
  const missing = await request(port, '/none.txt');
  expect(missing).toMatchObject({ status: 404, headers: { 'content-type': 'text/html' }, body: '404 Not Found' });
  fs.writeFileSync(path.join(root, '404.html'), '<p>lost');
  expect(await request(port, '/none/at/all')).toMatchObject({ status: 404, body: '<p>lost' });
  const folder = await request(port, '/sub');
  expect(folder.status).toBe(500);
  expect(folder.body).toContain('EISDIR');
});

test('no way of writing a path leads out of the folder', async () => {
  const { port } = await served();
  const ways = ['/../secret.txt', '/sub/../../secret.txt', '/..%2fsecret.txt', '/%2e%2e%2fsecret.txt', '/sub/..%2f..%2fsecret.txt'];
  for (const way of [...ways, '//../secret.txt', '/..', '/%2e%2e/%2e%2e/etc/passwd', '/..%5csecret.txt']) {
    const { status, body } = await request(port, way);
    expect([way, status === 403 || status === 404]).toEqual([way, true]);
    expect(body).not.toContain('nobody');
  }
  expect(await request(port, '/sub/..%2f..%2fsecret.txt')).toMatchObject({ status: 403, body: '403 Forbidden' });
});

testOurs('what is no path, no method of ours, or no file does not disturb the server', async () => {
  const { port, root } = await served();
  execFileSync('mkfifo', [path.join(root, 'pipe')]);
  fs.symlinkSync('loop', path.join(root, 'loop'));
  expect((await request(port, '/%00')).status).toBe(400);
  expect((await request(port, '/%E0%A4%A')).status).toBe(400);
  expect((await request(port, '/', { method: 'POST' })).status).toBe(405);
  expect((await request(port, '/', { method: 'OPTIONS' })).status).toBe(204);
  expect((await request(port, '/pipe')).status).toBe(500);
  expect(await request(port, '/loop')).toMatchObject({ status: 500, body: expect.stringContaining('ELOOP') });
  expect((await request(port, `/${'x'.repeat(5000)}`)).status).toBe(404);
  expect((await request(port, '/index.html/more')).status).toBe(404);
  expect(await request(port, '/link.txt')).toMatchObject({ status: 200, body: 'nobody may see this' });
  expect((await box.call('list'))[0].pm2_env.restart_time).toBe(0);
});

testOurs('a part of a file is handed out, and a file that has not changed is not handed out again', async () => {
  const { port, root } = await served();
  const part = (range, more) => request(port, '/sub/inner.txt', { headers: { range, ...more } });
  expect(await part('bytes=2-4')).toMatchObject({ status: 206, body: '234', headers: { 'content-range': 'bytes 2-4/10' } });
  expect(await part('bytes=7-')).toMatchObject({ status: 206, body: '789' });
  expect(await part('bytes=-2')).toMatchObject({ status: 206, body: '89' });
  expect(await part('bytes=8-99')).toMatchObject({ status: 206, body: '89', headers: { 'content-length': '2' } });
  expect(await part('bytes=10-')).toMatchObject({ status: 416, headers: { 'content-range': 'bytes */10' } });
  for (const whole of ['bytes=4-2', 'bytes=-', 'lines=1-2', 'bytes=0-1,3-4', 'bytes=0-1-']) {
    expect(await part(whole)).toMatchObject({ status: 200, body: '0123456789' });
  }
  const { headers } = await request(port, '/sub/inner.txt');
  expect(await request(port, '/sub/inner.txt', { headers: { 'if-none-match': `"x", W/${headers.etag}` } })).toMatchObject({
    status: 304,
    body: '',
  });
  expect(await part('bytes=0-1', { 'if-range': '"other"' })).toMatchObject({ status: 200 });
  expect(await request(port, '/sub/inner.txt', { method: 'HEAD' })).toMatchObject({
    status: 200,
    body: '',
    headers: { 'content-length': '10' },
  });
  fs.writeFileSync(path.join(root, 'sub/inner.txt'), 'changed!!!');
  fs.utimesSync(path.join(root, 'sub/inner.txt'), 1e9, 1e9);
  expect(await request(port, '/sub/inner.txt', { headers: { 'if-none-match': headers.etag } })).toMatchObject({ body: 'changed!!!' });
  fs.writeFileSync(path.join(root, 'sub/inner.txt'), '');
  expect(await part('bytes=0-')).toMatchObject({ status: 416 });
  expect(await request(port, '/sub/inner.txt')).toMatchObject({ status: 200, body: '' });
});

test('credentials are asked for, and only the whole of them are accepted', async () => {
  const { port } = await served({ basicAuthUsername: 'me', basicAuthPassword: 'pa:ss' });
  const as = (authorization) => request(port, '/', authorization === undefined ? {} : { headers: { authorization } });
  const refused = await as();
  expect(refused.status).toBe(401);
  expect(refused.headers['www-authenticate']).toBe('Basic realm="Authentication service"');
  for (const wrong of [
    BASIC('me:pa'),
    BASIC('me:pa:ss '),
    BASIC('me'),
    BASIC(':'),
    'Basic',
    'Basic %%%',
    `Bearer ${BASIC('me:pa:ss').slice(6)}`,
  ]) {
    expect([wrong, (await as(wrong)).status]).toEqual([wrong, 401]);
  }
});

testOurs('a password may hold a colon', async () => {
  const { port } = await served({ basicAuthUsername: 'me', basicAuthPassword: 'pa:ss' });
  expect((await request(port, '/', { headers: { authorization: BASIC('me:pa:ss') } })).status).toBe(200);
});

test('with spa a missing path is its own page: a file of that name in the root, else the home page', async () => {
  const { port } = await served({ spa: true });
  expect(await request(port, '/users/42')).toMatchObject({ status: 200, body: '<p>home', headers: { 'content-type': 'text/html' } });
  expect(await request(port, '/a/b/data.unknown')).toMatchObject({ status: 200, body: 'plain' });
  expect(await request(port, '/a.png')).toMatchObject({ status: 200, body: '<p>home' });
  expect(await request(port, '/sub/inner.txt')).toMatchObject({ status: 200, body: '0123456789' });
});

test('with ftp a folder is its own index page, else a list: folders first, nothing hidden, every name escaped', async () => {
  const { port, root } = await served({ ftp: true });
  expect(await request(port, '/')).toMatchObject({ status: 200, body: '<p>home' });
  fs.writeFileSync(path.join(root, 'sub', '<script>.txt'), '');
  const { status, headers, body } = await request(port, '/sub');
  expect([status, headers['content-type'].startsWith('text/html')]).toEqual([200, true]);
  expect(body).toContain('Index of /sub');
  expect(body).not.toContain('.hidden');
  expect(body).not.toContain('<script>');
  expect(body.indexOf('deeper/')).toBeLessThan(body.indexOf('inner.txt'));
  expect(body.indexOf('deeper/')).toBeGreaterThan(0);
});

testOurs('every link of a list leads to what it names', async () => {
  const { port } = await served({ ftp: true });
  const { body } = await request(port, '/sub');
  const links = [...body.matchAll(/href="([^"]*)"/g)].map(([, link]) => link);
  expect(links).toEqual(['/', '/sub/deeper/', '/sub/inner.txt']);
  for (const link of links) expect((await request(port, link)).status).toBe(200);
});

testOurs('serve can be called as its types say, without the last argument of the command line', async () => {
  const root = site();
  const port = await freePort();
  await call(box.pm2, 'serve', root, port, { name: 'typed' });
  expect(await box.status('typed')).toEqual(['online']);
  box.pm2.cwd = root;
  const [{ pm2_env }] = await box.pm2.serve(undefined, String(await freePort()));
  expect(pm2_env.name).toMatch(/^static-page-server-\d+$/);
});

testOurs('a wrong argument of serve is named', async () => {
  expect((await failure(box.call('serve', '.', 70_000, {}, {}))).message).toContain(
    '"port" argument of pm2.serve must be a number between 0',
  );
  expect((await failure(box.call('serve', 5, 80, {}, {}))).message).toContain('"path" argument of pm2.serve must be the path of a folder');
  expect((await failure(box.call('serve', '.', 80, { basicAuthUsername: 'x' }, {}))).message).toContain('"options.basicAuthPassword"');
  expect((await failure(box.call('serve', 'none', 80, {}, {}))).message).toContain(path.join(box.folder, 'none'));
});

testOurs('a server that lacks the password it should ask for does not start', async () => {
  const port = await freePort();
  const env = { PM2_SERVE_PORT: port, PM2_SERVE_PATH: site(), PM2_SERVE_BASIC_AUTH: 'true', PM2_SERVE_BASIC_AUTH_USERNAME: 'me' };
  await box.call('start', { script: 'serve', name: 'open', env, max_restarts: 0 });
  await until(() => box.log('open-error.log').includes('PM2_SERVE_BASIC_AUTH_PASSWORD'));
  await expect(request(port, '/')).rejects.toThrow('ECONNREFUSED');
});

test('a file declares static servers, by static and by the script serve', async () => {
  const [first, second] = [await freePort(), await freePort()];
  const www = site();
  const apps = [{ name: 'by-script', script: 'serve', env: { PM2_SERVE_PORT: first, PM2_SERVE_PATH: www } }];
  const pages = [{ port: second, path: www, spa: true, basic_auth: { username: 'u', password: 'p' } }];
  box.write('pages.config.js', `module.exports = ${JSON.stringify({ apps, static: pages })}`);
  await box.call('start', 'pages.config.js');
  expect((await box.call('list')).map((each) => each.name)).toEqual(['by-script', `static-page-server-${second}`]);
  await answers(first);
  await answers(second);
  expect((await request(first, '/nowhere')).status).toBe(404);
  expect((await request(second, '/nowhere')).status).toBe(401);
  expect((await request(second, '/nowhere', { headers: { authorization: BASIC('u:p') } })).body).toBe('<p>home');
});
