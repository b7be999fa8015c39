'use strict';

/*
 * The web interface, run as a script or an app: the list of processes and figures of the machine as JSON, for a dashboard.
 */

const http = require('node:http');
const os = require('node:os');
const path = require('node:path');

const PORT = 9615;

const HEADERS = {
  'Access-Control-Allow-Origin': '*',
  'Access-Control-Allow-Headers': 'Cache-Control, Pragma, Origin, Authorization, Content-Type, X-Requested-With',
  'Access-Control-Allow-Methods': 'GET',
  'Content-Type': 'application/json',
};

/** Members of a record that are no variables: what is shown of a process, unless its environment is asked for. */
const SHOWN = new Set(
  `pm_id name namespace version status pm_uptime created_at restart_time unstable_restarts exec_mode instances exec_interpreter pm_exec_path pm_cwd
  pm_out_log_path pm_err_log_path pm_log_path pm_pid_path node_args watch autorestart autostart merge_logs node_version username treekill
  kill_retry_time exit_code vizion pmx pmx_module automation axm_actions axm_monitor axm_options axm_dynamic versioning unique_id km_link
  prev_restart_delay vizion_running stop_exit_codes instance_var max_memory_restart cron_restart uid gid`.split(/\s+/),
);

/** Asked with this variable the environments are shown, too: they hold secrets. */
const isOpen = process.env.PM2_WEB_ENV === 'true' && !process.env.PM2_WEB_STRIP_ENV_VARS;

function start(pm2) {
  const port = process.env.PM2_WEB_PORT || process.env.PM2_API_PORT || PORT;
  const host = process.env.PM2_API_IPADDR || '127.0.0.1';
  const server = http.createServer((request, response) => answer(pm2, request, response));
  server.on('error', (error) => {
    process.stderr.write(`The web interface cannot listen on ${host}:${port}: ${error.message}\n`);
    process.exit(1);
  });
  // Compat: two spaces, which scripts wait for.
  server.listen(port, host, () => process.stdout.write(`Web interface listening on  ${host}:${server.address().port}\n`));
}

async function answer(pm2, request, response) {
  const say = (status, value) => response.writeHead(status, HEADERS).end(JSON.stringify(value));
  if (request.url.split('?', 1)[0] !== '/') return say(404, { err: '404' });
  try {
    return say(200, state((await pm2.list()).map(isOpen ? (each) => each : withoutEnvironment)));
  } catch (error) {
    return say(500, { err: error.message });
  }
}

function withoutEnvironment(description) {
  const record = Object.entries(description.pm2_env).filter(([name]) => SHOWN.has(name));
  return { ...description, pm2_env: Object.fromEntries(record) };
}

function state(processes) {
  return {
    system_info: { hostname: os.hostname(), uptime: os.uptime() },
    monit: {
      loadavg: os.loadavg(),
      total_mem: os.totalmem(),
      free_mem: os.freemem(),
      cpu: os.cpus(),
      interfaces: os.networkInterfaces(),
    },
    processes,
  };
}

/** Connects and listens. A daemon that cannot be reached is worth a word and an exit, for whoever restarts this. */
function main() {
  const pm2 = require(path.join(__dirname, '..', '..'));
  pm2.connect((error) => {
    if (error === null) return start(pm2);
    process.stderr.write(`${error.message}\n`);
    return process.exit(1);
  });
}

main();
