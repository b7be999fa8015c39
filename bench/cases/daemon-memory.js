'use strict';

/** What the manager itself holds (keeper and daemon together) with 0, 10 and 100 `sleep` processes. */

const { managerOf, memoryOfAll } = require('../lib/processes');

/** After this pause both packages have done what they do once after a start (pidfiles, garbage collection, first samples). */
const SETTLE_MS = 3_000;

module.exports = {
  rounds: 5,
  async measure({ load, call, pause, home, sleepers }) {
    const pm2 = load();
    await call(pm2, 'connect');
    const read = async () => {
      await pause(SETTLE_MS);
      return memoryOfAll(managerOf(home));
    };
    const idle = await read();
    await call(pm2, 'start', sleepers(10));
    const ten = await read();
    await call(pm2, 'start', sleepers(90, 10));
    const hundred = await read();
    return { idle, ten, hundred };
  },
  metrics: [
    { label: 'daemon, 0 processes, resident', unit: 'MB', value: (s) => s.idle.rss / 1024, target: { ratio: 1 / 8 } },
    { label: 'daemon, 0 processes, private', unit: 'MB', value: (s) => s.idle.uss / 1024, target: { ratio: 1 / 6 } },
    { label: 'daemon, 10 processes, resident', unit: 'MB', value: (s) => s.ten.rss / 1024 },
    { label: 'daemon, 10 processes, private', unit: 'MB', value: (s) => s.ten.uss / 1024 },
    { label: 'daemon, 100 processes, resident', unit: 'MB', value: (s) => s.hundred.rss / 1024 },
    { label: 'daemon, 100 processes, private', unit: 'MB', value: (s) => s.hundred.uss / 1024 },
    {
      label: 'each further process, private',
      unit: 'kB',
      value: (s) => (s.hundred.uss - s.ten.uss) / 90,
      target: { most: 20 },
    },
  ],
};
