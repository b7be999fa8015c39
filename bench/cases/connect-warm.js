'use strict';

/** A daemon runs already: from the call of `connect` to its callback in a fresh process. */
module.exports = {
  rounds: 11,
  async prepare({ load, call }) {
    await call(load(), 'connect');
  },
  async measure({ load, timed, call }) {
    const pm2 = load();
    return { ms: await timed(() => call(pm2, 'connect')) };
  },
  metrics: [{ label: 'connect, daemon running', unit: 'ms', value: (s) => s.ms, target: { ratio: 1 / 8 } }],
};
