'use strict';

/*
 * The built-in static server: an ordinary app that hands out the files of one folder. Its settings are variables, so that whatever
 * starts it (`pm2.serve`, `static` in a file, `script: 'serve'`) says them in the same way.
 *
 * Only what can be named below the folder is handed out. Links are followed, as whoever may put one there may put the file there.
 */

const crypto = require('node:crypto');
const fs = require('node:fs');
const http = require('node:http');
const path = require('node:path');
const { pipeline } = require('node:stream');
const { typeOf } = require('./types.js');

const ALLOWED = 'GET, HEAD, OPTIONS';

/** Pages of other origins may read everything that is handed out. */
const OPEN = { 'Access-Control-Allow-Origin': '*', 'Access-Control-Allow-Methods': 'GET' };

const HTML = 'text/html';

/** Longest listing of a folder; one that is longer is cut, not refused. */
const LISTING_MAX = 10_000;

/** What the file system says of a path that leads nowhere. */
const MISSING = new Set(['ENOENT', 'ENOTDIR', 'ENAMETOOLONG']);

/** The settings in the variables of `env` and, where a variable is missing, the arguments folder, port and host. */
function readSettings(env, [folder, port, host]) {
  const given = env.PM2_SERVE_PORT || port || '8080';
  if (!/^\d+$/.test(given) || Number(given) > 65_535) {
    throw new Error(`PM2_SERVE_PORT must be a port between 0 and 65535, not ${given}`);
  }
  const homepage = env.PM2_SERVE_HOMEPAGE || 'index.html';
  return {
    root: path.resolve(env.PM2_SERVE_PATH || folder || '.'),
    port: Number(given),
    host: env.PM2_SERVE_HOST || host || '0.0.0.0',
    homepage: homepage.replace(/^\/+/, ''),
    isSinglePage: env.PM2_SERVE_SPA === 'true',
    isListing: env.PM2_SERVE_FTP === 'true',
    credentials: env.PM2_SERVE_BASIC_AUTH === 'true' ? credentialsIn(env) : null,
  };
}

/** A wish for a password without one to compare with lets nobody in. */
function credentialsIn({ PM2_SERVE_BASIC_AUTH_USERNAME: user, PM2_SERVE_BASIC_AUTH_PASSWORD: password }) {
  if (!user || !password) throw new Error('PM2_SERVE_BASIC_AUTH needs PM2_SERVE_BASIC_AUTH_USERNAME and PM2_SERVE_BASIC_AUTH_PASSWORD');
  return digest(`${user}:${password}`);
}

async function answer(settings, request, response) {
  if (settings.credentials !== null && !isKnown(settings, request)) {
    const challenge = { 'WWW-Authenticate': 'Basic realm="Authentication service"' };
    return say(response, 401, 'Unauthorized', challenge);
  }
  if (request.method === 'OPTIONS') return response.writeHead(204, { ...OPEN, Allow: ALLOWED }).end();
  if (request.method !== 'GET' && request.method !== 'HEAD') return say(response, 405, 'Method Not Allowed', { Allow: ALLOWED });
  const name = nameIn(request.url);
  if (name === null) return say(response, 400, 'Bad Request');
  const file = path.join(settings.root, name);
  if (!isWithin(settings.root, file)) return say(response, 403, 'Forbidden');
  try {
    await handOut(settings, request, response, file);
  } catch (error) {
    if (response.headersSent) response.destroy();
    else if (MISSING.has(error.code)) await tellMissing(settings, response);
    else tellFailure(response, file, error);
  }
}

/** Compares digests, so that neither time nor length tells how much of a guess was right. */
function isKnown({ credentials }, { headers }) {
  const [, encoded] = /^Basic +([A-Za-z0-9+/=_-]+)$/i.exec(headers.authorization ?? '') ?? [];
  if (encoded === undefined) return false;
  return crypto.timingSafeEqual(digest(Buffer.from(encoded, 'base64')), credentials);
}

function digest(text) {
  return crypto.createHash('sha256').update(text).digest();
}

