'use strict';

const fs = require('node:fs');
const os = require('node:os');

/** Lines of the daemon's log in a report, and bytes read for them. */
const LINES = 20;
const BYTES = 16 * 1024;

/** What a maintainer wants to know of an installation, as text to be pasted. No variables: they hold secrets. */
async function report(api) {
  const isAlive = await api.Client.pingDaemon();
  const list = isAlive ? await api.Client.call('getMonitorData', {}) : [];
  const version = isAlive ? await api.Client.call('getVersion', {}) : 'not running';
  const rows = list.map(({ name, pm_id, pid, pm2_env, monit }) => {
    const { status, exec_mode, restart_time } = pm2_env;
    return `${pm_id}  ${name}  ${exec_mode}  pid ${pid}  ${status}  ${restart_time} restarts  ${monit.cpu}%  ${monit.memory} bytes`;
  });
  const sections = {
    'PM2 report': [`date: ${new Date().toISOString()}`],
    Daemon: [`version: ${version}`, `home: ${api.pm2_home}`, `pid: ${readPid(api._conf.PM2_PID_FILE_PATH)}`],
    CLI: [`local pm2: ${require('../../package.json').version}`, `node: ${process.version}`, `node path: ${process.execPath}`],
    'System info': [
      `arch: ${os.arch()}`,
      `platform: ${os.platform()} ${os.release()}`,
      `cpus: ${os.cpus().length}`,
      `memory: ${os.freemem()} of ${os.totalmem()} bytes free`,
      `uptime: ${os.uptime()} s`,
    ],
    'PM2 list': rows,
    [`Daemon logs, last ${LINES} lines`]: lastLines(api._conf.PM2_LOG_FILE_PATH),
  };
  const text = Object.entries(sections).map(([title, lines]) => `--- ${title} ---\n${lines.join('\n')}\n`);
  return `\`\`\`\n${text.join('\n')}\`\`\`\n`;
}

function readPid(file) {
  try {
    return fs.readFileSync(file, 'utf8').trim();
  } catch {
    return 'none';
  }
}

function lastLines(file) {
  try {
    const handle = fs.openSync(file, 'r');
    try {
      const { size } = fs.fstatSync(handle);
      const bytes = Buffer.alloc(Math.min(size, BYTES));
      fs.readSync(handle, bytes, 0, bytes.length, size - bytes.length);
      return bytes.toString().trimEnd().split('\n').slice(-LINES);
    } finally {
      fs.closeSync(handle);
    }
  } catch {
    return ['none'];
  }
}

module.exports = { report };
