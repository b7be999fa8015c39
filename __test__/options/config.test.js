'use strict';

/* Configuration files, good and bad: no file may hang, end, flood or change the program that names it. */

const path = require('node:path');
const { sandbox, failure, FIXTURES } = require('../api/helper.js');

const box = sandbox();
const IDLE = path.join(FIXTURES, 'idle.js');
const names = async () => (await box.call('list')).map(({ name }) => name);
const app = (more = '') => `{ name: 'a', script: ${JSON.stringify(IDLE)}, ${more} }`;

test.each([
  ['never-returns.config.js', 'for (;;);', 'no value after'],
  ['never-ready.config.mjs', 'await new Promise((resolve) => setTimeout(resolve, 1e6));', 'no value after'],
  ['exits.config.js', 'process.exit(7);', 'ended with code 7'],
  ['throws.config.js', "\nthrow new Error('not today');", 'line 2, column 7.*not today'],
  ['cyclic.config.js', 'const a = { apps: [] }; a.apps.push(a); module.exports = a;', 'circular'],
  ['enormous.config.js', "module.exports = { apps: [{ script: 'x'.repeat(20e6) }] };", 'more than 16777216 characters'],
  ['greedy.config.js', 'const all = []; for (;;) all.push(new Array(1e6).fill(Math.random()));', 'memory limit|no value'],
  ['nothing.config.js', '', 'No script path|must contain'],
  ['lost.config.js', "process.chdir('/nowhere/at/all');", "ENOENT.*chdir.*'/nowhere/at/all'"],
  ['number.config.js', 'module.exports = 5;', 'must contain an app'],
])('%s is one error that names the file, and apps go on', async (name, text, expected) => {
  await box.call('start', { name: 'other', script: IDLE });
  const error = await failure(box.call('start', box.write(name, text)));
  expect((Array.isArray(error) ? error[0] : error).message).toMatch(new RegExp(expected, 's'));
  expect(await names()).toEqual(['other']);
});

test('what a file prints is not printed by the program, and what it changes is not changed', async () => {
  const file = box.write('loud.config.js', `console.log('LOUD'); process.env.LOUD = '1'; module.exports = { apps: [${app()}] };`);
  const { stdout, code } = await box.run(
    `const pm2 = require(process.env.PM2_UNDER_TEST);
     pm2.start(${JSON.stringify(file)}, (error) => { console.log(String(error), process.env.LOUD); pm2.disconnect(); });`,
  );
  expect(code).toBe(0);
  expect(stdout).toBe('null undefined\n');
  expect(await names()).toEqual(['a']);
});

test('what a file changes in the environment, as dotenv does, is so for its apps', async () => {
  const file = box.write(
    'dot.config.js',
    `process.env.FROM_DOTENV = 'x'; delete process.env.DROPPED;
     module.exports = { apps: [${app('env: { PORT: process.env.FROM_DOTENV + process.argv[2] }')}] };`,
  );
  const { stdout } = await box.run(
    `const pm2 = require(process.env.PM2_UNDER_TEST);
     pm2.start(${JSON.stringify(file)}, (error) => { console.log(String(error)); pm2.disconnect(); });`,
    { env: { DROPPED: '1' }, args: ['80'] },
  );
  expect(stdout).toBe('null\n');
  const [{ pm2_env }] = await box.call('describe', 'a');
  expect([pm2_env.FROM_DOTENV, pm2_env.PORT, pm2_env.DROPPED]).toEqual(['x', 'x80', undefined]);
});

test('a file is read afresh each time, with what it requires', async () => {
  box.write('part.js', 'module.exports = 100;');
  const file = box.write('fresh.config.js', `module.exports = [${app("kill_timeout: require('./part.js')")}];`);
  await box.call('start', file);
  box.write('part.js', 'module.exports = 200;');
  await box.call('start', file);
  const [found] = await box.call('describe', 'a');
  expect(found.pm2_env.kill_timeout).toBe(200);
});

test('regular expressions in ignore_watch keep their meaning', async () => {
  await box.call('start', box.write('regexp.config.js', `module.exports = [${app('ignore_watch: [/\\.tmp$/i, "logs"]')}];`));
  const [found] = await box.call('describe', 'a');
  expect(found.pm2_env.ignore_watch).toEqual(['/\\.tmp$/i', 'logs']);
});

test.each([
  ['x.json', () => `{ /* five */ apps: [${app()},] }`],
  ['x.json5', () => `[${app()}]`],
  ['x.yaml', () => `apps:\n  - name: a\n    script: ${IDLE}\n`],
  ['x.config.js', () => `module.exports = ${app()};`],
  ['x.config.cjs', () => `module.exports = { apps: ${app()} };`],
  ['x.config.mjs', () => `export default { pm2: [${app()}] };`],
])('%s is read', async (name, text) => {
  await box.call('start', box.write(name, text()));
  expect(await names()).toEqual(['a']);
});

test('environments, only, name_prefix of the call, namespace, filter_env and append_env_to_name', async () => {
  const file = box.write(
    'all.config.js',
    `module.exports = { apps: [
      { ...${app()}, append_env_to_name: true, env: { COLOUR: 'green', KEEP: 'k' }, env_production: { COLOUR: 'red' } },
      { ...${app()}, name: 'b', namespace: 'space', filter_env: ['SECRET'] },
      { ...${app()}, name: 'c' },
    ] };`,
  );
  process.env.SECRET_KEY_OF_TEST = 'x';
  try {
    await box.call('start', file, { env: 'production', only: 'a-production,b,a' });
  } finally {
    delete process.env.SECRET_KEY_OF_TEST;
  }
  const list = await box.call('list');
  const record = (part) => list.find(({ name }) => name.includes(part))?.pm2_env;
  expect(list.map(({ name }) => name).sort()).toEqual(['a-production', 'b']);
  expect(record('production')).toMatchObject({ COLOUR: 'red', KEEP: 'k', namespace: 'default' });
  expect(record('b').namespace).toBe('space');
  expect(record('b').env).not.toHaveProperty('SECRET_KEY_OF_TEST');
  await box
    .call('start', file, { only: 'c', name_prefix: 'pre' })
    .catch(() => box.call('start', file, { only: 'pre:c', name_prefix: 'pre' }));
  expect(await names()).toContain('pre:c');
});

test('a promise of apps is waited for, and numbers and functions in a file are refused by name', async () => {
  await box.call('start', box.write('promise.config.js', `module.exports = Promise.resolve({ apps: [${app()}] });`));
  expect(await names()).toEqual(['a']);
  for (const [value, given] of [
    ['() => 5', 'now is [object Object]'],
    ['NaN', 'given: "NaN"'],
  ]) {
    const text = `module.exports = { apps: [{ name: 'b', script: ${JSON.stringify(IDLE)}, kill_timeout: ${value} }] };`;
    const error = await failure(box.call('start', box.write(`value-${given.length}.config.js`, text)));
    expect(error.message).toContain('"kill_timeout"');
    expect(error.message).toContain(given);
  }
  expect(await names()).toEqual(['a']);
});
