'use strict';

/**
 * One Node app: how long `start` takes, and what being managed costs the app itself: time from Node's start to the first line of
 * user code, and memory when idle, each beside the same file under plain `node` in the same minute.
 */

const { spawn } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');
const { memoryOf } = require('../lib/processes');
const { median } = require('../lib/statistics');

/** Managed and plain ones each, in turn. */
const APPS = 7;
/** Until then both kinds have collected their start-up garbage as far as they will. */
const SETTLE_MS = 3_000;

const SCRIPT = path.join(__dirname, '..', 'apps', 'idle.js');

async function report({ until }, file) {
  return JSON.parse(await until(`${path.basename(file)} to be written`, () => fs.existsSync(file) && fs.readFileSync(file, 'utf8')));
}

function middle(reports) {
  const memory = reports.map((one) => memoryOf(one.pid));
  return {
    reached: median(reports.map((one) => one.reached)),
    rss: median(memory.map((one) => one.rss)),
    uss: median(memory.map((one) => one.uss)),
  };
}

module.exports = {
  rounds: 5,
  async measure(context) {
    const { load, call, timed, home, pause } = context;
    const pm2 = load();
    await call(pm2, 'connect');
    const plain = [];
    const managed = [];
    const starts = [];
    for (let i = 0; i < APPS; i += 1) {
      const plainFile = path.join(home, `plain-${i}.json`);
      spawn(process.execPath, [SCRIPT], { env: { ...process.env, BENCH_OUT: plainFile }, stdio: ['ignore', 'pipe', 'pipe'] });
      plain.push(await report(context, plainFile));
      const file = path.join(home, `managed-${i}.json`);
      starts.push(await timed(() => call(pm2, 'start', { name: `idle-${i}`, script: SCRIPT, env: { BENCH_OUT: file } })));
      managed.push(await report(context, file));
    }
    await pause(SETTLE_MS);
    return { start: median(starts), plain: middle(plain), managed: middle(managed) };
  },
  metrics: [
    { label: 'start of one Node app', unit: 'ms', value: (s) => s.start },
    { label: 'Node app: first line of user code, plain', unit: 'ms', value: (s) => s.plain.reached },
    {
      label: 'Node app: first line of user code, managed −',
      unit: 'ms',
      value: (s) => s.managed.reached - s.plain.reached,
      target: { most: 3 },
    },
    { label: 'Node app: idle, plain, resident', unit: 'MB', value: (s) => s.plain.rss / 1024 },
    {
      label: 'Node app: idle, managed −, resident',
      unit: 'MB',
      value: (s) => (s.managed.rss - s.plain.rss) / 1024,
      target: { most: 0.5 },
    },
    {
      label: 'Node app: idle, managed −, private',
      unit: 'MB',
      value: (s) => (s.managed.uss - s.plain.uss) / 1024,
      target: { most: 0.5 },
    },
  ],
};
