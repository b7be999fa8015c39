'use strict';

/*
 * Builds the addon and the executable into `npm/<platform>/`, where `native.js` finds them in a source checkout.
 *
 * Does nothing in a published package (no sources there) and nothing when both files are newer than every source.
 * `--force` builds in any case; `--target <rust triple>` builds for another platform; `--debug` takes the dev profile.
 */

const { spawnSync } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');

const ROOT = path.join(__dirname, '..');
const SOURCES = ['Cargo.toml', 'Cargo.lock', 'build.rs', 'src'];
const TRIPLES = {
  'x86_64-unknown-linux-gnu': 'linux-x64-gnu',
  'x86_64-unknown-linux-musl': 'linux-x64-musl',
  'aarch64-unknown-linux-gnu': 'linux-arm64-gnu',
  'aarch64-unknown-linux-musl': 'linux-arm64-musl',
  'x86_64-apple-darwin': 'darwin-x64',
  'aarch64-apple-darwin': 'darwin-arm64',
};

function main(args) {
  if (!fs.existsSync(path.join(ROOT, 'Cargo.toml'))) return;
  const wanted = args.includes('--target') ? args[args.indexOf('--target') + 1] : null;
  const platform = TRIPLES[wanted ?? hostTriple()];
  if (platform === undefined) throw new Error(`pm2 cannot be built for ${wanted ?? hostTriple()}`);
  const folder = path.join(ROOT, 'npm', platform);
  const library = platform.startsWith('darwin') ? 'libpm2_addon.dylib' : 'libpm2_addon.so';
  const results = [
    [library, path.join(folder, `pm2.${platform}.node`)],
    ['pm2', path.join(folder, 'pm2')],
  ];
  if (!args.includes('--force') && isFresh(results.map(([, file]) => file))) return;

  const profile = args.includes('--debug') ? 'debug' : 'release';
  build(profile, wanted);
  const built = path.join(targetFolder(), wanted ?? '', profile);
  for (const [name, file] of results) install(path.join(built, name), file);
}

function hostTriple() {
  return output('rustc', ['-vV']).match(/^host: (.*)$/m)[1];
}

function targetFolder() {
  return JSON.parse(output('cargo', ['metadata', '--format-version=1', '--no-deps'])).target_directory;
}

function isFresh(files) {
  const newest = Math.max(...SOURCES.map((name) => newestChange(path.join(ROOT, name))));
  return files.every((file) => fs.existsSync(file) && fs.statSync(file).mtimeMs > newest);
}

function newestChange(file) {
  const stat = fs.statSync(file);
  if (!stat.isDirectory()) return /\.(rs|toml|lock)$/.test(file) ? stat.mtimeMs : 0;
  return Math.max(0, ...fs.readdirSync(file).map((name) => newestChange(path.join(file, name))));
}

function build(profile, target) {
  const args = ['build', '-p', 'pm2', '-p', 'pm2-addon', '--lib', '--bins', '--locked'];
  if (profile === 'release') args.push('--release');
  if (target !== null) args.push('--target', target);
  // musl links everything statically unless told otherwise, and a shared library then cannot be made at all.
  const flags = target?.endsWith('musl') ? { RUSTFLAGS: '-C target-feature=-crt-static' } : {};
  run('cargo', args, { stdio: 'inherit', env: { ...process.env, ...flags } });
}

/** Replaces `file` by renaming, because a daemon or a Node process may be running from it. */
function install(from, file) {
  const temporary = `${file}.${process.pid}`;
  fs.mkdirSync(path.dirname(file), { recursive: true });
  fs.copyFileSync(from, temporary);
  fs.chmodSync(temporary, 0o755);
  fs.renameSync(temporary, file);
}

function output(command, args) {
  return run(command, args, { encoding: 'utf8' }).stdout;
}

function run(command, args, options) {
  const result = spawnSync(command, args, { cwd: ROOT, ...options });
  if (result.error?.code === 'ENOENT') {
    throw new Error(`building pm2 from source needs ${command}: https://www.rust-lang.org/tools/install`);
  }
  if (result.status !== 0) throw new Error(`failed to run ${command} ${args.join(' ')}: status ${result.status}`);
  return result;
}

try {
  main(process.argv.slice(2));
} catch (problem) {
  process.stderr.write(`${problem.message}\n`);
  process.exitCode = 1;
}
