'use strict';

/*
 * Methods that pm2 has and this package has not: each fails with the reason, and with what to do instead where there is something.
 */

const AGENT = 'there is no agent of pm2.io in this package';
const CONTAINER = 'containers are made with the tools for them: this package writes no Dockerfile';
const SCREEN = 'it belongs to the command line, which is not there yet';

/** Method → the names of its arguments, then why it fails. `monit` and `dashboard` say pm2's own words. */
const ABSENT = {
  monit: ['cb', 'Monit cant be called programmatically'],
  dashboard: ['cb', 'Dashboard cant be called programmatically'],
  boilerplate: ['cb', `pm2.boilerplate asks questions on a terminal: ${SCREEN}`],
  autoinstall: ['cb', 'pm2.autoinstall has no program to run, in pm2 neither'],
  deepUpdate: ['cb', 'pm2.deepUpdate installs software for everybody: run `npm install -g pm2@latest`, then call update'],
  publish: ['folder opts cb', 'pm2.publish asks questions on a terminal: use `npm publish`'],
  profile: [
    'type time cb',
    'pm2.profile is about the JavaScript of the daemon, and it has none; profile an app with the km: actions of @pm2/io',
  ],
  linkManagement: ['cmd public_key machine opts cb', `pm2.linkManagement: ${AGENT}`],
  link: ['infos cb', `pm2.link: ${AGENT}`],
  unlink: ['cb', `pm2.unlink: ${AGENT}`],
  agentInfos: ['cb', `pm2.agentInfos: ${AGENT}`],
  killAgent: ['cb', `pm2.killAgent: ${AGENT}`],
  openDashboard: ['', `pm2.openDashboard: ${AGENT}`],
  clearSetup: ['opts cb', `pm2.clearSetup: ${AGENT}`],
  minimumSetup: ['opts cb', `pm2.minimumSetup: ${AGENT}`],
  generateDockerfile: ['script opts', `pm2.generateDockerfile: ${CONTAINER}`],
  dockerMode: ['script opts mode', `pm2.dockerMode: ${CONTAINER}`],
  _handleAttributeUpdate: ['opts', "pm2._handleAttributeUpdate prepares what pm2's own restart sends; give options to restart"],
};

/** A method that always fails, with the name and the number of arguments that callers may look at. */
function failing(name, settle) {
  const [args, reason] = ABSENT[name];
  const method = (...given) => {
    const callback = given.findLast((each) => typeof each === 'function');
    return settle(callback, () => {
      throw Object.assign(new Error(reason), { code: 'ERR_PM2_ABSENT' });
    });
  };
  const length = args === '' ? 0 : args.split(' ').length;
  return Object.defineProperties(method, { name: { value: name, configurable: true }, length: { value: length, configurable: true } });
}

module.exports = { ABSENT, failing };
