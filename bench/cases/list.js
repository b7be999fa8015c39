'use strict';

/**
 * `list` with 1, 100 and 300 `sleep` processes, and beside it a bare `JSON.parse` of the same text in the same process: no
 * client that hands out objects can be faster than that.
 */

const { median } = require('../lib/statistics');

/** Calls per size; the first ones warm up the socket, the allocator and the parser and do not count. */
const CALLS = 30;
const WARM_UP = 5;

async function series(work) {
  const times = [];
  for (let i = 0; i < CALLS; i += 1) {
    const ms = await work();
    if (i >= WARM_UP) times.push(ms);
  }
  return median(times);
}

/** The list as one text, of the size the daemon sends it in. */
async function sizeNow({ call, timed, now }, pm2, expected) {
  const text = JSON.stringify(await call(pm2, 'list'));
  if (JSON.parse(text).length !== expected) throw new Error(`the list has ${JSON.parse(text).length} of ${expected} processes`);
  const list = await series(() => timed(() => call(pm2, 'list')));
  const parse = await series(async () => {
    const start = now();
    JSON.parse(text);
    return now() - start;
  });
  return { list, parse, bytes: text.length };
}

module.exports = {
  rounds: 5,
  async measure(context) {
    const { load, call, sleepers } = context;
    const pm2 = load();
    await call(pm2, 'connect');
    const result = {};
    let running = 0;
    for (const size of [1, 100, 300]) {
      await call(pm2, 'start', sleepers(size - running, running));
      running = size;
      result[size] = await sizeNow(context, pm2, size);
    }
    return result;
  },
  metrics: [
    { label: 'list, 1 process', unit: 'ms', value: (s) => s[1].list, target: { ratio: 1 / 5 } },
    { label: 'list, 100 processes', unit: 'ms', value: (s) => s[100].list, target: { ratio: 1 / 3 } },
    { label: 'list, 300 processes', unit: 'ms', value: (s) => s[300].list, target: { ratio: 1 / 3 } },
    { label: 'list, 100: time of bare JSON.parse', unit: 'ms', value: (s) => s[100].parse },
    { label: 'list, 300: time of bare JSON.parse', unit: 'ms', value: (s) => s[300].parse },
    { label: 'list, 100: times JSON.parse', unit: '×', value: (s) => s[100].list / s[100].parse, target: { most: 1.6 } },
    { label: 'list, 300: times JSON.parse', unit: '×', value: (s) => s[300].list / s[300].parse, target: { most: 1.6 } },
    { label: 'list, 100: size of the text', unit: 'kB', value: (s) => s[100].bytes / 1000 },
  ],
};
