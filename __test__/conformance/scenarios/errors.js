'use strict';

/** What is said when something cannot be done. */

exports.run = async (world) => {
  const script = world.file('app.js', 'setInterval(() => {}, 1 << 30);');
  const step = (label, ...what) => world.step(label, ...what);

  await step('missing script by path', 'start', './missing.js');
  await step('missing script in an object', 'start', { name: 'gone', script: './missing.js' });
  await step('no script', 'start', { name: 'no-script' });
  await step('one good, one missing', 'start', [
    { name: 'good', script },
    { name: 'bad', script: './missing.js' },
  ]);
  await step('missing file', 'start', './missing.json');
  await step('broken file', 'start', world.file('broken.json', '{"apps": ['));
  await step('restart of nobody', 'restart', 'nobody');
  await step('restart of no id', 'restart', 99);
  await step('reload of nobody', 'reload', 'nobody');
  await step('reload of no id', 'reload', 99);
  await step('stop of nobody', 'stop', 'nobody');
  await step('stop of no id', 'stop', 99);
  await step('delete of nobody', 'delete', 'nobody');
  await step('delete of no id', 'delete', 99);
  await step('pattern without a match', 'restart', '/nothing/');
  await step('message without topic', 'sendDataToProcessId', { id: 0, data: {} });
  await step('message to nobody', 'sendDataToProcessId', { id: 99, topic: 't', data: {} });
  await step('stop it', 'stop', 'good');
  await step('message to a stopped one', 'sendDataToProcessId', { id: 0, topic: 't', data: {} });
  await step('line to nobody', 'sendLineToStdin', 99, 'line');
  await step('line to a stopped one', 'sendLineToStdin', 0, 'line');
  await step('signal to nobody', 'sendSignalToProcessName', 'SIGUSR1', 'nobody');
  await step('signal to no id', 'sendSignalToProcessId', 'SIGUSR1', 99);
  await step('delete it', 'delete', 'good');
  await step('all of nothing', 'restart', 'all');
  await step('stop all of nothing', 'stop', 'all');
};
