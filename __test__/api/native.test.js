'use strict';

/* The native half by itself: whatever is asked of it, each request is answered once, and no Node process ever dies of it. */

const path = require('node:path');
const { sandbox, testOurs } = require('./helper');

const box = sandbox();
const NATIVE = JSON.stringify(path.join(__dirname, '..', '..', 'native.js'));

/** What every script below begins with. */
const PRELUDE = `
  const { Connection, executable } = require(${NATIVE});
  const config = JSON.stringify({ home: process.env.PM2_HOME, executable });
  /** A connection, and \`ask\` for one request as a promise of status and text. */
  function open() {
    const waiting = new Map();
    const counts = new Map();
    const connection = new Connection(config, (id, status, text) => {
      counts.set(id, (counts.get(id) ?? 0) + 1);
      waiting.get(id)?.({ status, text });
    });
    let last = 0;
    const ask = (op, name = '', payload = '{}') => new Promise((resolve) => {
      const id = last++;
      waiting.set(id, resolve);
      connection.send(id, op, name, payload);
    });
    connection.ref();
    return { connection, ask, counts };
  }
`;

const run = (script) => box.run(PRELUDE + script);

testOurs('wrong arguments are errors that can be caught', async () => {
  const { code, stdout, stderr } = await run(`
    const made = new Connection(config, () => {});
    const wrong = [
      () => new Connection(), () => new Connection('{'), () => new Connection('{}', () => {}), () => new Connection(config, 3),
      () => made.send(), () => made.send('x', 'ping', '', ''), () => made.send(1, 2, 3, 4),
      () => Connection.prototype.send.call({}, 1, 'ping', '', ''),
    ];
    for (const each of wrong) {
      try { each(); console.log('no error', String(each)); } catch (error) { if (!(error instanceof Error)) console.log(error); }
    }
  `);
  expect({ code, stdout, stderr }).toEqual({ code: 0, stdout: '', stderr: '' });
});

testOurs('attach connects to a daemon that serves, and launches none', async () => {
  const { stdout } = await run(`
    (async () => {
      const { connection, ask } = open();
      console.log(connection.attach());
      console.log((await ask('ping')).text);
      await ask('connect', '', JSON.stringify({ env: process.env }));
      const other = open();
      const { new_pm2_instance, pm2_home } = JSON.parse(other.connection.attach());
      console.log(new_pm2_instance, pm2_home === process.env.PM2_HOME, other.connection.attach() !== null);
      console.log((await other.ask('call', 'ping', '[{}]')).text);
      await ask('kill');
      for (const each of [connection, other.connection]) { each.unref(); each.close(); }
      console.log(connection.attach());
    })();
  `);
  expect(stdout.trim().split('\n')).toEqual(['null', 'false', 'false true true', '[{"msg":"pong"}]', 'null']);
});

testOurs('requests that mean nothing are answered with an error each', async () => {
  const { stdout } = await run(`
    (async () => {
      const { connection, ask } = open();
      const answers = await Promise.all([
        ask('nosuch'), ask('connect', '', 'no json'), ask('action', 'start', '{{{'), ask('action', 'nosuch', '{}'),
        ask('call', 'nosuch', '[{}]'), ask('call', 'we\\u2028ird\\ud800', '[]'),
      ]);
      for (const { status, text } of answers) console.log(status, typeof JSON.parse(text).message);
      await ask('kill');
      connection.close();
      connection.unref();
    })();
  `);
  expect(stdout.trim().split('\n')).toEqual(Array(6).fill('1 string'));
});

testOurs('closing answers everything that is outstanding, once, and the next request starts anew', async () => {
  const { stdout } = await run(`
    (async () => {
      const { connection, ask, counts } = open();
      await ask('connect');
      const asked = Array.from({ length: 200 }, () => ask('call', 'getMonitorData', '[{}]'));
      connection.close();
      connection.close();
      const answers = await Promise.all(asked);
      console.log(answers.every(({ status, text }) => status === 0 || JSON.parse(text).code !== undefined));
      console.log((await ask('ping')).text, (await ask('kill')).status);
      console.log([...counts.values()].every((count) => count === 1));
      connection.close();
      connection.unref();
    })();
  `);
  expect(stdout.trim().split('\n')).toEqual(['true', 'true 0', 'true']);
});

testOurs('a process can end at any moment, whatever is outstanding', async () => {
  const flood = `
    const { connection, ask } = open();
    ask('connect').then(() => {
      ask('subscribe');
      for (let i = 0; i < 500; i++) ask('call', 'getMonitorData', '[{}]');
  `;
  const ends = ['process.exit(7);', 'setImmediate(() => process.exit(7));', 'process.exitCode = 7; connection.unref();'];
  const codes = await Promise.all(ends.map((end) => run(`${flood} ${end} });`).then(({ code }) => code)));
  expect(codes).toEqual([7, 7, 7]);
});

testOurs('worker threads can load it, use it and be ended in the middle', async () => {
  const { code, stdout } = await run(`
    const { Worker, isMainThread, parentPort } = require('node:worker_threads');
    if (isMainThread) {
      (async () => {
        for (let round = 0; round < 6; round++) {
          const worker = new Worker(__filename);
          await new Promise((resolve) => worker.once('message', resolve));
          await worker.terminate();
        }
        // The main thread loads it last: what the workers left must still be there.
        const { connection, ask } = open();
        console.log((await ask('ping')).text);
        connection.close();
        connection.unref();
      })();
    } else {
      const { ask } = open();
      ask('subscribe').then(() => {
        for (let i = 0; i < 300; i++) ask('call', 'getMonitorData', '[{}]');
        parentPort.postMessage('busy');
      });
    }
  `);
  expect({ code, stdout }).toEqual({ code: 0, stdout: 'true\n' });
});
