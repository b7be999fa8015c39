'use strict';

/** start, list, describe, restart, stop, reload, reset and delete of forked apps, with the events they cause. */

/** Quiet: whether it gets to print between two restarts depends on the machine. */
const APP = 'setInterval(() => {}, 1 << 30);';

/** Every run that is ended counts as a short one, however slow the machine. */
const min_uptime = 3_600_000;

exports.run = async (world) => {
  const script = world.file('app.js', APP);
  await world.step('start', 'start', { name: 'one', script, min_uptime });
  await world.step('start another', 'start', { name: 'two', script, min_uptime, namespace: 'second' });
  await world.step('list', 'list');
  await world.step('describe by name', 'describe', 'one');
  await world.step('describe by id', 'describe', 1);
  await world.step('describe nobody', 'describe', 'nobody');
  const pids = await world.attempt('getPID', 'one');
  world.note('pids by name', [pids.error, pids.value.length, pids.value[0] === (await world.process('one')).pid]);
  await world.step('restart by name', 'restart', 'one');
  await world.statuses('after restart');
  await world.step('restart by id', 'restart', 1);
  await world.step('restart by numeric text', 'restart', '1');
  await world.statuses('after more restarts');
  await world.step('stop by namespace', 'stop', 'second');
  await world.step('stop again', 'stop', 'two');
  await world.statuses('after stop');
  await world.step('list when stopped', 'list');
  await world.step('restart the stopped one', 'restart', 'two');
  await world.statuses('after its start');
  await world.step('reload a forked one', 'reload', 'one');
  await world.step('reset', 'reset', 'one');
  await world.statuses('after reset');
  await world.step('restart all', 'restart', 'all');
  await world.step('restart by pattern', 'restart', '/tw/');
  await world.step('start a running one by name', 'start', 'one');
  await world.step('signal by name', 'sendSignalToProcessName', 'SIGCONT', 'one');
  await world.step('delete one', 'delete', 'one');
  await world.statuses('after delete');
  await world.step('start after delete', 'start', { name: 'three', script, min_uptime });
  await world.statuses('ids go on');
  await world.step('stop all', 'stop', 'all');
  await world.step('delete all', 'delete', 'all');
  await world.step('list of nothing', 'list');
  await world.step('start anew', 'start', { name: 'four', script, min_uptime });
  await world.statuses('ids begin again');
  await world.step('delete the last', 'delete', 0);
};
