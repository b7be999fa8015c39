'use strict';

/**
 * Puts an app in front of this process' terminal: each line of stdin goes to the app, with `separator` for its end, and what the app
 * prints comes to stdout and stderr. Fulfilled when stdin ends.
 */
async function attach(api, id, separator) {
  if (id === null || id === '' || Number.isNaN(Number(id))) throw new Error('pm_id must be number');
  const bus = await api.Client.launchBus();
  const print = (stream) => (packet) => {
    if (String(packet.process.pm_id) === String(id)) process[stream].write(packet.data);
  };
  bus.on('log:out', print('stdout'));
  bus.on('log:err', print('stderr'));
  const lines = require('node:readline').createInterface({ input: process.stdin, crlfDelay: Number.POSITIVE_INFINITY });
  try {
    // One after the other, so that they arrive in their order and nobody reads ahead of a slow app.
    for await (const line of lines) await api.sendLineToStdin(id, line, separator);
  } finally {
    lines.close();
    bus.close();
  }
}

module.exports = { attach };
