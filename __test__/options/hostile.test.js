'use strict';

/* Configuration files that are no configuration but an accident or an attack. One daemon for all of them, and an app that must not notice. */

const { execFileSync } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');
const { Sandbox, failure } = require('../api/helper.js');

const box = new Sandbox();
let witness;

beforeAll(async () => {
  box.open();
  await box.call('start', { name: 'witness', script: box.write('idle.js', 'setInterval(() => {}, 1000);') });
  witness = await left();
});

afterAll(() => box.close());

const left = async () => (await box.call('list')).map(({ name, pid, pm2_env }) => [name, pid, pm2_env.status, pm2_env.restart_time]);

/** Nine levels of ten references each: a billion items of a few hundred bytes. */
function bomb() {
  const levels = ['a0: &a0 [x,x,x,x,x,x,x,x,x,x]'];
  for (let level = 1; level < 10; level += 1)
    levels.push(
      `a${level}: &a${level} [${Array(10)
        .fill(`*a${level - 1}`)
        .join()}]`,
    );
  return `${levels.join('\n')}\napps: *a9\n`;
}

const CASES = [
  ['yaml-bomb.yaml', bomb, 'yaml-bomb.yaml'],
  ['yaml-deep.yml', () => '- '.repeat(20_000), 'yaml-deep.yml'],
  ['yaml-merge.yaml', () => 'a: &a\n  <<: *a\n  script: x\n', 'yaml-merge.yaml'],
  ['yaml-tag.yaml', () => 'apps: !!python/object/apply:os.system ["touch pwned"]\n', 'yaml-tag.yaml|must be an object'],
  ['json-deep.json', () => '['.repeat(1_000_000), 'json-deep.json'],
  ['json-endless.json', () => '(() => { for (;;); })()', 'json-endless.json'],
  ['json-escape.json', () => "({}).constructor.constructor('return process')().exit(9)", 'json-escape.json'],
  ['json-require.json', () => "require('fs').writeFileSync('pwned', '')", 'json-require.json'],
  ['json-getter.json', () => '({ get script() { for (;;); } })', 'json-getter.json'],
  ['json-binary.json', () => Buffer.from([0, 255, 254, 1]).toString('latin1'), 'json-binary.json'],
  ['empty.json', () => '', 'empty.json'],
  ['null.yaml', () => 'null\n', 'must be an object or a list of apps'],
  ['huge.json', () => `[${'"x",'.repeat(6e6)}"x"]`, 'huge.json.*16777216'],
  ['huge.yaml', () => `a: ${'x'.repeat(20e6)}`, 'huge.yaml.*16777216'],
];

// Protects: whoever is handed a file by somebody else can name it without harm to itself or to what runs.
test.each(CASES)('%s is one error', async (name, text, expected) => {
  const error = await failure(box.call('start', box.write(name, text())));
  const message = (Array.isArray(error) ? error[0] : error).message;
  expect(message).toMatch(new RegExp(expected, 's'));
  expect(message.length).toBeLessThan(2000);
  expect(fs.existsSync(path.join(box.folder, 'pwned'))).toBe(false);
  expect(await left()).toEqual(witness);
});

// Protects: a name can lead to what never ends or never comes, and the caller would wait for it with all that it does.
test('what is no file is not read', async () => {
  const pipe = path.join(box.folder, 'pipe.json');
  execFileSync('mkfifo', [pipe]);
  fs.mkdirSync(path.join(box.folder, 'folder.json'));
  fs.symlinkSync('/dev/zero', path.join(box.folder, 'zero.yaml'));
  fs.symlinkSync('loop.json', path.join(box.folder, 'loop.json'));
  for (const name of ['pipe.json', 'folder.json', 'zero.yaml', 'loop.json']) {
    const { message } = await failure(box.call('start', name));
    expect(message).toMatch(new RegExp(`^File .*${name} (is no regular file|cannot be read: ELOOP)`));
  }
  expect(await left()).toEqual(witness);
});
