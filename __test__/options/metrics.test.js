'use strict';

/* What the daemon tells of the machine and of its processes. */

const { sandbox, until } = require('../api/helper.js');

const box = sandbox();
/** Percent of a processor, of which there may be few for many. */
const BUSY = 5;
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
  await until(async () => (await cpu('busy')) > BUSY, 'work');
  await until(async () => (await cpu('idle')) < BUSY, 'rest');
  expect((await box.call('describe', 'idle'))[0].monit.memory).toBeGreaterThan(1e6);
});

test('all threads of an app count, and so does what it names with axm_options.pid', async () => {
  // Protects: the sum over threads, where the main one alone would show an idle app; whose figures are shown for one that stands for another.
  const work = "new (require('node:worker_threads').Worker)('for (;;);', { eval: true });";
  const heavy = box.write('heavy.js', 'const held = Buffer.alloc(200e6, 1); setInterval(() => held.length, 1000);');
  const proxy = `const child = require('node:child_process').spawn(process.execPath, ['${heavy}']);
    process.send({ type: 'axm:option:configuration', data: { pid: child.pid } }); setInterval(() => {}, 1000);`;
  await box.call('start', [
    { name: 'threads', script: box.write('threads.js', work) },
    { name: 'proxy', script: box.write('proxy.js', proxy) },
  ]);
  const shown = async (name) => (await box.call('describe', name))[0];
  await until(async () => (await shown('threads')).monit.cpu > BUSY, 'work of a thread');
  await until(async () => (await shown('proxy')).monit.memory > 200e6, 'the memory of the child');
  expect((await shown('proxy')).pm2_env.axm_options.pid).not.toBe((await shown('proxy')).pid);
});
