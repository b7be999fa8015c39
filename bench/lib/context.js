'use strict';

/** What a case gets: the package on demand, promises around its callbacks, a clock and a way to wait. */

const { setTimeout: pause } = require('node:timers/promises');

/** How long a case waits for a condition before it fails. */
const PATIENCE_MS = 60_000;

/** Milliseconds since an arbitrary moment, with fractions. */
function now() {
  return Number(process.hrtime.bigint()) / 1e6;
}

/** Calls `object[method](...args, callback)` and gives a promise of the callback's value. */
function call(object, method, ...args) {
  return new Promise((resolve, reject) => {
    object[method](...args, (error, value) => (error ? reject(error) : resolve(value)));
  });
}

/** Milliseconds from the call of `work` until what it returns is settled. */
async function timed(work) {
  const start = now();
  await work();
  return now() - start;
}

/** Waits until `condition` gives something truthy, and gives that. */
async function until(what, condition) {
  const end = now() + PATIENCE_MS;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (now() > end) throw new Error(`waited in vain for: ${what}`);
    await pause(5);
  }
}

/** `n` apps that cost nothing themselves, numbered from `first`. */
function sleepers(n, first = 0) {
  return Array.from({ length: n }, (_, i) => ({
    name: `sleep-${first + i}`,
    script: 'sleep',
    args: '86400',
    interpreter: 'none',
  }));
}

function context(packagePath) {
  return {
    packagePath,
    home: process.env.PM2_HOME,
    load: () => require(packagePath),
    now,
    call,
    timed,
    until,
    pause,
    sleepers,
  };
}

module.exports = { context };
