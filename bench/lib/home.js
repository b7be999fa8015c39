'use strict';

/**
 * A PM2_HOME of its own for one round, and nothing left of it afterwards.
 *
 * Socket paths are limited to about 100 bytes, hence the short names.
 */

const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { setTimeout: pause } = require('node:timers/promises');
const { processesOf, isAlive } = require('./processes');

/** How long processes of a home may take to go after SIGKILL before the harness gives up. */
const GONE_MS = 10_000;

function create() {
  return fs.realpathSync(fs.mkdtempSync(path.join(os.tmpdir(), 'pb.')));
}

/** Ends, by pid, whatever runs for this home, waits until it is gone and removes the folder. */
async function destroy(home) {
  const end = Date.now() + GONE_MS;
  // More than one pass: a keeper that dies may have started something a moment before.
  for (;;) {
    const left = processesOf(home);
    if (left.length === 0) break;
    if (Date.now() > end) throw new Error(`processes of ${home} do not go away: ${left.join(' ')}`);
    for (const pid of left) {
      try {
        if (isAlive(pid)) process.kill(pid, 'SIGKILL');
      } catch (error) {
        if (error.code !== 'ESRCH') throw error;
      }
    }
    await pause(20);
  }
  fs.rmSync(home, { recursive: true, force: true, maxRetries: 5 });
}

module.exports = { create, destroy };
