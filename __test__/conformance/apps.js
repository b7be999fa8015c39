'use strict';

/** Apps that several scenarios use. */

const path = require('node:path');

/** The paths of a script that fails at once, and of a file that keeps it from that as long as it is there. */
function crashing(world) {
  const hold = path.join(world.work, 'hold');
  const source = `
    const fail = () => require('node:fs').existsSync(${JSON.stringify(hold)}) || process.exit(3);
    fail();
    setInterval(fail, 5);
  `;
  return { crash: world.file('crash.js', source), hold };
}

module.exports = { crashing };