/** The path that a request is about, decoded; null when it cannot be one. */
function nameIn(url) {
  const [encoded] = url.replace(/^https?:\/\/[^/]*/i, '').split(/[?#]/, 1);
  try {
    const name = decodeURIComponent(encoded);
    return name.startsWith('/') && !name.includes('\0') ? name : null;
  } catch {
    return null;
  }
}

function isWithin(root, file) {
  const relative = path.relative(root, file);
  return relative !== '..' && !relative.startsWith(`..${path.sep}`) && !path.isAbsolute(relative);
}

async function handOut(settings, request, response, file) {
  const home = path.join(settings.root, settings.homepage);
  const isRoot = path.relative(settings.root, file) === '';
  if (isRoot && !settings.isListing) return send(request, response, home);
  if (settings.isListing && (await isFolder(file))) return sendFolder(settings, request, response, file);
  if (!settings.isSinglePage) return send(request, response, file);
  // The page's own paths: a page that is itself at a path of the application asks for its files there.
  const candidates = [file, path.join(settings.root, path.basename(file)), home];
  for (const candidate of candidates) {
    const found = await send(request, response, candidate).catch((error) => {
      if (!MISSING.has(error.code) || candidate === home) throw error;
      return false;
    });
    if (found) return true;
  }
  return false;
}

async function isFolder(file) {
  const found = await fs.promises.stat(file).catch((error) => {
    if (MISSING.has(error.code)) return null;
    throw error;
  });
  return found?.isDirectory() ?? false;
}

/** Sends one file; fails when it cannot be read, true once it is on its way. */
async function send(request, response, file) {
  // A pipe without a writer would keep a blocking open for ever.
  const handle = await fs.promises.open(file, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK);
  try {
    const found = await handle.stat();
    if (found.isDirectory()) throw Object.assign(new Error('is a folder'), { code: 'EISDIR' });
    if (!found.isFile()) throw Object.assign(new Error('is no file'), { code: 'EINVAL' });
    const { status, headers, start, end } = describe(request, found, file);
    response.writeHead(status, headers);
    if (request.method === 'HEAD' || end < start) {
      response.end();
      return true;
    }
    await new Promise((resolve) => {
      // A reader that goes away in the middle is none of our business.
      pipeline(handle.createReadStream({ start, end, autoClose: false }), response, resolve);
    });
    return true;
  } finally {
    await handle.close();
  }
}

/** Status, headers and the bytes that go out for a request for this file. */
function describe({ headers: asked, method }, { size, mtimeMs }, file) {
  const tag = `"${size.toString(36)}-${Math.round(mtimeMs * 1000).toString(36)}"`;
  // Asked again each time, as without a tag; what has not changed is then not sent again.
  const headers = { ...OPEN, 'Content-Type': typeOf(file), 'Accept-Ranges': 'bytes', 'Cache-Control': 'no-cache', ETag: tag };
  const none = { start: 0, end: -1 };
  const tags = (asked['if-none-match'] ?? '').split(',').map((each) => each.trim().replace(/^W\//, ''));
  if (tags.includes(tag)) return { status: 304, headers, ...none };
  const isPart = method === 'GET' && asked.range !== undefined && [undefined, tag].includes(asked['if-range']);
  const part = isPart ? rangeIn(asked.range, size) : null;
  if (part === null) return { status: 200, headers: { ...headers, 'Content-Length': size }, start: 0, end: size - 1 };
  if (part.start >= size) return { status: 416, headers: { ...headers, 'Content-Range': `bytes */${size}`, 'Content-Length': 0 }, ...none };
  const { start, end } = part;
  const range = { 'Content-Range': `bytes ${start}-${end}/${size}`, 'Content-Length': end - start + 1 };
  return { status: 206, headers: { ...headers, ...range }, start, end };
}

/** The one range of a header; null for none, several, or what is no range, which all mean the whole file. */
function rangeIn(header, size) {
  const [, first, last] = /^bytes=(\d*)-(\d*)$/.exec(header) ?? [];
  if (first === undefined || (first === '' && last === '')) return null;
  if (first === '') return last === '0' ? { start: size, end: size } : { start: Math.max(0, size - Number(last)), end: size - 1 };
  if (last !== '' && Number(last) < Number(first)) return null;
  return { start: Number(first), end: last === '' ? size - 1 : Math.min(Number(last), size - 1) };
}

/** A folder's own page, or what is in it. */
async function sendFolder({ root }, request, response, folder) {
  const page = path.join(folder, 'index.html');
  const hasPage = await fs.promises.access(page, fs.constants.R_OK).then(
    () => true,
    () => false,
  );
  if (hasPage) return send(request, response, page);
  const names = (await fs.promises.readdir(folder)).filter((name) => !name.startsWith('.')).slice(0, LISTING_MAX);
  const entries = await Promise.all(names.map((name) => describeEntry(folder, name)));
  const text = listing(`/${path.relative(root, folder)}`, entries.filter(Boolean));
  response.writeHead(200, { ...OPEN, 'Content-Type': 'text/html; charset=utf-8', 'Content-Length': Buffer.byteLength(text) });
  response.end(request.method === 'HEAD' ? '' : text);
  return true;
}

/** An entry of a listing, or null for one that has gone, or a link that leads nowhere. */
async function describeEntry(folder, name) {
  const found = await fs.promises.stat(path.join(folder, name)).catch(() => null);
  return found && { name, isFolder: found.isDirectory(), size: found.size, changed: found.mtime };
}

function listing(shown, entries) {
  const base = shown === '/' ? '' : shown;
  const link = (name) => `${base}/${name}`.split('/').map(encodeURIComponent).join('/');
  const sorted = entries.sort((a, b) => b.isFolder - a.isFolder || a.name.localeCompare(b.name));
  const rows = sorted.map(({ name, isFolder: isInner, size, changed }) => {
    const mark = isInner ? '/' : '';
    const date = changed.toISOString().slice(0, 19).replace('T', ' ');
    return `<li><a href="${link(name)}${mark}">${escaped(name)}${mark}</a> ${isInner ? '' : `${size} bytes, `}${date}</li>`;
  });
  const up = base === '' ? '' : `<li><a href="${link('').replace(/\/[^/]*\/$/, '/')}">../</a></li>\n`;
  const title = `Index of ${escaped(shown)}`;
  return `<!doctype html>\n<meta charset="utf-8">\n<title>${title}</title>\n<h1>${title}</h1>\n<ul>\n${up}${rows.join('\n')}\n</ul>\n`;
}

function escaped(text) {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}

async function tellMissing({ root }, response) {
  const page = await fs.promises.readFile(path.join(root, '404.html')).catch(() => '404 Not Found');
  response.writeHead(404, { 'Content-Type': HTML, 'Content-Length': Buffer.byteLength(page) }).end(page);
}

/** The log says everything, the visitor hears the code alone. */
function tellFailure(response, file, error) {
  process.stderr.write(`${file} cannot be handed out: ${error.message}\n`);
  const text = `500 Internal Server Error (${error.code ?? 'unknown'})\n`;
  response.writeHead(500, { 'Content-Type': 'text/plain' }).end(text);
}

function say(response, status, text, headers) {
  return response.writeHead(status, { 'Content-Type': HTML, ...headers }).end(`${status} ${text}`);
}

function main() {
  const settings = readSettings(process.env, process.argv.slice(2));
  const server = http.createServer((request, response) => {
    answer(settings, request, response).catch((error) => {
      process.stderr.write(`${error.stack}\n`);
      response.destroy();
    });
  });
  server.on('error', fail);
  server.listen(settings.port, settings.host, () => {
    process.stdout.write(`Serving ${settings.root} on ${settings.host}:${server.address().port}\n`);
  });
}

function fail(error) {
  process.stderr.write(`The static server cannot start: ${error.message}\n`);
  process.exit(1);
}

try {
  main();
} catch (error) {
  fail(error);
}
