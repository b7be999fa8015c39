'use strict';

/*
 * Modules: apps that come as a package, are installed below the home, and live with the daemon. Nothing but `install` uses the network.
 */

const fs = require('node:fs');
const path = require('node:path');
const { checkOptions } = require('./arguments.js');
const { canonicName, isSafe, stripped } = require('./module_name.js');
const known = require('./module_store.js');
const { run } = require('./programs.js');
const { badArgument } = require('./settle.js');
const tarball = require('./tarball.js');

/** Longest work of a package manager, in ms. */
const INSTALL_MAX = 600_000;

/** How long a module is watched with `safe`, and how often it is looked at, in ms; more restarts than that are too many. */
const SAFE_FOR = 3000;
const SAFE_LOOK = 100;
const SAFE_RESTARTS = 2;

/** What pm2 adds to its own folder under these names. There is no Node in the daemon that could load it. */
const NOT_MODULES = new Set(
  'deep-monitoring gc-stats event-loop-inspector v8-profiler profiler typescript livescript coffee-script coffeescript'.split(' '),
);

const WHAT = "'.', a .tar.gz file, or what npm can install";

async function install(api, what, options) {
  if (typeof what !== 'string' || stripped(what) === '') throw badArgument('install', 'module', what, WHAT);
  const name = stripped(what);
  const given = checkOptions('install', options);
  if (NOT_MODULES.has(name)) throw new Error(`${name} is no module: install it beside the app that needs it`);
  if (name === '.') return start(api, 'local', process.cwd(), given);
  if (given.tarball || /\.tar\.gz$/i.test(name)) return installTarball(api, name, given);
  return installPackage(api, name, given);
}

async function installPackage(api, what, options) {
  const asked = canonicName(what);
  if (!isSafe(asked)) throw badArgument('install', 'module', what, WHAT);
  // A folder or a repository may hold a package of another name. Its place is under that one, and what npm links is relative to its place.
  const other = await installAs(api, what, options, asked).catch((error) => {
    if (!isSafe(error.realName)) throw error;
    return error;
  });
  return other instanceof Error ? installAs(api, what, options, other.realName) : other;
}

function installAs(api, what, options, name) {
  const folder = folderOf(api, name);
  return replacing(api, name, async () => {
    fs.mkdirSync(folder, { recursive: true, mode: 0o700 });
    await runPackageManager(api, what, folder).catch((error) => {
      const text = `Installation failed via NPM, module has been restored to prev version: ${error.message}`;
      throw Object.assign(new Error(text, { cause: error }), { code: error.code });
    });
    const own = nameInstalled(folder, name);
    if (own !== name) throw Object.assign(new Error(`the package is called ${own}`), { realName: own });
    const inside = path.join(folder, 'node_modules', name);
    known.setDefaults(api._conf.PM2_MODULE_CONF_FILE, name, tarball.readManifest(path.join(inside, 'package.json')).config);
    const { uid, gid } = options;
    known.record(api._conf.PM2_MODULE_CONF_FILE, 'package', name, { uid, gid });
    const started = await start(api, 'package', inside, options);
    if (options.safe) await watchFor(api, name, options.safe);
    return started;
  });
}

/** npm, else bun, with the folder for a prefix. */
async function runPackageManager(api, what, folder) {
  const spec = /^\.{1,2}(\/|$)/.test(what) ? path.resolve(api.cwd, what) : what;
  // A project that calls us by `npm run` has its settings in variables, and they are not for this folder.
  const env = Object.fromEntries(Object.entries(process.env).filter(([key]) => !/^npm_config_(prefix|global|local_prefix)$/i.test(key)));
  const npm = ['install', spec, '--loglevel=error', '--no-audit', '--no-fund', '--prefix', folder];
  try {
    await run('npm', npm, { cwd: folder, env, limit: INSTALL_MAX });
  } catch (error) {
    if (error.code !== 'ENOENT') throw error;
    await run('bun', ['install', spec, '--cwd', folder], { cwd: folder, env, limit: INSTALL_MAX });
  }
}

/** What the package calls itself: the name that it was asked for by may be that of its repository. */
function nameInstalled(folder, name) {
  if (fs.existsSync(path.join(folder, 'node_modules', name, 'package.json'))) return name;
  const { dependencies } = JSON.parse(fs.readFileSync(path.join(folder, 'package.json'), 'utf8'));
  return Object.keys(dependencies ?? {})[0] ?? name;
}

async function installTarball(api, what, options) {
  const isRemote = /^https?:\/\//.test(what);
  const file = isRemote ? await tarball.download(what) : path.resolve(api.cwd, what);
  try {
    const { name } = await tarball.manifestIn(file);
    const folder = folderOf(api, name);
    return await replacing(api, name, async () => {
      fs.mkdirSync(folder, { recursive: true, mode: 0o700 });
      await tarball.unpack(file, folder);
      if (options.install) await run('yarn', ['install'], { cwd: folder, limit: INSTALL_MAX });
      const { install: _install, tarball: _tarball, ...others } = options;
      const install_url = isRemote ? what : undefined;
      await start(api, 'tarball', folder, { ...others, install_url });
      known.record(api._conf.PM2_MODULE_CONF_FILE, 'tarball', name, { source: 'tarball', install_url, installed_at: Date.now() });
      return 'Module installed & Started';
    });
  } finally {
    if (isRemote) fs.rmSync(path.dirname(file), { recursive: true, force: true });
  }
}

