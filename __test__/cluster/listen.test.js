'use strict';

/*
 * Everything a worker can listen on, on each supported line of Node. One app has all the servers, so that a line costs one start.
 */

const dgram = require('node:dgram');
const fs = require('node:fs');
const net = require('node:net');
const path = require('node:path');
const tls = require('node:tls');
const { sandbox, until, FIXTURES } = require('../api/helper.js');
const { LINES, freePort, freeRow } = require('./helper.js');

const box = sandbox();

/** Connections of each kind: enough that one worker of two cannot have got all of them by chance. */
const TRIES = 40;

const KEYS = ['key', 'cert'].map((name) => `${name}: fs.readFileSync('${path.join(FIXTURES, `tls-${name}.pem`)}')`);

/** Each server says the worker's pid and closes. What is at each address comes from the test, as JSON; what came of it goes to stdout. */
const APP = `
const [fs, net, tls, dgram] = ['fs', 'net', 'tls', 'dgram'].map(require);
const where = JSON.parse(process.env.WHERE);
const made = {};
const note = (name, value) => {
  made[name] = value;
  if (Object.keys(made).length === Object.keys(where).length) console.log(JSON.stringify(made));
};
const greet = (socket) => socket.on('error', () => {}).end(String(process.pid));
for (const [name, options] of Object.entries(where)) {
  if (name === 'udp') {
    const socket = dgram.createSocket('udp4');
    socket.on('message', (_, from) => socket.send(String(process.pid), from.port));
    socket.bind(options, () => note(name, socket.address()));
    continue;
  }
  const server = name === 'tls' ? tls.createServer({ ${KEYS.join(', ')} }, greet) : net.createServer(greet);
  server.on('error', (error) => note(name, [error.code, error.syscall, error.address, error.port, error.errno]));
  server.listen(options, () => note(name, server.address()));
}`;

/** What the server at an address says; \`null\` without one. */
function heard(target, connect = net.connect) {
  return new Promise((resolve) => {
    let [text, isResumed] = ['', false];
    const socket = connect({ rejectUnauthorized: false, ...target });
    socket.on('data', (chunk) => (text += chunk)).on('error', () => resolve(null));
    socket.on('secureConnect', () => (isResumed = socket.isSessionReused()));
    socket.on('close', () => resolve({ text, isResumed }));
  });
}

/** The pids that answer at an address. */
async function answering(target) {
  const answers = [];
  for (let i = 0; i < TRIES; i += 1) answers.push((await heard(target))?.text);
  return [...new Set(answers)].sort();
}

/** A session of TLS as the server hands it out. */
function session(port) {
  return new Promise((resolve, reject) => {
    const socket = tls.connect({ host: '127.0.0.1', port, rejectUnauthorized: false });
    socket.on('session', resolve).on('error', reject).resume();
  });
}

const hasIpv6 =
  fs.existsSync('/proc/net/if_inet6') && fs.readFileSync('/proc/net/if_inet6', 'utf8').includes('00000000000000000000000000000001');

describe.each(LINES)('on Node %s', (line, interpreter) => {
  const testIt = interpreter === null ? test.skip : test;

  testIt('all addresses are shared, tickets of TLS too, and errors are as in plain Node', async () => {
    const [all, local, secure, udp, only6] = await Promise.all([1, 2, 3, 4, 5].map(freePort));
    const where = {
      all: { port: all },
      local: { host: '127.0.0.1', port: local, backlog: 7 },
      any: { host: '127.0.0.1', port: 0 },
      tls: { port: secure },
      udp: { address: '127.0.0.1', port: udp },
      path: { path: path.join(box.folder, 'web.sock') },
      twice: { host: '127.0.0.1', port: local },
      nowhere: { host: '192.0.2.1', port: local },
      ...(hasIpv6 && { only6: { host: '::', ipv6Only: true, port: only6 } }),
      ...(Number(line) >= 24 && { reuse: { host: '127.0.0.1', port: only6, reusePort: true } }),
    };
    const script = box.write('app.js', APP);
    const options = { name: 'app', interpreter, instances: 2, env: { WHERE: JSON.stringify(where) } };
    const pids = (await box.start({ script, ...options })).map((each) => String(each.pid)).sort();
    const [one, other] = await until(() => {
      const said = [0, 1].map((id) => box.log(`app-out-${id}.log`));
      return said.every((text) => text.endsWith('\n')) && said.map((text) => JSON.parse(text));
    });
    expect(one).toEqual(other);

    expect(one.twice).toEqual(['EADDRINUSE', 'bind', '127.0.0.1', local, -98]);
    expect(one.nowhere).toEqual(['EADDRNOTAVAIL', 'bind', '192.0.2.1', local, -99]);
    expect(one.all).toEqual({ address: hasIpv6 ? '::' : '0.0.0.0', family: hasIpv6 ? 'IPv6' : 'IPv4', port: all });
    expect(one.any.port).toBeGreaterThan(0);

    for (const port of [all, local, one.any.port]) expect(await answering({ host: '127.0.0.1', port })).toEqual(pids);
    if (hasIpv6) {
      expect(await answering({ host: '::1', port: all })).toEqual(pids);
      expect(await answering({ host: '::1', port: only6 })).toEqual(pids);
    }
    if (where.reuse) expect(await answering({ host: '127.0.0.1', port: only6 })).toEqual(pids);
    // There is one queue, which whoever is quicker takes from.
    for (const pid of await answering({ path: where.path.path })) expect(pids).toContain(pid);

    const ticket = await session(secure);
    const resumed = [];
    for (let i = 0; i < TRIES; i += 1) resumed.push(await heard({ host: '127.0.0.1', port: secure, session: ticket }, tls.connect));
    expect(resumed.filter(({ isResumed }) => !isResumed)).toEqual([]);
    expect([...new Set(resumed.map(({ text }) => text))].sort()).toEqual(pids);

    const socket = dgram.createSocket('udp4');
    const answer = new Promise((resolve) => socket.once('message', (text) => resolve(String(text))));
    socket.send('hello', udp, '127.0.0.1');
    expect(pids).toContain(await answer);
    socket.close();

    // The successors have the same addresses, and the tickets are still good.
    await box.call('reload', 'app');
    const later = (await box.call('list')).map((each) => String(each.pid)).sort();
    expect(await answering({ host: '127.0.0.1', port: one.any.port })).toEqual(later);
    const reused = await heard({ host: '127.0.0.1', port: secure, session: ticket }, tls.connect);
    expect(reused.isResumed).toBe(true);
    expect(later).not.toEqual(pids);
  });

  testIt('every worker has an inspector of its own', async () => {
    const port = await freeRow(8);
    const script = box.write('app.js', 'setInterval(() => {}, 1000)');
    await box.start({ script, name: 'app', interpreter, instances: 2, exec_mode: 'cluster', node_args: [`--inspect=127.0.0.1:${port}`] });
    const ports = () => [0, 1].map((id) => Number(/listening on ws:..127.0.0.1:(\d+)/.exec(box.log(`app-error-${id}.log`))?.[1]));
    await until(() => ports().every((one) => one > 0));
    expect(ports()[0]).not.toBe(ports()[1]);
    await box.call('restart', 'app');
    await until(() => [0, 1].every((id) => box.log(`app-error-${id}.log`).split('listening on').length === 3));
    expect(box.log('app-error-0.log') + box.log('app-error-1.log')).not.toMatch(/in use/);
  });
});
