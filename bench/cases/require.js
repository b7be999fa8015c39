'use strict';

/** What `require('pm2')` costs the program that says it: time, and the memory it holds afterwards. */

const { memoryOf } = require('../lib/processes');

module.exports = {
  rounds: 11,
  async measure({ load, now }) {
    const before = memoryOf(process.pid).uss;
    const start = now();
    load();
    const ms = now() - start;
    return { ms, kb: memoryOf(process.pid).uss - before };
  },
  metrics: [
    { label: "require('pm2')", unit: 'ms', value: (s) => s.ms, target: { ratio: 1 / 10 } },
    { label: "require('pm2'), private memory", unit: 'MB', value: (s) => s.kb / 1024 },
  ],
};
