'use strict';

/** What an app sends with process.send, and what it gets. */

const APP = `
  const say = (message) => process.send(message);
  process.on('message', (packet) => {
    if (packet.topic !== 'go') return say({ type: 'echo', data: packet });
    say('a text');
    say(7);
    say(true);
    say([1, 2]);
    say({ without: 'type' });
    say({ type: 'only-type' });
    say({ type: 'falsy', data: 0 });
    say({ type: 'own:event', data: { deep: { list: [1, null, 'x'] } }, further: 'member' });
    say({ type: 'process:msg', data: 'text' });
    say({ type: 'end', data: true });
  });
  process.stdin.on('data', (line) => say({ type: 'line', data: String(line) }));
  setInterval(() => {}, 1 << 30);
`;

exports.run = async (world) => {
  await world.step('start', 'start', { name: 'talker', script: world.file('app.js', APP) });
  await world.step('go', 'sendDataToProcessId', { type: 'process:msg', id: 0, topic: 'go', data: {} });
  await world.untilEvents('the last message', 1, (name) => name === 'end');
  await world.step('packet', 'sendDataToProcessId', 0, { type: 'process:msg', topic: 'other', data: { n: 1 }, extra: [2] });
  await world.untilEvents('the echo', 1, (name) => name === 'echo');
  await world.step('line', 'sendLineToStdin', 0, 'typed');
  await world.untilEvents('the line', 1, (name) => name === 'line');
  await world.step('signal', 'sendSignalToProcessId', 'SIGCONT', 0);
};
