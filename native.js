'use strict';

/*
 * Loads what is native: the addon, and the path of the executable beside it.
 *
 * Both come from one package per platform. In a source checkout that package is the folder of the same name under `npm/`,
 * which `scripts/prepare.js` fills. Where libc is in doubt the first addon that loads wins: one built for the other libc
 * cannot be loaded, so nothing has to be detected.
 */

const path = require('node:path');

const PLATFORMS = {
  'linux x64': ['linux-x64-gnu', 'linux-x64-musl'],
  'linux arm64': ['linux-arm64-gnu', 'linux-arm64-musl'],
  'darwin x64': ['darwin-x64'],
  'darwin arm64': ['darwin-arm64'],
};

function load() {
  const platforms = PLATFORMS[`${process.platform} ${process.arch}`] ?? [];
  const problems = [];
  for (const platform of platforms) {
    const name = `pm2.${platform}.node`;
    for (const find of [() => path.join(__dirname, 'npm', platform, name), () => require.resolve(`pm2-${platform}/${name}`)]) {
      const addon = { exports: {} };
      try {
        const file = find();
        // Not `require`, which looks the file up once more: this is most of what `require('pm2')` costs.
        process.dlopen(addon, file);
        const { Connection, offline } = addon.exports;
        return { Connection, offline, executable: path.join(path.dirname(file), 'pm2') };
      } catch (problem) {
        problems.push(problem);
      }
    }
  }
  throw unusable(platforms, problems);
}

function unusable(platforms, problems) {
  const machine = `${process.platform} ${process.arch}`;
  const message =
    platforms.length === 0
      ? `pm2 has no native part for ${machine}`
      : `pm2 found no usable native part for ${machine}: install pm2-${platforms.join(' or pm2-')} ` +
        '(an optional dependency of pm2, left out by --omit=optional or by a lock file written on another machine), ' +
        'or, in a source checkout, run `npm install`';
  return Object.assign(new Error(message), { code: 'ERR_PM2_NATIVE', cause: new AggregateError(problems) });
}

module.exports = load();
