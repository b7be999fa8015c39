'use strict';

/*
 * The channel that a managed app opens at first use must be Node's own in everything but the time of its opening. Each
 * script runs twice, with the channel as Node opens it at start and with ours, and must print, send and end alike.
 */

const { spawn } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');
const { ROOT, testOurs } = require('./helper.js');

const PRELOAD = path.join(ROOT, 'src/js/preload.js');
const KID = 'process.on("message", (m) => { process.send([m, process.execArgv, typeof process.channel]); process.disconnect(); })';

const CASES = {
  'nothing at all': { script: '' },
  'messages and callbacks': { script: 'process.send("ready"); process.send({ type: "x", data: 1 }, () => console.log("cb"));' },
  'an answer, then disconnect': {
    script: 'process.on("message", (m) => { process.send({ re: m }); process.disconnect(); })',
    sent: [{ a: 1 }],
  },
  'one of two messages': { script: 'process.once("message", (m) => console.log(m))', sent: [1, 'two'] },
  'a late listener': {
    script: 'setTimeout(() => process.once("message", (m) => { console.log(m); process.once("message", (n) => console.log(n)); }), 200)',
    sent: [1, 2],
  },
  'a listener that goes lets the process end': {
    script: 'const f = () => {}; process.on("message", f); setTimeout(() => process.off("message", f), 50)',
  },
  'the daemon closes': { script: 'process.on("disconnect", () => console.log("gone", process.connected))', isClosed: true },
  'disconnect and its errors': {
    script: `console.log(process.connected); process.disconnect(); console.log(process.connected, process.channel);
      try { process.disconnect(); } catch (e) { console.log(e.code); } process.send("x", (e) => console.log(e.code))`,
  },
  'the channel is held and let go': { script: 'process.channel.ref(); setTimeout(() => process.channel.unref(), 50)' },
  'what the members look like': {
    script:
      'for (const f of ["send", "disconnect"]) console.log(typeof process[f], process[f].length, process[f].name, Object.keys(process).includes(f))',
  },
  'a send that the script has replaced': {
    script: `const own = process.send; process.send = function (m) { console.log("via", m); return own.call(process, m); };
      process.send("x"); process.on("message", () => { process.send("y"); process.disconnect(); })`,
    sent: [5],
  },
  'events.once': { script: 'require("events").once(process, "message").then(([m]) => console.log(m))', sent: [7] },
  'all listeners removed first': {
    script:
      'process.removeAllListeners(); process.on("message", (m) => { console.log(m); process.disconnect(); }); setTimeout(() => {}, 300)',
    sent: [7],
  },
  'the environment and the arguments': {
    script: 'console.log(Object.keys(process.env).sort().join(), process.execArgv, process.argv.length)',
  },
  'a child of its own': {
    script: `require("fs").writeFileSync("kid.js", ${JSON.stringify(KID)}); const kid = require("child_process").fork("./kid.js");
      kid.on("message", (m) => console.log(JSON.stringify(m))); kid.send("hi")`,
  },
  'a worker thread': {
    script: `const { Worker } = require("worker_threads");
      new Worker("console.log(typeof process.send, process.execArgv, Object.keys(require.cache).length)", { eval: true })`,
  },
  'an uncaught exception': {
    script: 'process.exitCode = 3; process.on("exit", (c) => console.log(c)); setTimeout(() => { throw new Error("boom"); }, 10)',
  },
  'exit in a listener': { script: 'process.on("message", () => process.exit(9))', sent: ['x'] },
  'a message larger than the socket': { script: 'process.send("x".repeat(500000), () => process.exit())' },
};

let folder;
beforeEach(() => {
  folder = fs.mkdtempSync('/tmp/p2c');
});
afterEach(() => fs.rmSync(folder, { recursive: true, force: true }));

