'use strict';

/** A message to a Node app and its answer over the bus: sendDataToProcessId → process.on('message') → process.send → bus. */

const path = require('node:path');
const { median } = require('../lib/statistics');

const CALLS = 220;
const WARM_UP = 20;

module.exports = {
  rounds: 5,
  async measure({ load, call, now }) {
    const pm2 = load();
    await call(pm2, 'connect');
    const bus = await call(pm2, 'launchBus');
    await call(pm2, 'start', { name: 'echo', script: path.join(__dirname, '..', 'apps', 'echo.js') });
    const [app] = await call(pm2, 'list');
    let answered = null;
    bus.on('bench:answer', (packet) => answered && answered(packet.data.n));
    const times = [];
    for (let n = 0; n < CALLS; n += 1) {
      const start = now();
      const answer = new Promise((resolve) => {
        answered = resolve;
      });
      pm2.sendDataToProcessId({ id: app.pm_id, type: 'process:msg', topic: 'bench', data: { n } }, () => {});
      if ((await answer) !== n) throw new Error('an answer to another question');
      if (n >= WARM_UP) times.push(now() - start);
    }
    return { ms: median(times) };
  },
  metrics: [{ label: 'message to an app and back over the bus', unit: 'ms', value: (s) => s.ms, target: { ratio: 1 / 3 } }],
};
