'use strict';

/*
 * Files to begin with: a configuration, a module.
 */

const fs = require('node:fs');
const path = require('node:path');
const { isSafe } = require('./module_name.js');
const { badArgument } = require('./settle.js');

const FILE = 'ecosystem.config.js';

const SIMPLE = `module.exports = {
  apps: [
    {
      name: 'app1',
      script: './app.js',
    },
  ],
};
`;

const FULL = `module.exports = {
  apps: [
    {
      script: 'index.js',
      watch: '.',
    },
    {
      script: './service-worker/',
      watch: ['./service-worker'],
    },
  ],

  deploy: {
    production: {
      user: 'SSH_USERNAME',
      host: 'SSH_HOSTNAME',
      ref: 'origin/main',
      repo: 'GIT_REPOSITORY',
      path: 'DESTINATION_FOLDER',
      'pre-deploy-local': '',
      'post-deploy': 'npm install && pm2 reload ecosystem.config.js --env production',
      'pre-setup': '',
    },
  },
};
`;

const MODULE = `'use strict';

const io = require('pm2/modules/pm2-io-bpm');

// What package.json says under "config", with what the user has set over it (pm2 set <module>:<option> <value>).
io.initModule({}, (error, conf) => {
  if (error) throw error;
  const rounds = io.counter({ name: 'rounds' });
  io.action('reset', (reply) => {
    rounds.reset();
    reply({ done: true });
  });
  setInterval(() => rounds.inc(), conf.interval);
});
`;

/** Writes `ecosystem.config.js`, over one that is there. Compat: so does pm2. */
function writeConfiguration(mode) {
  const file = path.join(process.env.PWD ?? process.cwd(), FILE);
  fs.writeFileSync(file, mode === 'simple' ? SIMPLE : FULL);
  return { path: file };
}

/** Writes the beginnings of a module into a folder of its name, which must not be there yet. */
function writeModule(name) {
  if (!isSafe(name)) throw badArgument('generateModuleSample', 'name', name, 'the name of a module that can be a folder');
  const folder = path.resolve(name);
  fs.mkdirSync(path.dirname(folder), { recursive: true });
  fs.mkdirSync(folder);
  const manifest = {
    name,
    version: '1.0.0',
    description: '',
    main: 'index.js',
    config: { interval: 1000 },
    dependencies: { pm2: '>=8.0.0' },
  };
  fs.writeFileSync(path.join(folder, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`);
  fs.writeFileSync(path.join(folder, 'index.js'), MODULE);
  return { path: folder };
}

module.exports = { writeConfiguration, writeModule };
