'use strict';

/*
 * Moves the checkout that an app runs from to another revision, and reloads the app. Changes that are not committed are kept, or the move is
 * refused: git's own `--keep`.
 */

const fs = require('node:fs');
const path = require('node:path');
const { run } = require('./programs.js');
const { badArgument } = require('./settle.js');

/** Longest work of git, and of one command after a move, in ms. */
const GIT_MAX = 120_000;
const COMMAND_MAX = 60_000;

/** Files of a checkout that may say what follows a move. */
const FILES = ['ecosystem.json', 'process.json', 'package.json'];

/** How each move finds the revision to go to; null for none. */
const MOVES = {
  async pull(git) {
    await git('fetch');
    return (await git('rev-list', '-1', 'HEAD..@{upstream}')) === '' ? null : '@{upstream}';
  },
  backward: async (git) => git('rev-parse', '--verify', '--quiet', 'HEAD~1').catch(() => null),
  async forward(git) {
    const ahead = await git('rev-list', '--reverse', '--first-parent', 'HEAD..@{upstream}');
    return ahead.split('\n')[0] || null;
  },
};

const NOTHING = { pull: 'Already up to date', backward: 'No previous commit', forward: 'No next commit' };

/** `pull`, `forward` or `backward`, then the reload. */
function move(api, name, direction) {
  return onCheckout(api, name, async (git) => {
    const revision = await MOVES[direction](git);
    if (revision === null) throw refusal(`${NOTHING[direction]} for ${name}`);
    return revision;
  });
}

function moveTo(api, name, commit) {
  if (typeof commit !== 'string' || !/^[\w./-]+$/.test(commit) || commit.startsWith('-')) {
    throw badArgument('pullCommitId', 'commit', commit, 'the id of a commit');
  }
  return onCheckout(api, name, async (git) => {
    await git('fetch').catch(() => {});
    return git('rev-parse', '--verify', '--quiet', `${commit}^{commit}`).catch(() => {
      throw refusal(`${commit} is no commit of ${name}'s checkout`);
    });
  });
}

async function onCheckout(api, name, choose) {
  if (typeof name !== 'string' || name === '') throw badArgument('pull', 'process', name, 'the name of a process');
  const [found] = await api.Client.getProcessByNameOrId(name);
  if (found === undefined) throw refusal(`No process found with name ${name}`);
  const { pm_cwd, post_update } = found.pm2_env;
  const root = await run('git', ['-C', pm_cwd, 'rev-parse', '--show-toplevel'], { limit: GIT_MAX }).catch(() => {
    throw refusal(`No versioning system found for process ${name}`);
  });
  const folder = root.trim();
  const git = async (...args) => (await run('git', ['-C', folder, ...args], { limit: GIT_MAX })).trim();
  try {
    await git('reset', '--keep', await choose(git));
  } catch (error) {
    throw error.msg === undefined ? refusal(error.message) : error;
  }
  for (const command of post_update ?? commandsIn(folder, name)) {
    await run('sh', ['-c', command], { cwd: folder, limit: COMMAND_MAX }).catch((error) => {
      throw refusal(`${command} failed after the move to another revision: ${error.message}`);
    });
  }
  return api.reload(name);
}

/** The `post_update` of this app in the first file that has one. */
function commandsIn(folder, name) {
  for (const file of FILES) {
    try {
      const { apps, post_update } = JSON.parse(fs.readFileSync(path.join(folder, file), 'utf8'));
      const own = [apps ?? []].flat().find((app) => app.name === name)?.post_update ?? post_update;
      if (Array.isArray(own)) return own.filter((command) => typeof command === 'string');
    } catch {
      // The next one.
    }
  }
  return [];
}

/** An Error that can be read as pm2's objects for these calls can: by `msg`. */
function refusal(message) {
  return Object.assign(new Error(message), { msg: message });
}

module.exports = { move, moveTo };