testOurs.each(Object.entries(CASES))('%s', async (name, { script, sent = [], isClosed = false }) => {
  const [ours, node] = [await run(true), await run(false)];
  expect(ours).toEqual(node);

  function run(isLazy) {
    const file = path.join(folder, 'script.js');
    fs.writeFileSync(file, script);
    const env = { PATH: process.env.PATH, [isLazy ? 'PM2_CHANNEL_FD' : 'NODE_CHANNEL_FD']: '3' };
    const words = [...(isLazy ? ['--require', PRELOAD] : []), file, 'a', 'b'];
    const child = spawn(process.execPath, words, { cwd: folder, env, stdio: ['ignore', 'pipe', 'pipe', 'pipe'] });
    const seen = { out: '', err: '', received: '' };
    child.stdout.on('data', (data) => {
      seen.out += data;
    });
    child.stderr.on('data', (data) => {
      seen.err += data;
    });
    child.stdio[3].on('data', (data) => {
      seen.received += data;
    });
    child.stdio[3].on('error', () => {});
    for (const message of sent) child.stdio[3].write(`${JSON.stringify(message)}\n`);
    if (isClosed) child.stdio[3].end();
    return new Promise((resolve) =>
      child.on('close', (code, signal) => {
        const lines = seen.received
          .split('\n')
          .filter((line) => !line.startsWith('{"node_version"') && !line.includes('"process:exception"'));
        resolve({ code, signal, out: seen.out, err: seen.err, received: lines });
      }),
    );
  }
});

/** What a script says to the daemon, and prints, when it is run with the preload alone. */
async function said(script) {
  const file = path.join(folder, 'script.js');
  fs.writeFileSync(file, script);
  const child = spawn(process.execPath, ['--require', PRELOAD, file], {
    env: { PM2_CHANNEL_FD: '3', NODE_PATH: path.join(ROOT, 'node_modules') },
    stdio: ['ignore', 'pipe', 'ignore', 'pipe'],
  });
  const text = ['', ''];
  for (const [i, stream] of [child.stdio[3], child.stdout].entries()) {
    stream.on('data', (data) => {
      text[i] += data;
    });
  }
  await new Promise((resolve) => child.on('close', resolve));
  return { messages: text[0].trim().split('\n').map(JSON.parse), printed: text[1] };
}

testOurs('the version of Node and an exception are sent without opening the channel', async () => {
  const { messages } = await said('setTimeout(() => { throw new RangeError("boom"); }, 10)');
  const [version, exception] = messages;
  expect(version).toEqual({ node_version: process.versions.node });
  expect(exception).toMatchObject({
    type: 'process:exception',
    data: { name: 'RangeError', message: 'boom', stack: expect.stringContaining('script.js:1') },
  });
});

testOurs('what is thrown and is no error is told as one that says so', async () => {
  const { messages } = await said('setTimeout(() => { throw "plain"; }, 10)');
  expect(messages[1].data).toEqual({
    name: 'Error',
    message: 'Non-error value: "plain"',
    stack: 'Error: Non-error value: "plain"',
  });
});

// Version 2 of @pm2/io, as modules such as pm2-server-monit bring it, in all that matters here.
const VERSION_2 = `
  const key = Symbol.for('@pm2/io');
  if (Object.getOwnPropertySymbols(globalThis).includes(key)) throw new Error('there is one already');
  class Library {
    metricsFeature = { _started: false };
    init(config = 'no configuration') { console.log('begun with', config); this.metricsFeature._started = true; }
  }
  globalThis[key] = Object.freeze(new Library());
  const io = globalThis[key];`;

testOurs('a library of version 2 that the script loads is begun, once and after the script', async () => {
  const { printed } = await said(`${VERSION_2} console.log('script ends');`);
  expect(printed).toBe('script ends\nbegun with no configuration\n');
  const { printed: own } = await said(`${VERSION_2} io.init('its own');`);
  expect(own).toBe('begun with its own\n');
});

testOurs('an error that a library of the script tells of is told once', async () => {
  const named = ({ messages }) => messages.filter(({ type }) => type === 'process:exception').map(({ data }) => data.message);
  const load = 'require("@pm2/io");';
  const failing = 'setTimeout(() => { throw new Error("thrown"); }, 10)';
  expect(named(await said(`${load} ${failing}`))).toEqual(['thrown']);
  const refusing = 'Promise.reject(new Error("refused")); setTimeout(() => process.exit(), 200)';
  expect(named(await said(`${load} ${refusing}`))).toEqual(['refused']);
  // One that does not listen leaves it to us.
  expect(named(await said(`${VERSION_2} ${failing}`))).toEqual(['thrown']);
});
