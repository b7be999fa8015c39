'use strict';

/*
 * Deployment over ssh: a checkout on each host, kept at a revision, with commands before and after.
 *
 * On a host: `source` is the checkout, `shared` what outlives it, `current` a link to what runs, `.deploys` the revisions so far, one a line.
 */

const fs = require('node:fs');
const path = require('node:path');
const { run } = require('./programs.js');
const { badArgument } = require('./settle.js');

/** Longest work on one host, in ms: it may install and build. */
const DEPLOY_MAX = 3_600_000;

const COMMANDS = 'setup, update, revert [n], curr, prev, exec <command>, list, or a ref';

const NEEDED = ['host', 'repo', 'path', 'ref'];

/** `file` or the environment may come first, as on the command line; `words` follow. */
async function deploy(api, file, words) {
  const { name, rest } = fileAndWords(api, file, words);
  const [environment, ...command] = rest;
  if (environment === undefined) throw badArgument('deploy', 'environment', environment, 'the name of an environment of the file');
  const { deploy: environments } = await readWhole(name);
  const declared = environments !== undefined && Object.hasOwn(environments, environment) ? environments[environment] : undefined;
  if (typeof declared !== 'object' || declared === null) throw new Error(`${environment} environment is not defined in ${name} file`);
  const target = checked(declared, environment, name);
  const answers = [];
  // One host after the other: what fails on the first never reaches the second.
  for (const host of [target.host].flat()) {
    const { user = target.user, host: address = host, port = target.port } = typeof host === 'object' ? host : {};
    answers.push(await deployTo({ ...target, user, port, host: address }, command, path.dirname(name)));
  }
  return Array.isArray(target.host) ? answers : answers[0];
}

function fileAndWords(api, file, words) {
  const { isConfigFile } = require('./files.js');
  const given = Array.isArray(words) ? words : (words?.rawArgs ?? []);
  const own = given.includes('deploy') ? given.slice(given.indexOf('deploy') + 1) : given;
  if (typeof file !== 'string') throw badArgument('deploy', 'file', file, 'a configuration file, or an environment');
  const all = own[0] === file ? own : [file, ...own];
  if (isConfigFile(file)) return { name: path.resolve(api.cwd, file), rest: all.slice(1) };
  const { getConfigFileCandidates } = require('./common.js');
  const candidates = [...getConfigFileCandidates('ecosystem'), 'ecosystem.json5', 'package.json'];
  const found = candidates.map((each) => path.resolve(api.cwd, each)).find((each) => fs.existsSync(each));
  if (found === undefined) throw new Error(`no file to deploy by in ${api.cwd}: ${candidates.join(', ')}`);
  return { name: found, rest: all };
}

async function readWhole(name) {
  const { readConfig } = require('./files.js');
  const { apps, apps_text } = await readConfig(name, path.dirname(name));
  return (apps_text === undefined ? apps : require('./common.js').parseConfig(apps_text, name)) ?? {};
}

function checked(declared, environment, name) {
  for (const key of NEEDED) {
    const isMissing =
      key === 'host' ? [declared.host].flat().filter(Boolean).length === 0 : typeof declared[key] !== 'string' || declared[key] === '';
    if (isMissing) throw new Error(`deploy.${environment}.${key} is missing in ${name}`);
  }
  const after = declared['post-deploy'] || `pm2 startOrRestart ${quoted(path.basename(name))} --env ${quoted(environment)}`;
  return { ...declared, 'post-deploy': after };
}

/** Does the command on one host; gives what that printed. */
async function deployTo(target, [command = 'update', ...words], cwd) {
  const on = (script) => run('ssh', [...sshArguments(target), 'sh -s'], { cwd, input: `set -e\n${script}\n`, limit: DEPLOY_MAX });
  const at = quoted(target.path);
  const current = `cd ${at}/current\n`;
  switch (command) {
    case 'setup':
      return on(setup(target));
    case 'exec':
    case 'run':
      if (words.length === 0) throw badArgument('deploy', 'command', undefined, 'exec with a command');
      return on(current + exported(target) + words.join(' '));
    case 'list':
      return on(`cat ${at}/.deploys`);
    case 'curr':
    case 'current':
      return on(`tail -n 1 ${at}/.deploys`);
    case 'prev':
    case 'previous':
      return on(`tail -n 2 ${at}/.deploys | head -n 1`);
    case 'revert':
      return revert(target, words[0] ?? '1', on, cwd);
    default:
      return update(target, command === 'update' ? target.ref : command, on, cwd);
  }
}

function setup(target) {
  const at = quoted(target.path);
  const depth = target.fetch === 'fast' ? '--depth=5 ' : '';
  return [
    target['pre-setup'] ?? '',
    `mkdir -p ${at}/shared/logs ${at}/shared/pids`,
    `[ -d ${at}/source ] || git clone ${depth}-- ${quoted(target.repo)} ${at}/source`,
    `ln -sfn ${at}/source ${at}/current`,
    `touch ${at}/.deploys`,
    `cd ${at}/current`,
    exported(target) + (target['post-setup'] ?? ''),
  ].join('\n');
}

async function update(target, ref, on, cwd) {
  if (!/^[\w./@{}^~-]+$/.test(ref) || ref.startsWith('-')) throw badArgument('deploy', 'command', ref, COMMANDS);
  if (target['pre-deploy-local']) await run('sh', ['-c', target['pre-deploy-local']], { cwd, limit: DEPLOY_MAX });
  const at = quoted(target.path);
  const depth = target.fetch === 'fast' ? '--depth=5 ' : '';
  const steps = [
    `[ -d ${at}/source ] || { echo "run setup first: ${target.path}/source is missing" >&2; exit 1; }`,
    `cd ${at}/source`,
    target['pre-deploy'] ?? '',
    `git fetch ${depth}--all --tags`,
    `git reset --hard ${quoted(ref)}`,
    `ln -sfn ${at}/source ${at}/current`,
    `cd ${at}/current`,
    exported(target) + target['post-deploy'],
    // Last: a deployment that failed is none.
    `git -C ${at}/source rev-parse HEAD >> ${at}/.deploys`,
  ];
  return on(steps.join('\n'));
}

async function revert(target, count, on, cwd) {
  if (!/^[1-9]\d{0,3}$/.test(count)) throw badArgument('deploy', 'command', `revert ${count}`, 'revert with a whole number');
  const list = `${quoted(target.path)}/.deploys`;
  const back = Number(count) + 1;
  const found = (await on(`[ "$(wc -l < ${list})" -lt ${back} ] || tail -n ${back} ${list} | head -n 1`)).trim();
  if (!/^[0-9a-f]{7,64}$/.test(found)) throw new Error(`nothing was deployed ${count} times ago`);
  return update(target, found, on, cwd);
}

function sshArguments({ user, host, port, key, ssh_options = [], forward_agent: hasAgent }) {
  const args = [ssh_options].flat().flatMap((option) => ['-o', option]);
  if (hasAgent) args.push('-A');
  if (port) args.push('-p', String(port));
  if (key) args.push('-i', key);
  const address = user ? `${user}@${host}` : String(host);
  if (address.startsWith('-')) throw new Error(`deploy: ${address} is no host`);
  return [...args, address];
}

function exported({ env = {} }) {
  const words = Object.entries(env).map(([name, value]) => {
    if (!/^\w+$/.test(name)) throw new Error(`deploy: ${name} is no name of a variable`);
    return `${name}=${quoted(String(value))}`;
  });
  return words.length === 0 ? '' : `export ${words.join(' ')}\n`;
}

/** One word for a shell, whatever is in it. */
function quoted(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

module.exports = { deploy };
