'use strict';

/*
 * Small things that tools written for pm2 reach by `pm2/lib/Utility`.
 */

const fs = require('node:fs');
const path = require('node:path');
const { deepCopy, extend } = require('./common.js');
const { canonicName } = require('./module_name.js');

/** The version in the package.json nearest to a path, upwards; `N/A` if there is none. */
function findPackageVersion(from) {
  for (let folder = path.resolve(from); ; folder = path.dirname(folder)) {
    try {
      return JSON.parse(fs.readFileSync(path.join(folder, 'package.json'), 'utf8')).version;
    } catch {
      // One further up.
    }
    if (folder === path.dirname(folder)) return 'N/A';
  }
}

/** As `extend`, but the text `null` takes a member away. */
function extendMix(target, source) {
  if (typeof source !== 'object' || source === null) return target;
  for (const [key, value] of Object.entries(source)) {
    if (value === 'null') delete target[key];
    else target[key] = value;
  }
  return target;
}

/** A process' record without its environment. */
function formatCLU(description) {
  if (!description.pm2_env) return description;
  const { env: _env, ...record } = description.pm2_env;
  return record;
}

function whichFileExists(files) {
  return files.find((file) => fs.existsSync(file)) ?? null;
}

module.exports = {
  findPackageVersion,
  getDate: () => Date.now(),
  formatCLU,
  extend,
  extendMix,
  whichFileExists,
  clone: deepCopy,
  getCanonicModuleName: canonicName,
  checkPathIsNull: (file) => file === 'NULL' || file === '/dev/null' || file === '\\\\.\\NUL',
  generateUUID: () => require('node:crypto').randomUUID(),
};
