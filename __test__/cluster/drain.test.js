'use strict';

/*
 * What a worker that leaves owes to those who are connected to it, on each supported line of Node: servers of every kind end their connections
 * so that nobody's request is lost, and the application neither does anything for it nor sees it.
 */

const fs = require('node:fs');
const http = require('node:http');
const http2 = require('node:http2');
const path = require('node:path');
const { sandbox, until, isAlive, FIXTURES } = require('../api/helper.js');
const { APPS, LINES, RELOADS, SERVER, freePort, ask } = require('./helper.js');
const { Load } = require('./load.js');

const box = sandbox();

/** Of two workers each, under load. */
const reloads = async () => {
  for (let i = 2; i < RELOADS; i += 1) await box.call('reload', 'app');
};

const TLS_FILES = Object.fromEntries(['key', 'cert'].map((name) => [name, path.join(FIXTURES, `tls-${name}.pem`)]));
const CERT = fs.readFileSync(TLS_FILES.cert);
const TLS = `{ key: require('fs').readFileSync('${TLS_FILES.key}'), cert: require('fs').readFileSync('${TLS_FILES.cert}'), allowHTTP1: true }`;

/** The handler of `SERVER` in a server of another kind. */
const handler = (create) => `
const answer = (request, response) => setTimeout(() => response.end(String(process.pid)),
  Number(new URL(request.url, 'http://x').searchParams.get('delay') || 0));
${create.replace('TLS', TLS)}.listen(process.env.PORT, () => console.log('there'));
`;

const KINDS = {
  https: handler("require('https').createServer(TLS, answer)"),
  h2c: handler("require('http2').createServer(answer)"),
  h2: handler("require('http2').createSecureServer(TLS, answer)"),
  // As proxies do, which hand on what the server behind them said.
  stubborn: `${SERVER} server.prependListener('request', (_, response) => response.setHeader('Connection', 'keep-alive'));
    server.listen(process.env.PORT, () => console.log('there'));`,
  closing: `${APPS.closing} server.on('listening', () => console.log('there'));`,
};

/** Starts the app of this text and waits until both its workers serve. */
async function start(text, { interpreter, ...options } = {}) {
  const port = await freePort();
  const script = box.write('app.js', text);
  await box.start({ script, name: 'app', interpreter: interpreter ?? 'node', instances: 2, env: { PORT: port }, ...options });
  await until(() => [0, 1].slice(0, options.instances).every((id) => box.log(`app-out-${id}.log`).includes('there')));
  return port;
}

/**
 * Clients of HTTP/2. A refused stream is no loss: the protocol promises that nothing was done for it, and clients make it again, as these do.
 * Each has one session for as long as the server lets it, and several requests at a time in it.
 */
class StreamLoad {
  #isOn = true;
  #clients;
  answers = 0;
  lost = [];

  constructor(url, clients = 8) {
    this.#clients = Promise.all(Array.from({ length: clients }, (_, i) => this.#client(url, i)));
  }

  async #client(url, number) {
    let session = null;
    const lane = async (first) => {
      for (let i = first; this.#isOn && this.lost.length < 20; i += 1) {
        if (session === null || session.closed || session.destroyed) {
          session = http2.connect(url, { rejectUnauthorized: false });
          session.on('error', (error) => this.lost.push(error.code));
        }
        const asked = session;
        await ask2(asked, i % 2 === 0 ? (i * 37) % 500 : 0).then(
          () => (this.answers += 1),
          (error) => {
            // RFC 9113, 8.7: not processed, and to be sent again. A client reports so of itself too, of what it had not yet written
            // when it read that the session ends.
            if (!/REFUSED_STREAM/.test(error.message) || !asked.closed) this.lost.push(error.code ?? error.message);
          },
        );
      }
    };
    await Promise.all([0, 1, 2, 3].map((i) => lane(number + i)));
    session.close();
  }

  more(answers) {
    return until(() => this.answers > answers || this.lost.length > 0);
  }

  async stop() {
    this.#isOn = false;
    await this.#clients;
  }
}

function ask2(session, delay) {
  return new Promise((resolve, reject) => {
    const stream = session.request({ ':path': `/?delay=${delay}` });
    let text = '';
    stream.setEncoding('utf8').on('data', (chunk) => (text += chunk));
    stream.on('error', reject);
    stream.on('close', () => (/^\d+$/.test(text) ? resolve(text) : reject(new Error(`half an answer: ${text}`))));
  });
}

