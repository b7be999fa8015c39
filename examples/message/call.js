'use strict';

// Starts app.js, asks it something, prints what it answers, and leaves it running.

const path = require('node:path');
// In your own project: require('pm2').
const pm2 = require('../..');

const QUESTION = 'is anybody there?';

/** Says what went wrong and ends, without leaving a connection that would keep this script alive. */
function giveUp(what, error) {
  console.error(`${what}: ${Array.isArray(error) ? error.map((one) => one.message).join(', ') : error.message}`);
  process.exitCode = 1;
  pm2.disconnect();
}

pm2.connect((connectError) => {
  if (connectError) return giveUp('cannot connect', connectError);

  // Listen first, then ask: the bus does not repeat what was said before someone listened.
  pm2.launchBus((busError, bus) => {
    if (busError) return giveUp('cannot listen', busError);

    bus.on('example:answer', (packet) => {
      console.log(`${packet.process.name} (id ${packet.process.pm_id}) answers: ${packet.data.answer}`);
      // The app goes on without us.
      pm2.disconnect();
    });

    const app = { name: 'message-example', script: path.join(__dirname, 'app.js') };
    pm2.start(app, (startError) => {
      if (startError) return giveUp('cannot start app.js', startError);

      pm2.describe(app.name, (describeError, found) => {
        if (describeError) return giveUp('cannot find the app', describeError);

        const message = { type: 'process:msg', topic: 'example', data: { question: QUESTION } };
        pm2.sendDataToProcessId(found[0].pm_id, message, (sendError) => {
          if (sendError) giveUp('cannot send', sendError);
        });
      });
    });
  });
});
