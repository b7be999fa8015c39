'use strict';

const { spawn } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');
const { sandbox, until, isAlive, testOurs, FIXTURES } = require('./helper.js');

const box = sandbox();

/** Runs a script under plain node until it has written its file, and gives the file. */
async function plain(script, file, { nodeArgs = [], args = [] } = {}) {
  const env = { ...process.env, PWD: box.folder };
  const child = spawn(process.execPath, [...nodeArgs, script, file, ...args], {
    cwd: box.folder,
    env,
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  try {
    return await written(file);
  } finally {
    child.kill('SIGKILL');
  }
}

function written(file) {
  return until(() => {
    try {
      return JSON.parse(fs.readFileSync(file, 'utf8'));
    } catch {
      return null;
    }
  }, `${file} written`);
}

/** The same script's view under plain node and under us. */
async function views(script, { nodeArgs = [], args = [] } = {}) {
  const file = path.join(box.folder, 'view.json');
  const alone = await plain(script, file, { nodeArgs, args });
  fs.rmSync(file);
  await box.call('start', { script, name: 'view', args: [file, ...args], node_args: nodeArgs, interpreter: process.execPath });
  return [await written(file), alone];
}

describe('a script sees of itself what it sees under plain node', () => {
  testOurs('CommonJS', async () => {
    const [managed, alone] = await views(path.join(FIXTURES, 'view.js'), { args: ['x', 'y z'] });
    expect(managed).toEqual(alone);
  });

  testOurs('CommonJS with arguments for node', async () => {
    const [managed, alone] = await views(path.join(FIXTURES, 'view.js'), { nodeArgs: ['--no-warnings', '--stack-size=900'] });
    expect(managed).toEqual(alone);
  });

  testOurs('an ES module', async () => {
    const [managed, alone] = await views(path.join(FIXTURES, 'view.mjs'), { args: ['x'] });
    expect(managed).toEqual(alone);
  });

  test('the parts that pm2 keeps too', async () => {
    const [managed, alone] = await views(path.join(FIXTURES, 'view.js'));
    for (const name of ['filename', 'dirname', 'isMain', 'mainFilename', 'cwd', 'members', 'globals', 'channelVariables']) {
      expect([name, managed[name]]).toEqual([name, alone[name]]);
    }
  });
});

test('its title is node and the script, or what PROCESS_TITLE says', async () => {
  const script = box.write('title.js', 'console.log(process.title); setInterval(() => {}, 1000)');
  await box.call('start', { script, name: 'a' });
  await box.call('start', { script, name: 'b', env: { PROCESS_TITLE: 'mine' } });
  await until(() => box.log('a-out.log') === `node ${script}\n` && box.log('b-out.log') === 'mine\n');
});

testOurs('neither a child nor a worker thread knows of us', async () => {
  const kid = 'console.log(JSON.stringify([process.execArgv, Object.keys(require.cache || {}).length, typeof process.send]))';
  const script = box.write(
    'parent.js',
    `
    const { fork, spawnSync } = require('child_process');
    const { Worker } = require('worker_threads');
    console.log(spawnSync(process.execPath, ['-e', ${JSON.stringify(kid)}], { encoding: 'utf8' }).stdout.trim());
    fork(${JSON.stringify(box.write('kid.js', kid))}).on('exit', () => new Worker(${JSON.stringify(kid)}, { eval: true }));
    setInterval(() => {}, 1000);`,
  );
  await box.call('start', { script });
  const lines = await until(() => {
    const seen = box.log('parent-out.log').trim().split('\n');
    return seen.length === 3 && seen;
  });
  expect(lines[0]).toContain(',"undefined"]');
  expect(lines.map((line) => JSON.parse(line)[0].filter((word) => word === '--require' || word.includes('preload')))).toEqual([[], [], []]);
  expect(JSON.parse(lines[1])[2]).toBe('function');
});

testOurs('20,000 lines before process.exit are all in the log', async () => {
  await box.call('start', { script: path.join(FIXTURES, 'many-lines.js'), autorestart: false });
  await until(async () => (await box.status('many-lines'))[0] === 'stopped');
  await until(() => box.log('many-lines-out.log').split('\n').length === 20001, '20,000 lines');
  const lines = box.log('many-lines-out.log').split('\n');
  expect([lines[0].slice(0, 7), lines[19999].slice(0, 11)]).toEqual(['line 1 ', 'line 20000 ']);
});

describe('messages', () => {
  testOurs('what is sent before there is a listener is not lost', async () => {
    const script = box.write(
      'late.js',
      `setTimeout(() => process.on('message', (m) => console.log('got', m.data)), 600); setInterval(() => {}, 1000)`,
    );
    await box.call('start', { script });
    await box.call('sendDataToProcessId', { id: 0, data: 'early', topic: 'x' });
    await until(() => box.log('late-out.log') === 'got early\n');
  });

  testOurs('a script without listeners ends by itself, channel or not', async () => {
    await box.call('start', { script: box.write('silent.js', ''), autorestart: false });
    await box.call('start', { script: box.write('sends.js', 'process.send("bye")'), autorestart: false });
    await until(async () => (await box.call('list')).every((each) => each.pm2_env.status === 'stopped'));
  });

  test('a shell script that becomes node has the channel too', async () => {
    const app = box.write('ready.js', 'process.send({ type: "from:node", data: 1 }); setInterval(() => {}, 1000)');
    await box.call('connect');
    const bus = await box.call('launchBus');
    const heard = new Promise((resolve) => bus.on('from:node', resolve));
    await box.call('start', { script: box.write('wrap.sh', `exec ${process.execPath} ${app}`) });
    expect((await heard).process).toMatchObject({ name: 'wrap' });
  });
});

describe('exceptions', () => {
  async function exceptions(text, options) {
    await box.call('connect');
    const bus = await box.call('launchBus');
    const heard = [];
    bus.on('process:exception', (packet) => heard.push(packet));
    await box.call('start', { script: box.write('boom.js', text), autorestart: false, ...options });
    return heard;
  }

  test('an uncaught exception is reported, printed, and ends the app', async () => {
    const heard = await exceptions('setTimeout(() => { throw new TypeError("boom"); }, 50)');
    await until(async () => heard.length > 0 && (await box.status('boom'))[0] === 'stopped');
    expect(heard).toHaveLength(1);
    expect(heard[0]).toMatchObject({
      data: { name: 'TypeError', message: 'boom' },
      process: { pm_id: 0, name: 'boom', namespace: 'default' },
    });
    expect(heard[0].data.stack).toContain('boom.js:1');
    expect(box.log('boom-error.log')).toContain('TypeError: boom');
    expect((await box.call('list'))[0].pm2_env.exit_code).toBe(1);
  });

  test('an unhandled rejection is reported and printed, and the app goes on', async () => {
    const heard = await exceptions(
      'Promise.reject(new Error("nobody")); setTimeout(() => console.log("alive"), 200); setInterval(() => {}, 1000)',
    );
    await until(() => box.log('boom-out.log') === 'alive\n');
    await until(() => heard.length === 1);
    expect(heard[0].data.message).toBe('nobody');
    await until(() => box.log('boom-error.log').includes('Error: nobody'));
    expect(await box.status('boom')).toEqual(['online']);
  });

  test("with pmx: false Node's own rule holds and nothing is reported", async () => {
    const heard = await exceptions('Promise.reject(new Error("nobody")); setInterval(() => {}, 1000)', { pmx: false });
    await until(async () => (await box.status('boom'))[0] === 'stopped');
    expect((await box.call('list'))[0].pm2_env.exit_code).toBe(1);
    expect(heard).toEqual([]);
  });

  testOurs('an app that handles its exceptions goes on', async () => {
    const heard = await exceptions(`process.on('uncaughtException', (e) => console.log('own', e.message));
      setTimeout(() => { throw new Error('boom'); }, 50); setInterval(() => {}, 1000)`);
    await until(() => box.log('boom-out.log') === 'own boom\n');
    await until(() => heard.length === 1);
    expect(await box.status('boom')).toEqual(['online']);
  });
});

testOurs('an idle app costs at most 0.5 MB more than under plain node', async () => {
  const script = path.join(FIXTURES, 'churn.js');
  // A heap that other threads collect, or by the clock, is a megabyte larger or smaller on a busy machine.
  const node_args = ['--single-threaded', '--predictable-gc-schedule'];
  const apps = await box.start({ script, interpreter: process.execPath, node_args, instances: 3, exec_mode: 'fork' });
  const children = apps.map(() => spawn(process.execPath, [...node_args, script], { stdio: 'ignore' }));
  const largest = async (processes) => {
    const sizes = [];
    for (const { pid } of processes) sizes.push(await quiet(pid));
    return Math.max(...sizes);
  };
  try {
    expect((await largest(apps)) - (await largest(children))).toBeLessThan(512);
  } finally {
    for (const child of children) child.kill('SIGKILL');
  }
  expect(apps.every(({ pid }) => isAlive(pid))).toBe(true);
});

/** Kilobytes of memory of its own that a process has, once it has done nothing for a while. Of files the kernel maps more or less as it likes. */
async function quiet(pid) {
  let last = '';
  let same = 0;
  await until(() => {
    const [state, ...fields] = fs.readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ');
    const now = fields.slice(10, 12).join();
    // One that is kept from the processor does nothing either, but does not sleep.
    same = now === last && state === 'S' ? same + 1 : 0;
    last = now;
    return same > 15;
  }, 'quiet');
  return Number(/^Anonymous: +(\d+)/m.exec(fs.readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))[1]);
}