describe.each(LINES)('on Node %s', (_, interpreter) => {
  const testIt = interpreter === null ? test.skip : test;

  testIt('no stream is lost by a server of HTTP/2', async () => {
    const port = await start(KINDS.h2c, { interpreter });
    const load = new StreamLoad(`http://127.0.0.1:${port}`);
    await load.more(50);
    await reloads();
    await load.stop();
    expect(load.lost).toEqual([]);
  });

  testIt('no request is lost by a server of both versions', async () => {
    const port = await start(KINDS.h2, { interpreter });
    const target = { host: '127.0.0.1', port, cert: CERT, rejectUnauthorized: false };
    const loads = [new StreamLoad(`https://127.0.0.1:${port}`), new Load(target, { clients: 16, keepAlive: true })];
    for (const load of loads) await load.more(50);
    await reloads();
    for (const load of loads) await load.stop();
    expect(loads.map((load) => load.lost)).toEqual([[], []]);
  });

  testIt.each(['https', 'stubborn'])('no kept connection of HTTP/1.1 breaks with a server that is %s', async (kind) => {
    const port = await start(KINDS[kind], { interpreter });
    const tls = kind === 'https' ? { cert: CERT, rejectUnauthorized: false } : {};
    const load = new Load({ host: '127.0.0.1', port, ...tls }, { clients: 16, keepAlive: true });
    await load.more(50);
    await reloads();
    await load.stop();
    expect(load.lost).toEqual([]);
  });

  testIt('an upgraded connection lives until its own end, or that of the patience', async () => {
    const upgrading = `${SERVER} server.on('upgrade', (request, socket) => {
      socket.write('HTTP/1.1 101 Switching Protocols\\r\\nConnection: Upgrade\\r\\nUpgrade: echo\\r\\n\\r\\n');
      socket.on('data', (text) => socket.write(text)).on('end', () => socket.end());
    });
    server.listen(process.env.PORT, () => console.log('there'));`;
    const port = await start(upgrading, { interpreter, instances: 1 });
    const old = await ask(port);
    const [, socket] = await new Promise((resolve, reject) => {
      const headers = { Connection: 'Upgrade', Upgrade: 'echo' };
      const request = http.get({ host: '127.0.0.1', port, headers }).on('error', reject);
      request.on('upgrade', (...all) => resolve(all));
    });
    const reload = box.call('reload', 'app');
    await until(async () => (await ask(port)) !== old);
    socket.write('still there?');
    expect(String(await new Promise((resolve) => socket.once('data', resolve)))).toBe('still there?');
    expect(isAlive(Number(old))).toBe(true);
    socket.end();
    await reload;
    expect(isAlive(Number(old))).toBe(false);
  });

  testIt('closing its server is no error to an app whose worker has been told to leave', async () => {
    const text = `${SERVER} server.listen(process.env.PORT, () => console.log('there'));
      process.on('SIGINT', () => server.close((error) => { console.log('closed', error); process.exit(0); }));`;
    await start(text, { interpreter, instances: 1 });
    await box.call('reload', 'app');
    expect(box.log('app-out-0.log')).toMatch(/closed undefined/);
  });

  testIt('the app sees nothing of it', async () => {
    const view = `const cluster = require('cluster');
      if (cluster.isPrimary) cluster.fork();
      else {
        const names = ['internalMessage', 'message', 'disconnect', 'SIGINT', 'exit'];
        const { Server } = require('net');
        console.log(JSON.stringify([names.map((name) => process.listenerCount(name)), Object.keys(require.cache), process.execArgv,
          ['listen', 'close'].map((name) => [Server.prototype[name].name, Server.prototype[name].length,
            Object.getOwnPropertyDescriptor(Server.prototype, name).enumerable]), require.main === module, process.argv.slice(1)]));
        require('child_process').execFile(process.execPath, ['-p', 'JSON.stringify([process.execArgv, Object.keys(process.env).filter(' +
          '(name) => /^(PM2_CHANNEL|PM2_PRELOAD|NODE_CHANNEL|NODE_UNIQUE)/.test(name))])'],
          (_, text) => { console.log(text.trim()); if (process.env.ALONE) process.exit(); });
        setInterval(() => {}, 1000);
      }`;
    const script = box.write('view.js', view);
    const run = require('node:util').promisify(require('node:child_process').execFile);
    const { PATH } = process.env;
    const plain = run(interpreter, [script], { env: { PATH, ALONE: '1' } });
    await box.start({ script, name: 'app', interpreter, exec_mode: 'cluster' });
    const managed = await until(() => box.log('app-out-0.log').split('\n').length === 3 && box.log('app-out-0.log'));
    expect(managed).toBe((await plain).stdout);
  });
});
