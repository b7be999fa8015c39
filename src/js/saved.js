'use strict';

/*
 * What `update` does around the change of daemons. Compat: scripts run `update` after an installation and rely on what pm2 leaves behind: the
 * list as it was is saved, and where nothing runs, what was saved comes back.
 */

/** Has this package's daemon take over from the one that runs, or start. Gives `{success: true}`. */
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

module.exports = { update };
