'use strict';

// pm2-interface 2.0.4 from the registry, unchanged, against our daemon: its own examples, and a message there and back.

const fs = require('node:fs');
const path = require('node:path');
const { ANSWERING_APP, UNDER_TEST, homes, installed, live, managerOf, script, waitFor, writeApp } = require('./helper');

const newHome = homes();

/** The code of the README's JavaScript examples, in order. */
function examples() {
  const text = fs.readFileSync(path.join(installed('pm2-interface'), 'README.md'), 'utf8');
  return [...text.matchAll(/```javascript\n([\s\S]*?)```/g)].map((match) => match[1]);
}

/** A home as pm2-interface looks for it: it appends `/.pm2` to whatever PM2_HOME says. */
async function homeWithWorkers(count, source = ANSWERING_APP) {
  const home = newHome('.pm2');
  const app = writeApp(home, 'worker.js', source);
  await script(
    UNDER_TEST,
    home,
    async ({ pm2, call }, { file, instances }) => {
      await call(pm2, 'start', { script: file, name: 'worker', exec_mode: 'fork', instances });
    },
    { file: app, instances: count },
  );
  return home;
}

/** Runs a program with pm2-interface beside the home, until it has printed `expected` (a test of its output). */
async function runUntil(home, source, expected) {
  const file = writeApp(home, 'program.js', source);
  const program = live(file, {
    home,
    env: { PM2_HOME: path.dirname(home), NODE_PATH: path.dirname(installed('pm2-interface')), NODE_NO_WARNINGS: '1' },
  });
  try {
    await waitFor(`the program's output, which is\n${program.output()}`, () => expected(program.output()) || program.hasEnded());
    return program.output();
  } finally {
    await program.end();
  }
}

test('example 1 of its README connects, lists and gets an answer to its restart', async () => {
  // The worker is quiet and has settled: the example prints a member that events had in pm2 0.x, and ends at the first one without.
  const home = await homeWithWorkers(1, `require('node:fs').writeFileSync('settled', ''); setInterval(() => {}, 1 << 30);`);
  await waitFor('the worker to have settled', () => fs.existsSync(path.join(home, 'settled')));
  const [example] = examples();
  expect(example).toMatch(/restartProcessId\(0/);
  const manager = managerOf(home);
  const output = await runUntil(home, example, (text) => /\n\]\n[\s\S]+/.test(text));
  expect(output).toMatch(/^Connected to pm2\n/);
  expect(output).toMatch(/name: 'worker'/);
  expect(managerOf(home)).toEqual(manager);
});

test('the monitor of its 2-way example connects and its message is answered', async () => {
  const home = await homeWithWorkers(3);
  const example = examples().find((code) => /god:heap/.test(code) && /msgProcess/.test(code));
  const output = await runUntil(home, example, (text) => /success: true|sent \d+ messages/.test(text));
  expect(output).toMatch(/^Connected to pm2\n/);
  expect(output).toMatch(/success: true|sent \d+ messages/);
});

test('messages go to every worker and come back, and it ends after disconnect', async () => {
  const home = await homeWithWorkers(3);
  const source = `
    const ipm2 = require('pm2-interface')();
    ipm2.on('ready', () => {
      const answers = [];
      ipm2.bus.on('test:answer', (packet) => {
        answers.push([packet.process.pm_id, packet.data.got.n]);
        if (answers.length < 3) return;
        console.log(JSON.stringify(answers.sort()));
        ipm2.disconnect();
      });
      ipm2.rpc.getMonitorData({}, (error, list) => {
        for (const { pm_id: id } of list) {
          ipm2.rpc.sendDataToProcessId({ id, topic: 'test', type: 'process:msg', data: { n: id * 10 } }, (problem) => {
            if (problem) console.log(problem.message);
          });
        }
      });
    });`;
  const file = writeApp(home, 'two-way.js', source);
  const program = live(file, {
    home,
    env: { PM2_HOME: path.dirname(home), NODE_PATH: path.dirname(installed('pm2-interface')), NODE_NO_WARNINGS: '1' },
  });
  try {
    await waitFor('the program to end by itself', () => program.hasEnded());
  } finally {
    await program.end();
  }
  expect(JSON.parse(program.output())).toEqual([
    [0, 0],
    [1, 10],
    [2, 20],
  ]);
});

test('its events name the process that started, printed, and ended', async () => {
  const home = await homeWithWorkers(1);
  const source = `
    const ipm2 = require('pm2-interface')();
    ipm2.on('ready', () => {
      ipm2.bus.on('log:*', (type, data) => type === 'out' && console.log('printed', data.process.name));
      ipm2.bus.on('process:event', (data) => console.log(data.event, data.process.name, data.process.pm_id));
      console.log('listening');
      setTimeout(() => ipm2.rpc.stopProcessId(0, () => ipm2.rpc.startProcessId(0, () => {})), 200);
    });`;
  const output = await runUntil(home, source, (text) => /online worker 0\n(.|\n)*printed worker/.test(text));
  expect(output).toMatch(/listening\n(.|\n)*exit worker 0\n(.|\n)*online worker 0\n(.|\n)*printed worker\n/);
});
