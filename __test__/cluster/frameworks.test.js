'use strict';

/*
 * What people run in cluster mode: each framework is started with two workers, shares its port, and is reloaded under load. The apps are as their
 * manuals write them, with nothing in them for a reload.
 */

const { sandbox } = require('../api/helper.js');
const { LINES, freePort, served, shares } = require('./helper.js');
const { Load } = require('./load.js');

const box = sandbox();

/** The newest line that is installed: frameworks leave old ones behind. */
const [, interpreter] = LINES.filter(([, executable]) => executable !== null).at(-1);

/** As the app writes it: its script lies where no package is found. */
const from = (name) => `require(${JSON.stringify(require.resolve(name))})`;
const answer = 'const answer = (query) => new Promise((resolve) => setTimeout(resolve, Number(query.delay || 0), String(process.pid)));';

const FRAMEWORKS = {
  express: `${answer} const app = ${from('express')}();
    app.get('/', async (request, response) => response.send(await answer(request.query)));
    app.listen(process.env.PORT);`,
  fastify: `${answer} const app = ${from('fastify')}();
    app.get('/', (request) => answer(request.query));
    app.listen({ port: Number(process.env.PORT) });`,
  koa: `${answer} const Koa = ${from('koa')}; const app = new Koa();
    app.use(async (context) => { context.body = await answer(context.query); });
    app.listen(process.env.PORT);`,
};

const ES_MODULE = `import { createServer } from 'node:http'; import { setTimeout as pause } from 'node:timers/promises';
  const server = createServer(async (request, response) => {
    await pause(Number(new URL(request.url, 'http://x').searchParams.get('delay') ?? 0));
    response.end(String(process.pid));
  });
  await pause(10);
  server.listen(process.env.PORT);`;

async function start(name, text) {
  const port = await freePort();
  await box.start({ script: box.write(name, text), name: 'app', interpreter, instances: 2, env: { PORT: port } });
  await served(port);
  return port;
}

const pids = async () => (await box.call('list')).map((each) => each.pid).sort();

test.each([...Object.entries(FRAMEWORKS).map(([name, text]) => [name, 'app.js', text]), ['an ES module', 'app.mjs', ES_MODULE]])(
  '%s is shared and reloaded without a lost request',
  async (_, file, text) => {
    const port = await start(file, text);
    await served(port, 2);
    const loads = [true, false].map((keepAlive) => new Load(port, { clients: 16, keepAlive }));
    for (const load of loads) await load.more(50);
    await box.call('reload', 'app');
    for (const load of loads) await load.stop();
    expect(loads.map((load) => load.lost)).toEqual([[], []]);
    expect([...(await shares(port, 80)).keys()].sort()).toEqual(await pids());
  },
);

/** Conversations over WebSockets, one after another, in each of which everything that is said is answered; some more than there are clients. */
async function converse(isOn, open) {
  const lost = [];
  let count = 0;
  const client = async () => {
    while (isOn() || (count < 9 && lost.length === 0)) {
      const talk = await open().catch((error) => void lost.push(error.message));
      for (let i = 0; i < 3 && talk; i += 1) {
        const said = `${count}/${i}`;
        const heard = await talk.say(said).catch((error) => error.message);
        if (heard !== said) lost.push(heard);
      }
      talk?.close();
      count += 1;
    }
  };
  await Promise.all(Array.from({ length: 8 }, client));
  return { lost, count };
}

const within = (promise, what) => {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(reject, 15_000, new Error(`${what}: no answer`));
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
};

const SOCKETS = {
  ws: {
    text: `const server = require('http').createServer((_, response) => response.end('there'));
      new (${from('ws')}.WebSocketServer)({ server }).on('connection', (socket) => socket.on('message', (text) => socket.send(String(text))));
      server.listen(process.env.PORT);`,
    open: async (port) => {
      const socket = new (require('ws'))(`ws://127.0.0.1:${port}`);
      await within(new Promise((resolve, reject) => socket.on('open', resolve).on('error', reject).on('close', reject)), 'open');
      const next = () => new Promise((resolve) => socket.once('message', (text) => resolve(String(text))));
      const say = (text) => {
        socket.send(text);
        return within(next(), text);
      };
      return { say, close: () => socket.close() };
    },
  },
  'socket.io': {
    text: `const server = require('http').createServer((_, response) => response.end('there'));
      new (${from('socket.io')}.Server)(server).on('connection', (socket) => socket.on('say', (text, heard) => heard(text)));
      server.listen(process.env.PORT);`,
    open: async (port) => {
      const options = { transports: ['websocket'], forceNew: true, reconnection: false };
      const socket = require('socket.io-client').io(`http://127.0.0.1:${port}`, options);
      await within(new Promise((resolve, reject) => socket.on('connect', resolve).on('connect_error', reject)), 'open');
      const say = (text) => within(new Promise((resolve) => socket.emit('say', text, resolve)), text);
      return { say, close: () => socket.close() };
    },
  },
};

test.each(Object.keys(SOCKETS))('conversations over %s are finished by the worker they began with', async (name) => {
  const { text, open } = SOCKETS[name];
  const port = await start('app.js', text);
  const before = await pids();
  let isOn = true;
  const conversation = converse(
    () => isOn,
    () => open(port),
  );
  await box.call('reload', 'app');
  isOn = false;
  const { lost, count } = await conversation;
  expect(lost).toEqual([]);
  expect(count).toBeGreaterThan(8);
  expect(await pids()).not.toEqual(before);
});
