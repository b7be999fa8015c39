'use strict';

/** No daemon runs: from the call of `connect` to its callback, with the package already loaded. */
module.exports = {
  rounds: 9,
  async measure({ load, timed, call }) {
    const pm2 = load();
    return { ms: await timed(() => call(pm2, 'connect')) };
  },
  metrics: [{ label: 'connect, no daemon yet', unit: 'ms', value: (s) => s.ms, target: { ratio: 1 / 10 } }],
};
