'use strict';

/*
 * What the cluster tests share beside the sandbox of the API tests: applications to be served by, requests, and constant load.
 */

const http = require('node:http');
const net = require('node:net');

/** Longest wait for one answer, in ms. A connection that is lost without a word shows as this. */
const ANSWER_MAX = 15_000;

/** A server that answers with its pid, after `?delay=` ms; `?block=` keeps it busy for that long. What follows is the app's own. */
const SERVER = `
const http = require('http');
const server = http.createServer((request, response) => {
  const query = new URL(request.url, 'http://x').searchParams;
  const busy = Date.now() + Number(query.get('block') || 0);
  while (Date.now() < busy);
  setTimeout(() => response.end(String(process.pid)), Number(query.get('delay') || 0));
});
`;

/** Applications, by how much they do for a reload. */
const APPS = {
  plain: `${SERVER} server.listen(process.env.PORT);`,
  closing: `${SERVER} server.listen(process.env.PORT); process.on('SIGINT', () => server.close(() => process.exit(0)));`,
  ready: `${SERVER} server.listen(process.env.PORT, () => setTimeout(() => process.send('ready'), 50));`,
};

/** A port that was free a moment ago. */
function freePort() {
  return new Promise((resolve, reject) => {
    const probe = net.createServer().on('error', reject);
    probe.listen(0, () => {
      const { port } = probe.address();
      probe.close(() => resolve(port));
    });
  });
}

/** The text of one answer, over a connection of its own. `where` is a port or a path of a socket. */
function ask(where, path = '/', agent = false) {
  const target = typeof where === 'number' ? { host: '127.0.0.1', port: where } : { socketPath: where };
  return new Promise((resolve, reject) => {
    const request = http.get({ ...target, path, agent }, (response) => {
      let text = '';
      response.on('data', (chunk) => (text += chunk));
      response.on('error', reject);
      response.on('end', () => resolve(text));
    });
    request.on('error', reject);
    request.setTimeout(ANSWER_MAX, () => request.destroy(Object.assign(new Error('no answer'), { code: 'NO_ANSWER' })));
  });
}

/** How often each pid answered, of so many requests one after another. */
async function shares(where, requests) {
  const counts = new Map();
  for (let i = 0; i < requests; i += 1) {
    const pid = Number(await ask(where));
    counts.set(pid, (counts.get(pid) ?? 0) + 1);
  }
  return counts;
}

/** Clients that ask one request after another until they are stopped; every tenth takes up to half a second. */
class Load {
  #isOn = true;
  #agent;
  #clients;
  answers = 0;
  lost = [];

  constructor(port, { clients = 16, keepAlive = false } = {}) {
    this.#agent = keepAlive ? new http.Agent({ keepAlive: true, maxSockets: clients }) : false;
    this.#clients = Promise.all(Array.from({ length: clients }, (_, i) => this.#client(port, i)));
  }

  async #client(port, number) {
    for (let i = number; this.#isOn; i += 1) {
      const delay = i % 10 === 0 ? (i * 37) % 500 : 0;
      try {
        await ask(port, `/?delay=${delay}`, this.#agent);
        this.answers += 1;
      } catch (error) {
        this.lost.push(error.code);
        if (this.lost.length > 1000) return;
      }
    }
  }

  async stop() {
    this.#isOn = false;
    await this.#clients;
    if (this.#agent) this.#agent.destroy();
  }
}

module.exports = { SERVER, APPS, freePort, ask, shares, Load };
