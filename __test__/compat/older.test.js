'use strict';

// Older published clients and the plain axon library, as tools in other people's projects carry them.

const fs = require('node:fs');
const path = require('node:path');
const helper = require('./helper');

const { ANSWERING_APP, UNDER_TEST, cliOf, homes, installed, managerOf, maybeInstalled, run, script, startDaemon, writeApp } = helper;
const newHome = homes();

/** Folder of an axon library: the one of its own package, or the one that pm2-interface brings. */
function axonLibrary(name) {
  if (name === 'axon') return maybeInstalled('axon');
  return path.dirname(require.resolve('pm2-axon/package.json', { paths: [installed('pm2-interface')] }));
}

async function homeWithApp() {
  const home = newHome();
  const app = writeApp(home, 'app.js', ANSWERING_APP);
  await script(
    UNDER_TEST,
    home,
    async ({ pm2, call }, file) => {
      await call(pm2, 'start', { script: file, name: 'app' });
    },
    app,
  );
  return home;
}

/** A script that speaks axon by hand and prints one JSON text. `url` is how that library wants a socket's path. */
function rawClient(library, url) {
  return `
    const axon = require(${JSON.stringify(library)});
    const bus = axon.socket('sub-emitter');
    const rpc = axon.socket('req');
    bus.connect(${JSON.stringify(url('pub.sock'))});
    rpc.connect(${JSON.stringify(url('rpc.sock'))});
    const seen = {};
    const ask = (method, ...args) => new Promise((resolve) => rpc.send({ type: 'call', method, args }, resolve));
    bus.on('test:answer', (packet) => {
      seen.answer = packet.data;
      console.log(JSON.stringify(seen));
      process.exit(0);
    });
    // The emitter wraps the socket that knows about connections.
    bus.sock.on('connect', async () => {
      seen.ping = await ask('ping', {});
      seen.unknown = await ask('noSuchMethod', {});
      seen.list = (await ask('getMonitorData', {})).args[0].map((p) => [p.name, p.pm2_env.status]);
      rpc.send({ type: 'methods' }, async (reply) => {
        seen.methods = Object.keys(reply.methods).length >= 30;
        await ask('sendDataToProcessId', { id: '0', topic: 't', data: 'text' });
      });
    });`;
}

const RAW = [
  ['pm2-axon', (home) => (file) => path.join(home, file)],
  ['axon', (home) => (file) => `unix://${path.join(home, file)}`],
];

for (const [name, url] of RAW) {
  const library = axonLibrary(name);
  (library ? test : test.skip)(`sockets of the plain ${name} library ask, and hear the answer on the bus`, async () => {
    const home = await homeWithApp();
    const { code, stdout, stderr } = await run(process.execPath, ['-e', rawClient(library, url(home))], { home });
    expect([code, stderr]).toEqual([0, '']);
    expect(JSON.parse(stdout)).toEqual({
      ping: { args: [{ msg: 'pong' }] },
      unknown: { error: 'method "noSuchMethod" does not exist' },
      list: [['app', 'online']],
      methods: true,
      answer: { got: 'text', id: '0' },
    });
  });
}

const five = maybeInstalled('pm2-five');

(five ? test : test.skip)('the command line of pm2 5 lists, restarts and stops', async () => {
  const home = await homeWithApp();
  const manager = managerOf(home);
  const list = async () => {
    const { stdout } = await cliOf(five, home, 'jlist', '--silent');
    return JSON.parse(stdout.slice(stdout.indexOf('[{')));
  };
  expect((await list())[0]).toMatchObject({ name: 'app', pm2_env: { status: 'online' } });
  expect((await cliOf(five, home, 'restart', 'app')).code).toBe(0);
  expect((await list())[0].pm2_env).toMatchObject({ status: 'online', restart_time: 1 });
  expect((await cliOf(five, home, 'stop', '0')).code).toBe(0);
  expect((await list())[0].pm2_env.status).toBe('stopped');
  expect(managerOf(home)).toEqual(manager);
});

test('garbage on a socket harms nobody else', async () => {
  // The published daemon dies of some of these; a stray byte must not end anybody's apps.
  const home = newHome();
  const manager = await startDaemon(home);
  const net = require('node:net');
  for (const bytes of [Buffer.alloc(70_000, 0xff), Buffer.from([0x10]), Buffer.from('\x12\0\0\0\x03j:{\0\0\0\x03s:1', 'latin1')]) {
    for (const name of ['rpc.sock', 'pub.sock']) {
      await new Promise((resolve) => {
        const socket = net.connect(path.join(home, name), () => socket.end(bytes));
        socket.on('error', () => {});
        socket.on('close', resolve);
        socket.resume();
      });
    }
  }
  const list = await script(UNDER_TEST, home, async ({ pm2, call }) => {
    await call(pm2, 'connect');
    return call(pm2, 'list');
  });
  expect(list).toEqual([]);
  expect(managerOf(home)).toEqual(manager);
  expect(fs.existsSync(path.join(home, 'rpc.sock'))).toBe(true);
});
