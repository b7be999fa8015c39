'use strict';

/*
 * The cluster protocol is Node's own affair, so each supported line is asked. A run of these tests makes a few reloads; with
 * `PM2_RELOADS=20` in the environment they are as many as it says, of every kind of application on every line.
 */

const { sandbox } = require('../api/helper.js');
const { APPS, LINES, RELOADS, freePort, served, shares } = require('./helper.js');
const { Load } = require('./load.js');

const box = sandbox();

/** Applications, and whether clients keep their connections. The line that runs this test is asked about the rest elsewhere. */
const FEW = [
  ['plain', false],
  ['plain', true],
  ['closing', true],
  ['ready', false],
];
const ALL = Object.keys(APPS).flatMap((app) => [
  [app, false],
  [app, true],
]);
const isWhole = process.env.PM2_RELOADS !== undefined;

/** A reload waits for the longest answer and the idle connections of two workers, one after the other. */
const RELOAD_MAX = 20_000;

describe.each(LINES)('Node %s', (line, interpreter) => {
  const testIt = interpreter === null || (interpreter === process.execPath && !isWhole) ? test.skip : test;

  testIt.each(isWhole ? ALL : FEW)(
    'loses no request in reloads of an app that is %s, keep-alive %s',
    async (app, keepAlive) => {
      const port = await freePort();
      const script = box.write('app.js', `console.log(process.version);${APPS[app]}`);
      const options = { name: 'app', interpreter, instances: 2, wait_ready: app === 'ready', env: { PORT: port } };
      await box.start({ script, ...options });
      await served(port, 2);
      expect(box.log('app-out-0.log')).toMatch(new RegExp(`^v${line}\\.`));
      const load = new Load(port, { keepAlive });
      await load.more(100);
      for (let i = 0; i < RELOADS; i += 1) await box.call('reload', 'app');
      await load.stop();
      expect(load.lost).toEqual([]);
      expect((await shares(port, 80)).size).toBe(2);
    },
    RELOAD_MAX * (RELOADS + 1),
  );
});
