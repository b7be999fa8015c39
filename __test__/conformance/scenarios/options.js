'use strict';

/** What comes of each option in the record, in both spellings and both forms. Nothing is started: the record says what would be. */

const camel = (name) => name.replace(/_([a-z])/g, (_, letter) => letter.toUpperCase());

/** A value, or several, for each option whose record can be compared. */
// Neither `trace` nor `deep_monitoring`: for these pm2 installs packages from the network.
const VALUES = {
  namespace: ['space'],
  args: ['one "two words" three', ['one', 'two words']],
  exec_interpreter: ['sh', 'none'],
  node_args: ['--no-warnings --stack-size=900', ['--no-warnings']],
  out_file: ['out.txt', 'NULL', '/dev/null', '~/o.log'],
  error_file: ['deep/err.log', 'NULL'],
  log_file: ['comb.log', true],
  pid_file: ['z.pid', 'z.foo'],
  disable_logs: [true],
  log_type: ['json', 'nonsense'],
  log_date_format: ['YYYY-MM-DD HH:mm Z'],
  time: [true, false],
  max_memory_restart: [10485760, '10M', '1G', '512K'],
  restart_delay: [3000, '3000'],
  exp_backoff_restart_delay: [100],
  source_map_support: [true],
  disable_source_map_support: [true],
  wait_ready: [true],
  kill_timeout: [3000, '3000', 0],
  shutdown_with_message: [true],
  listen_timeout: [4000],
  cron_restart: ['0 0 * * *', '30 2 * * 1-5'],
  merge_logs: [true, false],
  vizion: [false, true],
  autorestart: [false],
  stop_exit_codes: [[1, 2], 5],
  watch_delay: [500],
  watch: [false, ['server', 'lib']],
  ignore_watch: ['logs tmp', ['logs', '**/*.tmp']],
  watch_options: [{ followSymlinks: false }],
  min_uptime: [5000, '10s', '2m', '1h'],
  max_restarts: [5, '5', 0],
  exec_mode: ['fork', 'fork_mode', 'cluster', 'cluster_mode'],
  post_update: [['npm install']],
  disable_trace: [true],
  v8: [true],
  event_loop_inspector: [true],
  increment_var: ['COUNTED'],
  instance_var: ['NUMBER'],
  pmx: [false, 'text'],
  automation: [false],
  treekill: [false],
  port: [3100, '3100'],
  kill_retry_time: [250],
  windowsHide: [false],
  io: [{ any: { thing: 1 } }],
  env: [{ TEXT: 'x', NUMBER: 1, LIST: [1], NOTHING: null, YES: true, NESTED: { a: { b: 1 } } }],
  env_stage: [{ STAGE: '1' }],
  filter_env: [['LANG'], []],
  cwd: ['/tmp', '..', '.'],
  username: ['somebody'],
  install_url: ['/x.tgz'],
  append_env_to_name: [true],
};

/** Further names, with a value. */
const ALIASES = {
  exec: 'app.js',
  cmd: 'app.js',
  interpreter: 'sh',
  interpreter_args: '--a',
  interpreterArgs: ['--a'],
  out: 'a.log',
  output: 'b.log',
  out_log: 'c.log',
  err: 'a.log',
  error: 'b.log',
  err_log: 'c.log',
  err_file: 'd.log',
  log: 'e.log',
  pid: 'f.pid',
  cron: '1 1 1 1 *',
  combine_logs: true,
  nodeArgs: ['--a'],
  scriptArgs: ['a', 'b'],
};

exports.run = async (world) => {
  world.file('app.js', 'setInterval(() => {}, 1 << 30);');
  const apps = [];
  const add = (name, more) => apps.push({ name: `app-${apps.length}-${name.replaceAll('_', '-')}`, autostart: false, ...more });
  for (const [option, values] of Object.entries(VALUES)) {
    for (const value of values) add(option, { script: 'app.js', [option]: value });
    if (camel(option) !== option && !option.startsWith('env_')) add(camel(option), { script: 'app.js', [camel(option)]: values[0] });
  }
  for (const [alias, value] of Object.entries(ALIASES)) {
    add(alias, { ...(/^(exec|cmd)$/.test(alias) ? {} : { script: 'app.js' }), [alias]: value });
  }
  // Every app by itself: what one leaves behind in the caller is seen with the next.
  for (const app of apps) {
    const { error } = await world.attempt('start', app);
    world.note(app.name, error === null ? 'started' : String(error.message ?? error));
  }
  // With a script and options, pm2 knows the names of one word and the camelCase ones.
  for (const [option, [value]] of Object.entries(VALUES)) {
    if (/^(args|env_stage)$/.test(option)) continue;
    const name = `script-${camel(option)}`;
    const { error } = await world.attempt('start', 'app.js', { name, autostart: false, [camel(option)]: value });
    world.note(name, error === null ? 'started' : String(error.message ?? error));
  }
  for (const { name, pm2_env } of await world.list()) world.note(`record of ${name}`, { pm2_env });
};
