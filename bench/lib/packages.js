'use strict';

/** Where the two packages are that are compared. */

const path = require('node:path');

const ROOT = path.resolve(__dirname, '..', '..');

/** The package of this repository. */
const OURS = ROOT;

/**
 * Folder of the published pm2 we compare with: `PM2_REFERENCE`, else the development dependency `pm2-reference`.
 */
function reference() {
  if (process.env.PM2_REFERENCE) return path.resolve(process.env.PM2_REFERENCE);
  return path.dirname(require.resolve('pm2-reference/package.json', { paths: [ROOT] }));
}

module.exports = { OURS, reference };
