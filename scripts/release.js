'use strict';

/*
 * Makes the folders that are published: `dist/<package>/`, one per platform that has been built and one for pm2 itself.
 *
 * The main package names the platform packages as exact optional dependencies only here. In the sources they would have to
 * be in the lock file, which cannot be written before they are published, and `npm ci` refuses a lock file without them.
 */

const { execFileSync } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');

const ROOT = path.join(__dirname, '..');
const DIST = path.join(ROOT, 'dist');

function main() {
  fs.rmSync(DIST, { recursive: true, force: true });
  const platforms = fs.readdirSync(path.join(ROOT, 'npm'));
  for (const platform of platforms) stagePlatform(platform);
  stageMain(platforms);
}

function stagePlatform(platform) {
  const from = path.join(ROOT, 'npm', platform);
  if (!fs.existsSync(path.join(from, 'pm2'))) return;
  const folder = path.join(DIST, `pm2-${platform}`);
  fs.cpSync(from, folder, { recursive: true });
  for (const name of ['LICENSE-APACHE', 'LICENSE-MIT']) fs.copyFileSync(path.join(ROOT, name), path.join(folder, name));
}

function stageMain(platforms) {
  const { scripts, jest, tsd, devDependencies, ...published } = readJson('package.json');
  const listed = execFileSync('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], { cwd: ROOT, encoding: 'utf8' });
  const folder = path.join(DIST, 'pm2');
  for (const { path: file } of Object.values(JSON.parse(listed))[0].files) {
    // Packed for who installs from a checkout or a repository; what is published has packages of its own for them.
    if (file.startsWith('npm/')) continue;
    fs.mkdirSync(path.dirname(path.join(folder, file)), { recursive: true });
    fs.copyFileSync(path.join(ROOT, file), path.join(folder, file));
  }
  published.optionalDependencies = Object.fromEntries(
    platforms.map((platform) => [readJson(`npm/${platform}/package.json`).name, published.version]),
  );
  fs.writeFileSync(path.join(folder, 'package.json'), `${JSON.stringify(published, null, 2)}\n`);
}

function readJson(file) {
  return JSON.parse(fs.readFileSync(path.join(ROOT, file), 'utf8'));
}

main();
