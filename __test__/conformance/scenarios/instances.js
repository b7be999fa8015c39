'use strict';

/** How many processes, in which mode, under which numbers and with which files; and what changes those counts afterwards. */

const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');

const APP = 'setInterval(() => {}, 1 << 30);';

/** Counts that do not depend on the processors, and those that do. */
const PLAIN = [1, '1', 2, '2'];
const COUNTED = [0, 'max', -1, -2, -100, 'many', '2x'];

/** Whether all processors of the machine may be used: pm2 counts all of them, ours those that may be. */
function hasAllProcessors() {
  const read = (file) => (fs.existsSync(file) ? fs.readFileSync(file, 'utf8') : '');
  let group = /^0::(\/.*)$/m.exec(read('/proc/self/cgroup'))?.[1] ?? '/';
  for (; ; group = path.dirname(group)) {
    if (/^\d/.test(read(`/sys/fs/cgroup${group}/cpu.max`))) return false;
    if (group === '/') break;
  }
  return (os.availableParallelism?.() ?? 0) === os.cpus().length;
}

exports.run = async (world) => {
  const script = world.file('app.js', APP);
  world.file('loop.sh', 'exec sleep 86400\n');
  const numbers = async (label) =>
    world.note(
      label,
      (await world.list()).map(({ name, pm_id, pm2_env: env }) => [
        name,
        pm_id,
        env.status,
        env.exec_mode,
        env.instances,
        env.NODE_APP_INSTANCE,
        env.SLOT,
        env.COUNTED,
        env.env.COUNTED,
        env.merge_logs,
        env.pm_out_log_path,
        env.pm_pid_path,
        env.restart_time,
      ]),
    );
  const start = (label, options) => world.step(label, 'start', { script, name: label.replaceAll(' ', '-'), autostart: false, ...options });

  for (const instances of hasAllProcessors() ? [...PLAIN, ...COUNTED] : PLAIN) {
    await start(`instances ${instances} ${typeof instances}`, { instances });
    await start(`fork ${instances} ${typeof instances}`, { instances, exec_mode: 'fork' });
  }
  await start('cluster', { exec_mode: 'cluster' });
  await start('execute command', { instances: 2, execute_command: true });
  await start('shell', { script: 'loop.sh', instances: 2 });
  await start('merged', { instances: 2, merge_logs: true });
  await start('own variable', { instances: 2, exec_mode: 'fork', instance_var: 'SLOT' });
  await start('counted', { instances: 3, exec_mode: 'fork', increment_var: 'COUNTED', env: { COUNTED: 3000 } });
  await start('counted from a text', { instances: 2, exec_mode: 'fork', increment_var: 'COUNTED', env: { COUNTED: '70' } });
  await start('counted from nothing', { instances: 2, exec_mode: 'fork', increment_var: 'COUNTED' });
  await numbers('all forms');
  // Last, because it takes an id with one of the two only.
  const { error } = await world.attempt('start', { name: 'shell-in-cluster', script: 'loop.sh', exec_mode: 'cluster', autostart: false });
  world.note('shell in cluster', error ? String(error.message ?? error) : 'taken');
  await world.attempt('delete', 'shell-in-cluster');
  await world.step('delete all', 'delete', 'all');

  // Every run that is ended counts as a short one, however slow the machine.
  const min_uptime = 3_600_000;
  await world.step('two', 'start', { name: 'two', script, min_uptime, instances: 2, exec_mode: 'fork', instance_var: 'SLOT' });
  await world.step('scale to four', 'scale', 'two', 4);
  await numbers('four');
  await world.step('scale to two', 'scale', 'two', 2);
  await numbers('two of them');
  await world.step('scale by two', 'scale', 'two', '+2');
  await numbers('four again');
  await world.step('scale to the same', 'scale', 'two', 4);
  await world.step('scale nobody', 'scale', 'nobody', 4);
  await world.step('restart them', 'restart', 'two');
  await world.step('reset one', 'reset', String((await world.process('two')).pm_id));
  await world.statuses('one reset');
  await world.step('reset them', 'reset', 'two');
  await world.statuses('all reset');
  await world.step('reset nobody', 'reset', 'nobody');
  await world.step('scale to nothing', 'scale', 'two', 0);
  await numbers('none');
};
