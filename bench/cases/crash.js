'use strict';

/** A managed `sleep` is killed with SIGKILL: until the bus says that its successor is online (and the list shows its new pid). */

const { median } = require('../lib/statistics');

const KILLS = 10;
/** A different victim for each kill: a process that dies too often in a short time is given up. */
const APPS = KILLS;

module.exports = {
  rounds: 5,
  async measure({ load, call, now, sleepers }) {
    const pm2 = load();
    await call(pm2, 'connect');
    const bus = await call(pm2, 'launchBus');
    await call(pm2, 'start', sleepers(APPS));
    const before = await call(pm2, 'list');
    let online = null;
    bus.on('process:event', (event) => event.event === 'online' && online && online(event.process.pm_id));
    const times = [];
    for (const victim of before) {
      const start = now();
      const restarted = new Promise((resolve) => {
        online = resolve;
      });
      process.kill(victim.pid, 'SIGKILL');
      if ((await restarted) !== victim.pm_id) throw new Error('another process came online');
      times.push(now() - start);
      const [successor] = await call(pm2, 'describe', victim.pm_id);
      if (!successor.pid || successor.pid === victim.pid) throw new Error('online without a new pid');
    }
    return { ms: median(times) };
  },
  metrics: [{ label: 'kill -9 of a process to its successor', unit: 'ms', value: (s) => s.ms, target: { ratio: 1 / 4 } }],
};
