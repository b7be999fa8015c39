'use strict';

// Takes away what call.js left running. The daemon stays; `pm2 kill` ends it too.

const pm2 = require('../..');

pm2.delete('message-example', (error) => {
  console.log(error ? `nothing to do: ${error.message}` : 'message-example is gone');
  pm2.disconnect();
});