/**
 * Puts a module in the place of the installed one of its name. That one is stopped and moved aside; when `work` fails it is moved back and
 * started again, and nothing of the new one stays.
 */
async function replacing(api, name, work) {
  const folder = folderOf(api, name);
  const file = api._conf.PM2_MODULE_CONF_FILE;
  const source = known.sourceOf(file, name);
  const aside = path.join(path.dirname(folder), `.${path.basename(folder)}.previous`);
  // One that a killed installation has left behind is whole, and what is in its place is not.
  if (fs.existsSync(aside)) {
    fs.rmSync(folder, { recursive: true, force: true });
    fs.renameSync(aside, folder);
  }
  // A daemon that is launched starts what is installed: before anything of that changes.
  await api.Client.start();
  await deleteProcesses(api, folder);
  const hasPrevious = source !== null && fs.existsSync(folder);
  if (hasPrevious) fs.renameSync(folder, aside);
  else fs.rmSync(folder, { recursive: true, force: true });
  try {
    const value = await work();
    fs.rmSync(aside, { recursive: true, force: true });
    return value;
  } catch (error) {
    await deleteProcesses(api, folder);
    fs.rmSync(folder, { recursive: true, force: true });
    if (!hasPrevious) {
      known.forget(file, name);
      throw error;
    }
    fs.renameSync(aside, folder);
    await start(api, source, source === 'package' ? path.join(folder, 'node_modules', name) : folder, {});
    throw error;
  }
}

/** Fails if the module restarts again and again. */
async function watchFor(api, name, safe) {
  const limit = safe === true ? SAFE_FOR : Number.parseInt(safe, 10);
  if (!(limit > 0)) throw badArgument('install', 'options.safe', safe, 'true, or a time in ms');
  const end = Date.now() + limit;
  while (Date.now() < end) {
    await new Promise((resolve) => setTimeout(resolve, Math.min(SAFE_LOOK, limit)));
    const [found] = (await api.Client.call('getMonitorData', {})).filter((each) => each.name === name);
    if (found === undefined || found.pm2_env.restart_time > SAFE_RESTARTS || found.pm2_env.status === 'errored') {
      throw new Error('New Module is instable, restored to previous version');
    }
  }
}

async function uninstall(api, what) {
  if (typeof what !== 'string' || what === '') throw badArgument('uninstall', 'module', what, 'the name of a module, or "all"');
  const file = api._conf.PM2_MODULE_CONF_FILE;
  const names = what === 'all' ? known.namesIn(file) : [stripped(what)];
  const name = names[0];
  if (what !== 'all' && known.sourceOf(file, name) === null) {
    const canonic = canonicName(name);
    if (known.sourceOf(file, canonic) === null) throw new Error('Unknown module');
    names[0] = canonic;
  }
  for (const each of names) {
    known.forget(file, each);
    // A name that somebody else has written there may lead anywhere.
    if (!isSafe(each)) continue;
    const folder = folderOf(api, each);
    await deleteProcesses(api, folder);
    fs.rmSync(folder, { recursive: true, force: true });
  }
}

/** Deletes the processes that bear this name. */
async function deleteModule(api, name) {
  if (typeof name !== 'string' || name === '') throw badArgument('deleteModule', 'module', name, 'the name of a module');
  return deleteWhere(api, (each) => each.name === name);
}

/** Packs a module's folder into the current one. */
function pack(folder) {
  if (folder !== undefined && typeof folder !== 'string') throw badArgument('package', 'folder', folder, 'the path of a folder');
  return tarball.pack(path.resolve(folder ?? '.'), process.cwd());
}

function start(api, source, folder, options) {
  return api.Client.act('startModule', api.cwd, { source, folder, options });
}

function deleteProcesses(api, folder) {
  const inside = folder + path.sep;
  return deleteWhere(api, ({ pm2_env }) => {
    return pm2_env.pmx_module === true && (pm2_env.pm_cwd === folder || String(pm2_env.pm_cwd).startsWith(inside));
  });
}

async function deleteWhere(api, isMeant) {
  // Without a daemon there are no processes, and none is launched to say so.
  if (!(await api.Client.pingDaemon())) return [];
  const deleted = [];
  for (const each of (await api.Client.call('getMonitorData', {})).filter(isMeant)) {
    deleted.push(await api.Client.call('deleteProcessId', each.pm_id));
  }
  return deleted;
}

function folderOf(api, name) {
  return path.join(api._conf.DEFAULT_MODULE_PATH, name);
}

module.exports = { install, uninstall, deleteModule, pack };
