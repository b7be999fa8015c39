'use strict';

/*
 * Tarballs of modules: a gzipped tar whose only folder is `module/`, with a package.json in it.
 */

const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { isSafe } = require('./module_name.js');
const { run } = require('./programs.js');

/** The folder in the archive. */
const FOLDER = 'module';

/** Longest work of `tar`, in ms, and of a download. */
const TAR_MAX = 120_000;
const DOWNLOAD_MAX = 300_000;

/** Largest archive that is fetched, in bytes. */
const ARCHIVE_MAX = 512 * 1024 * 1024;

/** Packs a folder to `<folder>-v<version, with dashes>.tar.gz` in `target`. */
async function pack(folder, target) {
  const manifest = readManifest(path.join(folder, 'package.json'));
  if (typeof manifest.version !== 'string') throw new Error(`${path.join(folder, 'package.json')} has no version`);
  const version = manifest.version.replace(/\./g, '-').replace(/[^\w+-]/g, '');
  const package_name = `${path.basename(folder)}-v${version}.tar.gz`;
  const file = path.join(target, package_name);
  // What links point to stays as it is.
  const renamed = os.platform() === 'linux' ? ['--transform', `s,^\\.,${FOLDER},S`] : ['-s', `,^\\.,${FOLDER},S`];
  const written = `${file}.${process.pid}.part`;
  const own = ['--exclude', `./${package_name}`, '--exclude', `./${path.basename(written)}`];
  try {
    await run('tar', ['-czf', written, ...own, ...renamed, '-C', folder, '.'], { limit: TAR_MAX });
    fs.renameSync(written, file);
  } finally {
    fs.rmSync(written, { force: true });
  }
  return { package_name, path: file };
}

/** The package.json in an archive. */
async function manifestIn(file) {
  const name = `${FOLDER}/package.json`;
  if (!fs.existsSync(file)) throw Object.assign(new Error(`module ${file} not found`), { code: 'ENOENT' });
  const text = await run('tar', ['-xzOf', file, name], { limit: TAR_MAX }).catch((error) => {
    throw Object.assign(new Error(`${file} is no module: it must hold ${name} (${error.message})`), { cause: error });
  });
  return checked(text, `${file} (${name})`);
}

/** Unpacks an archive; what is in its folder is then in `target`, which must be there. */
async function unpack(file, target) {
  await run('tar', ['-xzf', file, '-C', target, '--strip-components', '1', '--no-same-owner', FOLDER], { limit: TAR_MAX });
}

/** Fetches an archive to a file of its own in the system's folder for such; gives its path. */
async function download(url) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'pm2-module-'));
  const file = path.join(folder, 'module.tar.gz');
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(DOWNLOAD_MAX) });
    if (!response.ok) throw new Error(`answered ${response.status}`);
    const { Readable, Transform, promises } = require('node:stream');
    let size = 0;
    const counted = new Transform({
      transform(chunk, _encoding, next) {
        size += chunk.length;
        next(size > ARCHIVE_MAX ? new Error(`has more than ${ARCHIVE_MAX} bytes`) : null, chunk);
      },
    });
    const { pipeline } = promises ?? require('node:stream/promises');
    await pipeline(Readable.fromWeb(response.body), counted, fs.createWriteStream(file, { mode: 0o600 }));
    return file;
  } catch (error) {
    fs.rmSync(folder, { recursive: true, force: true });
    throw new Error(`module ${url} cannot be fetched: ${error.message}`, { cause: error });
  }
}

function readManifest(file) {
  try {
    return checked(fs.readFileSync(file, 'utf8'), file);
  } catch (error) {
    throw error.code === 'ENOENT' ? Object.assign(new Error(`${file} not found`), { code: 'ENOENT' }) : error;
  }
}

function checked(text, name) {
  let value;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new Error(`${name} is no JSON: ${error.message}`, { cause: error });
  }
  if (!isSafe(value?.name)) throw new Error(`${name} must have a name that can be a folder's, such as "my-module"`);
  return value;
}

module.exports = { pack, manifestIn, unpack, download, readManifest };
