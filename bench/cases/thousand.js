'use strict';

/**
 * 1,000 `sleep` processes: every act on all of them, what the manager holds, and what it costs while nothing happens; the last also
 * when each of them has a memory limit, which somebody has to look at.
 */

const { managerOf, memoryOfAll, cpuOfAll } = require('../lib/processes');
const { median } = require('../lib/statistics');

const SIZE = 1_000;

/** After this pause both packages have done what they do once after a start. */
const SETTLE_MS = 5_000;

/** Longer than the 30 s between two looks of pm2's at memory. */
const IDLE_MS = 35_000;

/** Lists in a row; the median counts. */
const LISTS = 7;

async function expectAll({ call }, pm2, status, size = SIZE) {
  const list = await call(pm2, 'list');
  const right = list.filter((app) => app.pm2_env.status === status).length;
  if (right !== size) throw new Error(`${right} of ${size} processes are ${status}`);
}

/** Percent of one core while nobody asks for anything. */
async function idle({ pause, home }) {
  await pause(SETTLE_MS);
  const before = cpuOfAll(managerOf(home));
  await pause(IDLE_MS);
  return ((cpuOfAll(managerOf(home)) - before) / IDLE_MS) * 100;
}

module.exports = {
  rounds: 1,
  phaseMs: 900_000,
  async measure(context) {
    const { load, call, timed, sleepers, home } = context;
    const pm2 = load();
    await call(pm2, 'connect');
    const result = {};
    result.start = await timed(() => call(pm2, 'start', sleepers(SIZE)));
    await expectAll(context, pm2, 'online');
    const lists = [];
    for (let i = 0; i < LISTS; i += 1) lists.push(await timed(() => call(pm2, 'list')));
    result.list = median(lists);
    result.idle = await idle(context);
    result.memory = memoryOfAll(managerOf(home));
    result.restart = await timed(() => call(pm2, 'restart', 'all'));
    await expectAll(context, pm2, 'online');
    result.stop = await timed(() => call(pm2, 'stop', 'all'));
    await expectAll(context, pm2, 'stopped');
    result.delete = await timed(() => call(pm2, 'delete', 'all'));
    await expectAll(context, pm2, 'online', 0);
    const limited = sleepers(SIZE).map((app) => ({ ...app, max_memory_restart: '1G' }));
    await call(pm2, 'start', limited);
    await expectAll(context, pm2, 'online');
    result.idleLimited = await idle(context);
    return result;
  },
  metrics: [
    { label: 'start 1,000, from an array', unit: 'ms', value: (s) => s.start },
    { label: 'list, 1,000 processes', unit: 'ms', value: (s) => s.list },
    { label: "restart 'all' (1,000)", unit: 'ms', value: (s) => s.restart },
    { label: "stop 'all' (1,000)", unit: 'ms', value: (s) => s.stop },
    { label: "delete 'all' (1,000)", unit: 'ms', value: (s) => s.delete },
    { label: 'daemon, 1,000 processes, resident', unit: 'MB', value: (s) => s.memory.rss / 1024 },
    { label: 'daemon, 1,000 processes, private', unit: 'MB', value: (s) => s.memory.uss / 1024 },
    { label: 'daemon, 1,000 idle processes, of a core', unit: '%', value: (s) => s.idle, target: { most: 0.5 } },
    { label: 'the same, each with a memory limit', unit: '%', value: (s) => s.idleLimited, target: { most: 0.5 } },
  ],
};
