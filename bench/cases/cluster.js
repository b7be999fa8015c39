'use strict';

/**
 * An http server in two workers: new connections and kept ones under load, what a request costs all processes in CPU time, how long others
 * wait while one of four workers is blocked, and how long a reload of four takes.
 */

const fs = require('node:fs');
const http = require('node:http');
const net = require('node:net');
const path = require('node:path');
const { performance } = require('node:perf_hooks');
const { setTimeout: pause } = require('node:timers/promises');

const CLIENTS = 64;
const LOAD_MS = 3_000;
const BLOCK_MS = 2_000;
/** Clock ticks of /proc/<pid>/stat per second, on every Linux that Node runs on. */
const TICKS = 100;

const SCRIPT = path.join(__dirname, '..', 'apps', 'web.js');

/** What `bench/apps/web.js` answers; its last bytes are the end of an answer. */
const ANSWER = 'hello world';

/** One connection, without a library, which would cost more than the server. */
class Connection {
  #socket;
  #received = '';
  #settle = null;

  constructor(port) {
    this.#socket = net.connect(port, '127.0.0.1').setNoDelay(true).setEncoding('latin1');
    this.#socket.on('data', (text) => {
      this.#received += text;
      if (this.#received.endsWith(ANSWER)) this.#settle.resolve();
    });
    this.#socket.on('error', (error) => this.#settle?.reject(error));
    this.#socket.on('close', () => this.#settle?.reject(new Error('closed without an answer')));
  }

  ask(keepAlive) {
    this.#received = '';
    return new Promise((resolve, reject) => {
      this.#settle = { resolve, reject };
      this.#socket.write(`GET / HTTP/1.1\r\nHost: bench\r\nConnection: ${keepAlive ? 'keep-alive' : 'close'}\r\n\r\n`);
    });
  }

  close() {
    this.#socket.destroy();
  }
}

/** Asks until `end`; gives how many were answered and how long the slowest took. */
async function load(port, { keepAlive, clients = CLIENTS, ms = LOAD_MS }) {
  const end = performance.now() + ms;
  const times = [];
  const client = async () => {
    let connection = null;
    while (performance.now() < end) {
      const start = performance.now();
      connection ??= new Connection(port);
      await connection.ask(keepAlive);
      times.push(performance.now() - start);
      if (keepAlive) continue;
      connection.close();
      connection = null;
    }
    connection?.close();
  };
  await Promise.all(Array.from({ length: clients }, client));
  return {
    perSecond: times.length / (ms / 1000),
    requests: times.length,
    slowest: times.reduce((slowest, time) => Math.max(slowest, time), 0),
  };
}

/** CPU time of these processes so far, in µs. */
function cpuOf(pids) {
  const ticks = pids.map((pid) => {
    const fields = fs.readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ');
    return Number(fields[11]) + Number(fields[12]);
  });
  return (ticks.reduce((sum, one) => sum + one, 0) / TICKS) * 1e6;
}

/** The pid in pm2.pid, and the processes that it started and that are no app. */
function managers(home, apps) {
  const root = Number(fs.readFileSync(path.join(home, 'pm2.pid'), 'utf8'));
  const children = fs.readFileSync(`/proc/${root}/task/${root}/children`, 'utf8').trim().split(' ').filter(Boolean).map(Number);
  return [root, ...children.filter((pid) => !apps.includes(pid))];
}

module.exports = {
  rounds: 4,
  async measure({ load: load_, call, timed, until, home }) {
    const pm2 = load_();
    await call(pm2, 'connect');
    const port = 20_000 + Math.floor(Math.random() * 12_000);
    const isServed = () =>
      new Promise((resolve) => http.get({ port, agent: false }, (r) => resolve(r.resume())).on('error', () => resolve(false)));
    const app = { name: 'web', script: SCRIPT, exec_mode: 'cluster', env: { PORT: String(port) } };
    await call(pm2, 'start', { ...app, instances: 2 });
    await until('the workers to listen', isServed);
    await pause(500);
    const pids = (await call(pm2, 'list')).map((one) => one.pid);
    const measured = {};
    for (const keepAlive of [false, true]) {
      const all = [...managers(home, pids), ...pids];
      const before = cpuOf(all);
      const result = await load(port, { keepAlive });
      measured[keepAlive ? 'kept' : 'fresh'] = { perSecond: result.perSecond, cpu: (cpuOf(all) - before) / result.requests };
    }
    await call(pm2, 'delete', 'web');
    await call(pm2, 'start', { ...app, instances: 4 });
    await until('the workers to listen', isServed);
    await pause(500);
    const blocked = new Promise((resolve) =>
      http.get({ port, path: `/?block=${BLOCK_MS}`, agent: false }, (r) => r.resume().on('end', resolve)),
    );
    await pause(50);
    measured.slowest = (await load(port, { keepAlive: false, clients: 16, ms: BLOCK_MS - 500 })).slowest;
    await blocked;
    measured.reload = await timed(() => call(pm2, 'reload', 'web'));
    return measured;
  },
  metrics: [
    { label: 'cluster: requests, a connection each', unit: '/s', value: (s) => s.fresh.perSecond, target: { least: 2 } },
    { label: 'cluster: CPU per request, a connection each', unit: 'µs', value: (s) => s.fresh.cpu, target: { ratio: 0.45 } },
    { label: 'cluster: requests, keep-alive', unit: '/s', value: (s) => s.kept.perSecond, target: { least: 0.95 } },
    { label: 'cluster: CPU per request, keep-alive', unit: 'µs', value: (s) => s.kept.cpu },
    { label: 'cluster: slowest answer beside a blocked worker', unit: 'ms', value: (s) => s.slowest, target: { most: 100 } },
    { label: 'cluster: reload of four workers', unit: 'ms', value: (s) => s.reload },
  ],
};
