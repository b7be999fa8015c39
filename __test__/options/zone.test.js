'use strict';

/* In which time zone cron_restart counts. */

const { sandbox, until } = require('../api/helper.js');

const box = sandbox();
const ZONE = 'Asia/Tokyo';

/** The hour of a zone, and the one after it: this test may run over the end of one. */
function hours(timeZone) {
  const hour = Number(new Intl.DateTimeFormat('en-GB', { timeZone, hour: '2-digit', hourCycle: 'h23' }).format());
  return `${hour},${(hour + 1) % 24}`;
}

// Protects: "at three in the morning" is three o'clock where the daemon was started, and nowhere else.
test('cron_restart counts in the time zone of the daemon', async () => {
  const before = process.env.TZ;
  process.env.TZ = ZONE;
  try {
    await box.call('connect');
  } finally {
    if (before === undefined) delete process.env.TZ;
    else process.env.TZ = before;
  }
  const script = box.write('idle.js', 'setInterval(() => {}, 1000);');
  await box.call('start', [
    { name: 'elsewhere', script, cron_restart: `* * ${hours('UTC')} * * *`, kill_timeout: 500 },
    { name: 'there', script, cron_restart: `* * ${hours(ZONE)} * * *`, kill_timeout: 500 },
  ]);
  const restarts = async (name) => (await box.call('describe', name))[0].pm2_env.restart_time;
  await until(async () => (await restarts('there')) >= 2, 'two ticks');
  expect(await restarts('elsewhere')).toBe(0);
});
