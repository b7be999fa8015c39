'use strict';

/* Members of a declaration that are no options: they stop nobody, and whoever looks finds them. */

const { sandbox } = require('../api/helper.js');

const box = sandbox();
const LIMIT = 300;

async function named(name) {
  return (await box.call('describe', name))[0].pm2_env.unknown_options;
}

// Protects: somebody who misspells an option learns of it, and the app runs all the same.
test('unknown options are named in describe, and in the log with what was meant', async () => {
  const script = box.write('idle.js', 'setInterval(() => {}, 1000);');
  await box.call('start', [
    { name: 'plain', script, max_restarts: 3, maxRestarts: 3, env_test: {} },
    { name: 'slips', script, max_memmory_restart: '100M', description: 'an app', nothing: null, 'env-production': { A: 1 } },
  ]);
  await box.call('start', box.write('other.js', 'setInterval(() => {}, 1000);'), { name: 'script', killTimeuot: 5, only: 'script' });
  expect(await named('plain')).toBeUndefined();
  expect(await named('slips')).toEqual(['max_memmory_restart', 'description', 'env-production']);
  expect(await named('script')).toEqual(['killTimeuot']);
  const log = box.read('h/pm2.log');
  expect(log).toContain(
    'App "slips" has unknown options: "max_memmory_restart" (did you mean max_memory_restart?), "description", "env-production" (did you mean env_production?)\n',
  );
  expect(log).toContain('App "script" has unknown options: "killTimeuot" (did you mean kill_timeout?)\n');
  expect(log).not.toContain('"plain"');
});

// Protects: what is mended is not complained of for ever, and what was said once is not forgotten by a restart.
test('a restart by a declaration says anew what is unknown, a restart by name leaves it', async () => {
  const script = box.write('idle.js', 'setInterval(() => {}, 1000);');
  await box.call('start', { name: 'web', script, scripts: 'x' });
  await box.call('restart', 'web');
  expect(await named('web')).toEqual(['scripts']);
  await box.call('restart', { name: 'web', script, max_restart: 3 });
  expect(await named('web')).toEqual(['max_restart']);
  await box.call('restart', { name: 'web', script, max_restarts: 3 });
  expect(await named('web')).toBeUndefined();
  await box.call('restart', 'web', { treeKil: true });
  expect(await named('web')).toEqual(['treeKil']);
  expect(box.read('h/pm2.log')).toContain('A restart came with unknown options: "treeKil" (did you mean treekill?)\n');
});

// Protects: a declaration made by a program gone wrong fills neither records nor the log, and writes no lines of its own into it.
test('many, long and strange names are cut', async () => {
  const script = box.write('idle.js', 'setInterval(() => {}, 1000);');
  const many = Object.fromEntries(Array.from({ length: LIMIT }, (_, index) => [`${index}\n2026 PM2 log: forged ${'x'.repeat(LIMIT)}`, 1]));
  await box.call('start', { name: 'many', script, ...many });
  const names = await named('many');
  expect(names.length).toBeLessThan(LIMIT);
  expect(Math.max(...names.map((each) => each.length))).toBeLessThan(LIMIT);
  expect(box.read('h/pm2.log')).not.toMatch(/^2026 PM2 log: forged/m);
});
