'use strict';

const fs = require('node:fs');

/*
 * What `update` does around the change of daemons. Compat: scripts run `update` after an installation and rely on what pm2 leaves behind: the
 * list as it was is saved, and where nothing runs, what was saved comes back.
 */

/** Has this package's daemon take over from the one that runs, take the place of one of pm2's, or start. Gives `{success: true}`. */
async function update(api) {
  if ((await api.Client.pingDaemon()) && (await apps(api)).length > 0) await api.Client.act('dump', api.cwd, {});
  const value = await api.Client.update();
  if ((await apps(api)).length === 0) await api.Client.act('resurrect', api.cwd, {});
  return value;
}

/** What a saved list would hold. */
async function apps({ Client }) {
  return (await Client.call('getMonitorData', {})).filter((each) => !each.pm2_env.pmx_module);
}

/** Whether there is a saved list, or the one before it, that can be read. */
function isSaved({ DUMP_FILE_PATH, DUMP_BACKUP_FILE_PATH }) {
  return [DUMP_FILE_PATH, DUMP_BACKUP_FILE_PATH].some((file) => {
    try {
      return Array.isArray(JSON.parse(fs.readFileSync(file, 'utf8')));
    } catch {
      // Not there, or no list.
      return false;
    }
  });
}

module.exports = { update, isSaved };
