'use strict';

/*
 * A program that is killed while it saves the list, a hundred times: whatever is in the home afterwards can be read, and nothing piles up.
 * `PM2_SEED` repeats a run.
 */

const { spawn } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');
const { sandbox, until, packageFolder, FIXTURES } = require('../api/helper.js');

const box = sandbox();
const IDLE = path.join(FIXTURES, 'idle.js');

const ROUNDS = 100;
/** Programs that save at the same time. */
const LANES = 2;
/** The longest a program saves before it is killed: several times what one save takes. */
const LIFE_MAX_US = 30_000;
const APPS = ['a', 'b', 'c', 'd', 'e', 'f'];

const WRITER = `
  const { custom } = require(process.env.PM2_UNDER_TEST);
  const pm2 = new custom({ pm2_home: process.env.PM2_HOME });
  (async () => {
    await pm2.connect();
    process.stdout.write('saving');
    for (;;) await pm2.dump();
  })();
`;

/** Numbers from 0 to 1 that a seed repeats. */
function randomFrom(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Starts a program that saves again and again, and kills it after `life` microseconds of that. */
async function killWhileSaving(writer, life) {
  const env = { PATH: process.env.PATH, PM2_HOME: box.home, PM2_UNDER_TEST: packageFolder };
  const child = spawn(process.execPath, [writer], { env, stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = new Promise((resolve) => child.once('exit', (_code, signal) => resolve(signal)));
  await new Promise((resolve) => child.stdout.once('data', resolve));
  const until = process.hrtime.bigint() + BigInt(Math.round(life)) * 1000n;
  while (process.hrtime.bigint() < until) {
    // A timer is too coarse for the moments between two system calls.
  }
  child.kill('SIGKILL');
  expect(await ended).toBe('SIGKILL');
}

function saved(name) {
  return JSON.parse(fs.readFileSync(path.join(box.home, name), 'utf8')).map((record) => record.name);
}

test('whenever a program is killed that saves, a whole list is there, and its predecessor', async () => {
  const seed = Number(process.env.PM2_SEED ?? Date.now() % 1e6);
  const random = randomFrom(seed);
  const writer = box.write('writer.js', WRITER);
  for (const name of APPS) await box.call('start', { script: IDLE, name });
  await box.call('dump');
  await box.call('dump');
  const lanes = Array.from({ length: LANES }, async () => {
    for (let round = 0; round < ROUNDS / LANES; round++) {
      await killWhileSaving(writer, random() * LIFE_MAX_US);
      for (const name of ['dump.pm2', 'dump.pm2.bak']) {
        let names;
        try {
          names = saved(name);
        } catch (error) {
          throw new Error(`${name} after PM2_SEED=${seed}, round ${round}: ${error.message}`);
        }
        expect([seed, name, ...names]).toEqual([seed, name, ...APPS]);
      }
    }
  });
  await Promise.all(lanes);
  // What the last ones left is removed by the next that saves.
  await box.call('dump');
  expect(fs.readdirSync(box.home).filter((name) => name.endsWith('.tmp') || name.includes('unreadable'))).toEqual([]);
  await box.call('kill');
  await until(() => !fs.existsSync(path.join(box.home, 'pm2.pid')), 'the end of the daemon');
  await box.call('resurrect');
  expect((await box.call('list')).map(({ name, pm2_env }) => [name, pm2_env.status]).sort()).toEqual(APPS.map((name) => [name, 'online']));
}, 600_000);
