'use strict';

const path = require('node:path');
const { checkOptions } = require('./arguments.js');
const { STATIC_SERVER } = require('./client.js');
const { badArgument } = require('./settle.js');

const PORT = 8080;

/** Starts the static server for a folder. Compat: the caller's own `PM2_SERVE_PORT` and `PM2_SERVE_PATH` win over arguments. */
function serve(api, folder, port, options, commander) {
  const asked = process.env.PM2_SERVE_PORT || (port ?? PORT);
  if (!isPort(asked)) throw badArgument('serve', 'port', port, 'a number between 0 and 65535');
  if (folder !== undefined && folder !== null && typeof folder !== 'string') {
    throw badArgument('serve', 'path', folder, 'the path of a folder');
  }
  const root = path.resolve(api.cwd, process.env.PM2_SERVE_PATH || folder || '.');
  const { spa, ftp, basicAuthUsername, basicAuthPassword, monitor, env, ...others } = checkOptions('serve', options);
  // A command of commander has a method of this name, and then none was given.
  const named = [commander?.name, others.name].find((name) => typeof name === 'string' && name !== '');
  if (Boolean(basicAuthUsername) !== Boolean(basicAuthPassword)) {
    const missing = basicAuthUsername ? 'basicAuthPassword' : 'basicAuthUsername';
    throw badArgument('serve', `options.${missing}`, undefined, 'text, as the other half of the credentials is given');
  }
  const app = {
    ...others,
    script: STATIC_SERVER,
    name: named ?? `static-page-server-${asked}`,
    cwd: root,
    env: { ...env, ...variables({ asked, root, spa, ftp, basicAuthUsername, basicAuthPassword, monitor }) },
  };
  return api.Client.act('start', api.cwd, { what: { script: STATIC_SERVER }, options: app });
}

function variables({ asked, root, spa, ftp, basicAuthUsername, basicAuthPassword, monitor }) {
  const result = { PM2_SERVE_PORT: asked, PM2_SERVE_PATH: root, PM2_SERVE_FTP: String(Boolean(ftp)) };
  if (spa !== undefined) result.PM2_SERVE_SPA = String(Boolean(spa));
  if (basicAuthUsername) {
    result.PM2_SERVE_BASIC_AUTH = 'true';
    result.PM2_SERVE_BASIC_AUTH_USERNAME = basicAuthUsername;
    result.PM2_SERVE_BASIC_AUTH_PASSWORD = basicAuthPassword;
  }
  if (monitor) result.PM2_SERVE_MONITOR = String(monitor);
  return result;
}

function isPort(value) {
  const isNumber = typeof value === 'number' || (typeof value === 'string' && /^\d+$/.test(value));
  return isNumber && Number.isInteger(Number(value)) && Number(value) >= 0 && Number(value) <= 65_535;
}

module.exports = { serve };
