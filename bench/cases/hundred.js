'use strict';

/** 100 `sleep` processes: started from one array, then restarted, stopped and started again with 'all'. */

const SIZE = 100;

async function expectAll({ call }, pm2, status) {
  const list = await call(pm2, 'list');
  const right = list.filter((app) => app.pm2_env.status === status).length;
  if (right !== SIZE) throw new Error(`${right} of ${SIZE} processes are ${status}`);
  return list.map((app) => app.pid);
}

module.exports = {
  rounds: 3,
  async measure(context) {
    const { load, call, timed, sleepers } = context;
    const pm2 = load();
    await call(pm2, 'connect');
    const result = {};
    result.start = await timed(() => call(pm2, 'start', sleepers(SIZE)));
    const before = await expectAll(context, pm2, 'online');
    result.restart = await timed(() => call(pm2, 'restart', 'all'));
    const after = await expectAll(context, pm2, 'online');
    if (after.some((pid) => before.includes(pid))) throw new Error('a process was not restarted');
    result.stop = await timed(() => call(pm2, 'stop', 'all'));
    await expectAll(context, pm2, 'stopped');
    result.again = await timed(() => call(pm2, 'restart', 'all'));
    await expectAll(context, pm2, 'online');
    result.delete = await timed(() => call(pm2, 'delete', 'all'));
    return result;
  },
  metrics: [
    { label: 'start 100, from an array', unit: 'ms', value: (s) => s.start, target: { ratio: 1 / 3 } },
    { label: "restart 'all' (100)", unit: 'ms', value: (s) => s.restart, target: { ratio: 1 / 20 } },
    { label: "stop 'all' (100)", unit: 'ms', value: (s) => s.stop, target: { ratio: 1 / 20 } },
    { label: "restart 'all' when stopped (100)", unit: 'ms', value: (s) => s.again },
    { label: "delete 'all' (100)", unit: 'ms', value: (s) => s.delete },
  ],
};
