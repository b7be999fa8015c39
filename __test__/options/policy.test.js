/* What starts an app anew without anybody's call: its memory, its schedule; and what ends the growth of its delays. */

const { sandbox, failure, until } = require('../api/helper.js');

const box = sandbox();

const IDLE = 'setInterval(() => {}, 1000);';
const CALM = { autorestart: true, kill_timeout: 500 };

async function one(name) {
  const [found] = await box.call('describe', name);
  return found.pm2_env;
}

test('an app above max_memory_restart is restarted, once, and pm2.log says why', async () => {
  // Protects: the limit itself, its unit, and that what was restarted begins anew below it. How soon is a constant's business (daemon/memory.rs).
  const script = box.write(
    'grow.js',
    `const fs = require('node:fs'); const held = [];
     const isFirst = !fs.existsSync('started'); fs.writeFileSync('started', ''); setInterval(() => {}, 1000);
     if (isFirst) setInterval(() => held.length > 10 || held.push(Buffer.alloc(20e6, 1)), 20);`,
  );
  await box.call('start', {
    ...CALM,
    script,
    name: 'grow',
    max_memory_restart: '150M',
  });
  const env = await until(async () => (await one('grow')).restart_time >= 1 && one('grow'), 'a restart');
  expect(env.max_memory_restart).toBe(150 * 1024 * 1024);
  // A witness above its limit shows that the daemon has looked again, twice, and found nothing to do.
  await box.call('start', { ...CALM, script: box.write('idle.js', IDLE), name: 'witness', max_memory_restart: '1M' });
  await until(async () => (await one('witness')).restart_time >= 2, 'two more looks');
  expect((await one('grow')).restart_time).toBe(1);
  expect(box.read('h/pm2.log')).toMatch(
    /Process 0 restarted because it exceeds --max-memory-restart value \(current_memory=\d+ max_memory_limit=157286400 \[octets\]\)/,
  );
});

test('the memory of what an app started counts too', async () => {
  box.write('heavy.js', `const held = Buffer.alloc(250e6, 1); setInterval(() => held.length, 1000);`);
  const script = box.write('parent.sh', `#!/bin/bash\n${process.execPath} heavy.js\n`);
  await box.call('start', {
    ...CALM,
    script,
    name: 'parent',
    max_memory_restart: '150M',
  });
  await until(async () => (await one('parent')).restart_time >= 1, 'a restart');
});

test('an app below its limit is left alone, and a limit can be changed by a restart', async () => {
  const script = box.write('idle.js', IDLE);
  await box.call('start', {
    ...CALM,
    script,
    name: 'calm',
    max_memory_restart: '2G',
  });
  // Another app that is above its limit tells when the daemon has looked.
  await box.call('start', { ...CALM, script, name: 'witness', max_memory_restart: '1M', force: true });
  await until(async () => (await one('witness')).restart_time >= 2, 'two looks at memory');
  expect((await one('calm')).restart_time).toBe(0);
  await box.call('restart', 'calm', { max_memory_restart: '1M' });
  await until(async () => (await one('calm')).restart_time >= 2, 'a restart');
});

/** Waits until an app of its own has been restarted this often by the same schedule. */
async function ticks(count) {
  const script = box.write('clock.js', IDLE);
  await box.call('start', { ...CALM, script, name: 'clock', cron_restart: '* * * * * *' });
  await until(async () => (await one('clock')).restart_time >= count, `${count} ticks`);
}

test('cron_restart restarts at its ticks, starts what is stopped, and is gone with the app', async () => {
  const script = box.write('idle.js', IDLE);
  await box.call('start', {
    ...CALM,
    script,
    name: 'tick',
    cron_restart: '* * * * * *',
  });
  await until(async () => (await one('tick')).restart_time >= 2, 'two restarts');
  const starts = (await one('tick')).restart_time;
  await box.call('stop', 'tick');
  await until(async () => (await one('tick')).status === 'online', 'a start after the stop');
  expect((await one('tick')).restart_time).toBeGreaterThanOrEqual(starts);
  await box.call('delete', 'tick');
  const lines = box.read('h/pm2.log');
  expect(lines).toContain('[PM2][WORKER] Registering a cron job on: 0');
  expect(lines).toContain('[PM2] Deregistering a cron job on: 0');
  await ticks(2);
  expect((await box.call('list')).map(({ name }) => name)).toEqual(['clock']);
});

test('each instance is restarted by itself, and 0 ends a schedule', async () => {
  const script = box.write('idle.js', IDLE);
  await box.call('start', {
    ...CALM,
    script,
    name: 'tick',
    cron: '* * * * * *',
    instances: 2,
    exec_mode: 'fork',
  });
  await until(async () => (await box.call('list')).every(({ pm2_env }) => pm2_env.restart_time >= 1), 'restarts of both');
  await box.call('restart', 'tick', { cron_restart: 0 });
  const counts = async () => (await box.call('describe', 'tick')).map(({ pm2_env }) => pm2_env.restart_time);
  const before = await counts();
  expect(before).toHaveLength(2);
  await ticks(2);
  expect(await counts()).toEqual(before);
});

test.each(['zz', '99 * * * *', '* * * * * * * *', '*/0 * * * *'])('the pattern %s is refused', async (cron) => {
  const script = box.write('idle.js', IDLE);
  const error = await failure(box.call('start', { script, cron }));
  expect((Array.isArray(error) ? error[0] : error).message).toMatch(/^Cron pattern error: CronPattern/);
  expect(await box.call('list')).toEqual([]);
});

test('a run that lasts ends the growth of restart delays', async () => {
  // Longer than the run of a script that fails, on any machine.
  process.env.EXP_BACKOFF_RESET_TIMER = '3000';
  try {
    const script = box.write('fall.sh', '[ -e stay ] && exec sleep 1000; exit 1\n');
    await box.call('start', {
      script,
      name: 'fall',
      exp_backoff_restart_delay: 40,
      max_restarts: 50,
    });
    await until(async () => (await one('fall')).prev_restart_delay > 60, 'growing delays');
    box.write('stay', '');
    await until(async () => (await one('fall')).prev_restart_delay === 0, 'a reset');
    expect(box.read('h/pm2.log')).toContain('Reset the restart delay, as app fall has been up for more than 3000ms');
  } finally {
    delete process.env.EXP_BACKOFF_RESET_TIMER;
  }
});
