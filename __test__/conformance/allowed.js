'use strict';

/** All that the app `loud` of the scenario `logs` prints. */
const LOUD = Array.from({ length: 2_000 }, (_, i) => `line ${i}\n`).join('');

/**
 * Where our transcripts may differ from the published pm2's, and why. Each line takes what it names out of both transcripts; `ours`
 * demands what ours must be instead. Paths look like `steps/<label>/value/0/pm2_env/axm_options`, `events/<name> <id> <event>`,
 * `files/logs/<file>`; `*` is any one part of a path, `**` any number of them.
 */
const ALLOWED = [
  // The metrics library that pm2 loads into every app fills these; we load none.
  { path: '**/pm2_env/axm_actions', why: 'filled by the metrics library inside the app' },
  { path: '**/pm2_env/axm_monitor', why: 'filled by the metrics library inside the app' },
  { path: '**/pm2_env/axm_options', why: 'filled by the metrics library inside the app' },
  { path: '**/pm2_env/axm_dynamic', why: 'filled by the metrics library inside the app' },
  { path: '**/pm2_env/node_version', why: 'told by the metrics library some time after the start' },
  { path: '**/pm2_env/_tree_pids', why: 'pids of the last stop, an implementation detail' },
  { path: '**/pm2_env/versioning', why: 'filled in by a git look-up that finishes at any time' },
  { path: '**/pm2_env/vizion_running', why: 'whether that look-up is under way at this moment' },
  { path: '**/process/versioning', why: 'the same look-up, in messages' },
  { path: '**/pm2_env/_pm2_version', why: 'our own version where pm2 has its own' },
  // Variables that our launcher or pm2's leaves in the environment of the caller and that travel with it.
  { path: '**/PM2_JSON_PROCESSING', why: 'pm2 leaves it in the caller’s environment, we change nothing there' },
  { path: '**/PM2_PROGRAMMATIC', why: 'set while the package is loaded, seen or not depending on when the environment is read' },
  { path: '**/PM2_INTERACTOR_PROCESSING', why: 'left by the metrics agent of pm2' },

  {
    scenario: ['forms', 'files', 'saved'],
    path: '**/pm2_env/unstable_restarts',
    why: 'whether a restarted app was young depends on the machine',
  },

  // Decisions of design.md and behaviour.md, "where we differ".
  { path: 'events/* process:event/*', ours: /^\["delete",true/, why: 'a delete is published' },
  { path: '**/PWD', why: 'pm2 changes the caller’s own PWD after an app with a cwd, and later apps inherit it' },
  { path: '**/updateEnv', why: 'pm2 mixes an option of the call into the environment of the app' },
  { scenario: 'forms', path: '**/pm2_env/script', why: 'pm2 keeps the declaration’s own member after it has resolved it' },
  {
    scenario: 'forms',
    path: '**/pm2_env/cwd',
    ours: /^<home>/,
    why: 'the app is called cwd, and with pm2 its variable of that name hides the option',
  },
  {
    scenario: ['forms', 'options', 'instances', 'policy'],
    path: '**/pm2_env/version',
    ours: /^N\/A$/,
    why: 'pm2 leaves it out of what was never started, though its clients read it',
  },
  { scenario: ['options', 'formats'], path: '**/pm2_env/merge_logs', ours: /^false$/, why: 'pm2 loses a false that has several spellings' },
  { scenario: 'options', path: 'steps/*disableTrace/**/disable_trace', why: 'pm2 looks for one spelling alone' },
  { scenario: 'options', path: 'steps/*disableTrace/**/trace', ours: /^false$/, why: 'pm2 looks for one spelling alone' },
  { scenario: 'options', path: '**/pm2_env/io', ours: /^{"any":{"thing":1}}$/, why: 'with pm2 the variable of that name hides the option' },
  {
    scenario: 'options',
    path: 'steps/*scriptArgs/**/args',
    ours: /^\["a","b"\]$/,
    why: 'documented, and known to pm2 in another form only',
  },
  { scenario: 'options', path: 'steps/*script-io/**/env/io', why: 'with a script, pm2 hands io to no app' },
  ...['LIST', 'NOTHING', 'NESTED'].map((name) => ({
    scenario: 'options',
    path: `steps/*script-env/**/${name}`,
    ours: /^(\[1\]|null|{"a":{"b":1}})$/,
    why: 'variables are texts, with a script as in a declaration',
  })),
  {
    scenario: 'errors',
    path: 'steps/* missing file/error',
    ours: /missing\.json not found$/,
    why: 'the file is named, in words instead of a system call',
  },
  {
    scenario: 'errors',
    path: 'steps/* broken file/error',
    ours: /broken\.json malformated/,
    why: 'pm2 shows what a JavaScript engine made of it',
  },
  {
    scenario: 'again',
    path: '**/pm2_env/env/*',
    why: 'pm2 puts the file’s variables in place of all, though the process keeps the others',
  },
  { scenario: 'again', path: '**/pm2_env/instances', ours: /^1$/, why: 'a restart starts no more of them, and pm2 says it had' },
  {
    scenario: 'again',
    path: '**/pm2_env/pm_out_log_path',
    ours: /^<home>\/work\/moved.log$/,
    why: 'pm2 notes the new file and goes on with the old one',
  },
  ...['out_file', 'script'].map((name) => ({
    scenario: 'again',
    path: `**/pm2_env/${name}`,
    why: 'pm2 keeps what it has resolved before',
  })),
  ...['kill_timeout', 'max_restarts', 'max_memory_restart', 'killTimeout', 'maxRestarts', 'execMode'].map((name) => ({
    scenario: 'again',
    path: `steps/* changed by name/**/${name}`,
    ours: (value) => value === { kill_timeout: 700, max_restarts: 9 }[name],
    why: 'every option is honoured in both spellings; pm2 takes some for new members',
  })),
  { scenario: 'policy', path: 'steps/* without its clock/value', ours: /^0$/, why: '0 ends a schedule; pm2 does not see it' },
  { scenario: 'formats', path: '**/pm2_env/umask', ours: /^63$/, why: 'declarations of pm2 have no umask' },
  { scenario: 'formats', path: 'steps/* mask says/value', ours: /^0 0 0077 /, why: 'declarations of pm2 have no umask' },
  { scenario: 'formats', path: '**/*as-group*', why: 'pm2 takes no group without a user' },
  { scenario: 'formats', path: 'steps/* as group/**', why: 'the same' },
  { scenario: 'formats', path: 'steps/* group says/**', why: 'the same' },
  {
    scenario: 'formats',
    path: 'steps/* as no-group/error',
    ours: /^\[PM2\]\[ERROR\] {2}Group no-such-group cannot be found$/,
    why: 'pm2 names a user that nobody named',
  },
  {
    scenario: 'instances',
    path: 'steps/* shell in cluster/value',
    ours: /only Node apps run in cluster mode/,
    why: 'pm2 hands the shell script to Node',
  },
  { scenario: 'instances', path: 'events/shell-in-cluster *', why: 'the same' },
  { scenario: 'watch', path: 'events/* * process:event/**', why: 'how often a file is changed until all have seen it' },
  ...['one', 'two', 'three'].map((name) => ({
    scenario: 'saved',
    path: `events/${name} * process:event/**`,
    why: 'pm2 publishes no online for what comes back from a dump',
  })),
  {
    scenario: 'policy',
    path: 'steps/* start of what was asleep/value/*',
    ours: (value) => value === true || value === 'online',
    why: 'with pm2 no restart ever starts an app that was declared with autostart: false',
  },
  { scenario: 'policy', path: 'events/asleep * process:event/**', why: 'the same, on the bus' },
  { scenario: 'policy', path: 'files/logs/asleep-*', why: 'the same, in files' },
  {
    scenario: 'policy',
    path: 'steps/*/value/*/1',
    ours: /^errored$/,
    why: 'with pm2 an app with restart_delay that was given up says for ever that it waits',
  },
  {
    scenario: 'policy',
    path: 'steps/* bad clock/error',
    ours: /^Cron pattern error: CronPattern: '61' is no minute \(0 to 59\) \(given: "61 \* \* \* \*"/,
    why: 'what a minute can be is said too',
  },
  { scenario: 'policy', path: 'events/clock * process:event/**', why: 'how often it ticks while others work' },
  {
    scenario: 'files',
    path: 'steps/* broken yaml/error',
    ours: /^File <home>\/work\/x.yaml malformated: .* \(line 1, column 8\)$/,
    why: 'the file is named, and the place is where its author can look',
  },
  {
    scenario: 'files',
    path: 'steps/* one of two is bad/error',
    ours: /^Expect "kill_timeout" .*\(given: "soon", allowed: .*, app: bad\)$/,
    why: 'what was given, what is allowed, and in which app',
  },
  {
    scenario: 'messages',
    path: 'events/talker 0 *',
    ours: (events) => Array.isArray(events) && events.every(({ msg, pm_id }) => msg !== undefined && pm_id === 0),
    why: 'pm2 0.x published such messages under their type, and pm2-interface’s example waits for that; the raw event is there too',
  },
  { scenario: 'logs', path: 'files/logs/quiet-*', why: 'an app with disable_logs gets no empty files' },
  {
    scenario: ['crash-loop', 'policy'],
    path: '**/stop_exit_codes',
    ours: /^\["?[34]"?\]$/,
    why: 'pm2 turns a list of one code into a number',
  },

  // Small things that could be made the same; nobody is known to look at them.
  ...['delayed', 'backoff'].map((name) => ({
    scenario: ['crash-loop', 'policy'],
    path: `events/${name} * process:event/**`,
    why: 'a stop of what only waits for its restart has no second exit',
  })),
  { scenario: 'environment', path: '**/variables/version', ours: /^N\/A$/, why: 'the first run is not told the version yet, in words' },

  // What an app printed just before process.exit() is lost with pm2; with us it never is.
  {
    scenario: 'logs',
    path: 'files/logs/loud-out.log',
    ours: (text) => text === LOUD,
    why: 'pm2 loses what is in a socket when the app exits; ours has every line',
  },
  {
    scenario: 'logs',
    path: 'events/loud * log:out',
    ours: (text) => text === LOUD,
    why: 'the same lines on the bus',
  },
];

module.exports = { ALLOWED };
