'use strict';

/*
 * Every option of the README's table, which is written from the code's own, and what it is seen to do to a real process.
 *
 * `effects/*.js` have an entry for each: `app(box, name)` is the declaration of an app that gets that name, or null if the
 * option needs a call of its own; `seen(box, name, record)` is what is looked at, `record()` being the app's record at that moment;
 * `expected(box, name)` is what must be seen. All apps are started by one call and live at the same time.
 */

const fs = require('node:fs');
const path = require('node:path');
const { Sandbox, ROOT } = require('../api/helper.js');

const EFFECTS = { ...require('./effects/start.js'), ...require('./effects/logs.js'), ...require('./effects/life.js') };

/** The rows of the table: all names of an option, the main one first, what it takes, and its default. */
function table() {
  const readme = fs.readFileSync(path.join(ROOT, 'README.md'), 'utf8');
  const rows = readme.split('<!-- options:')[1].split('<!-- end of options -->')[0].split('\n');
  const cells = rows.filter((row) => row.startsWith('| `')).map((row) => row.split('|').map((cell) => cell.trim()));
  return cells.map(([, names, allowed, standard]) => ({ names: names.match(/[^` ]+/g), allowed, standard }));
}

/** Names of apps are names of log files too, which have no underscores. */
const nameOf = (option) => option.replaceAll('_', '-');

const box = new Sandbox();
const record = async (name) => (await box.call('describe', name))[0].pm2_env;

beforeAll(async () => {
  box.open();
  box.idle = box.write('idle.js', 'setInterval(() => {}, 1000);');
  fs.chmodSync(box.folder, 0o755);
  process.env.EFFECT_SECRET = 'secret';
  process.env.EFFECT_OTHER = 'other';
  const apps = Object.entries(EFFECTS).map(([option, { app }]) => [nameOf(option), app(box, nameOf(option))]);
  await box.call(
    'start',
    apps.filter(([, app]) => app !== null).map(([name, app]) => ({ name, ...app })),
  );
});

afterAll(async () => {
  delete process.env.EFFECT_SECRET;
  delete process.env.EFFECT_OTHER;
  await box.close();
});

// Protects: no option is promised without being shown, and nothing is shown that is no longer promised.
test('every option of the table is shown here', () => {
  const promised = [...table().map(({ names }) => names[0]), 'env_*'];
  expect(Object.keys(EFFECTS).sort()).toEqual(promised.sort());
});

// Protects: what an option does to a process, as somebody sees it who only has the API.
test.each(Object.keys(EFFECTS))('%s does what it says', async (option) => {
  const { seen, expected } = EFFECTS[option];
  const name = nameOf(option);
  expect(await seen(box, name, () => record(name))).toEqual(expected(box, name));
});

/** A value that differs from the option's default. */
function sample({ names: [option], allowed, standard }) {
  const values = {
    script: box.write('another.js', ''),
    exec_interpreter: 'sh',
    cron_restart: '0 0 1 1 *',
    exec_mode: 'fork',
    umask: '027',
    stop_exit_codes: [5],
    uid: 65534,
    gid: 65534,
    watch_options: { usePolling: true },
  };
  if (values[option] !== undefined) return values[option];
  if (/^true or false/.test(allowed)) return standard !== '`true`';
  if (/^(a number|milliseconds|bytes)/.test(allowed)) return 4321;
  return allowed === 'a list' ? ['a', 'b'] : 'a-text';
}

/** A record without what no two processes share. */
function comparable(pm2_env) {
  const text = JSON.stringify(pm2_env, (key, value) =>
    /^(pm_id|unique_id|created_at|pm_uptime|NODE_APP_INSTANCE|a-text)$/.test(key) ? undefined : value,
  );
  return JSON.parse(text.replace(/-\d+\.(log|pid)"/g, '.$1"'));
}

// Protects: the old names, the short ones and the camelCase ones are options too, each the same one.
test('an option is the same under every name', async () => {
  // To be another user takes root.
  const rows = table().filter(({ names }) => names.length > 1 && (process.getuid() === 0 || !/^[ug]id$/.test(names[0])));
  const spelled = rows.flatMap((row) => row.names.map((name) => ({ option: row.names[0], name, value: sample(row) })));
  // Nothing is started: the record says what would be. Processes of one name have records that can be compared.
  const declared = ({ option, name, value }) => {
    const app = { name: 'spelled', script: box.idle, autostart: false, instances: 1 };
    if (option === 'script') delete app.script;
    return { ...app, [name]: value };
  };
  const apps = [...spelled, { option: 'none', name: 'autostart', value: false }].map(declared);
  await box.call('start', apps, { parallel: 1 });
  const records = (await box.call('describe', 'spelled')).map(({ pm2_env }) => comparable(pm2_env));
  expect(records).toHaveLength(apps.length);
  const plain = records.pop();
  const main = new Map(spelled.map(({ option, name }, index) => [name === option && option, records[index]]));
  spelled.forEach(({ option, name }, index) => {
    expect([name, records[index]]).toEqual([name, main.get(option)]);
    expect([name, records[index]]).not.toEqual([name, plain]);
  });
});
