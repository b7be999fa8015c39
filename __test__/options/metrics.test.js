'use strict';

/* What the daemon tells of the machine and of its processes. */

const { sandbox, until } = require('../api/helper.js');

const box = sandbox();
const remote = (method) =>
  new Promise((resolve, reject) => {
    box.pm2.Client.executeRemote(method, {}, (error, value) => (error ? reject(error) : resolve(value)));
  });

test("getSystemData has pm2's metrics, each a number with its unit", async () => {
  const data = await remote('getSystemData');
  for (const [name, metric] of Object.entries(data)) {
    expect([name, metric]).toEqual([name, { value: expect.any(Number), type: 'metric', unit: expect.any(String), historic: true }]);
  }
  const names = ['CPU Usage', 'CPU Temperature', 'RAM Usage', 'RAM Total', 'RAM Available', 'RAM Active', 'Disk Reads', 'Disk Writes'];
  expect(Object.keys(data)).toEqual(expect.arrayContaining(names));
  expect(data['RAM Total'].value).toBeGreaterThan(1e6);
  expect(data['RAM Usage'].value).toBeLessThanOrEqual(100);
});

test('a busy process shows its share of a processor, an idle one nearly none', async () => {
  await box.call('start', [
    { name: 'busy', script: box.write('busy.js', 'setInterval(() => { const end = Date.now() + 90; while (Date.now() < end); }, 100);') },
    { name: 'idle', script: box.write('idle.js', 'setInterval(() => {}, 1000);') },
  ]);
  const cpu = async (name) => (await box.call('describe', name))[0].monit.cpu;
  await until(async () => (await cpu('busy')) > 20, 'work');
  await until(async () => (await cpu('idle')) < 5, 'rest');
  expect((await box.call('describe', 'idle'))[0].monit.memory).toBeGreaterThan(1e6);
});
