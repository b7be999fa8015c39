'use strict';

const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { checkOptions } = require('./arguments.js');

/** Where logrotate looks for rules. */
const FOLDER = '/etc/logrotate.d';

/**
 * Writes `pm2-<user>`. The files are copied and emptied, so that whoever has them open writes on.
 * `options.user` and `options.folder` replace the user and the folder.
 */
function writeRules(api, options) {
  const { user = os.userInfo().username, folder = FOLDER } = checkOptions('logrotate', options);
  if (folder === FOLDER && process.getuid?.() !== 0) throw new Error('You have to run this with elevated rights');
  if (!/^[\w.-]+$/.test(user)) throw new Error(`options.user of pm2.logrotate must be the name of a user, not ${user}`);
  const { PM2_LOG_FILE_PATH: own, DEFAULT_LOG_PATH: logs } = api._conf;
  const text = `"${own}" "${logs}/"*.log {
    weekly
    rotate 12
    missingok
    notifempty
    copytruncate
    compress
    delaycompress
    su ${user} ${user}
}
`;
  const file = path.join(folder, `pm2-${user}`);
  fs.writeFileSync(file, text, { mode: 0o644 });
  return { path: file };
}

module.exports = { writeRules };
