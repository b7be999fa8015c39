'use strict';

/** What could be read as a part of a command, in a program that gives it to one. */
const STRIPPED = /[;`|]/g;

/** A name that is one folder, or one below a scope, and no way out of where it is put. */
const SAFE = /^(@[A-Za-z0-9_~][\w.~-]*\/)?[A-Za-z0-9_~][\w.~-]*$/;

/** What is installed, as it may be handed on. */
function stripped(what) {
  return what.replace(STRIPPED, '');
}

function isSafe(name) {
  return typeof name === 'string' && name.length <= 214 && SAFE.test(name);
}

/**
 * The name of the module that something to install stands for: without version, branch, account and where it is fetched from.
 * `user/repo#branch` → `repo`, `@org/name@tag` → `@org/name`, `dir/name-1.0.0.tgz` → `name`. Null for what is no text.
 */
function canonicName(what) {
  if (typeof what !== 'string') return null;
  let name = what.replace(/\/+$/, '');
  const isPlace = /^(git\+|https?:|git:|ssh:|file:|\.|\/|~\/)/.test(name);
  const archive = /([^/]+)\.tgz($|\?.*$)/.exec(name);
  if (archive !== null) return archive[1].replace(/-\d+\.\d+\.\d+(-\w+(\.\d+)?)?$/, '');
  name = name.split('#', 1)[0];
  if (isPlace || (name.includes('/') && !name.startsWith('@'))) name = name.split('?', 1)[0].split('/').at(-1);
  const at = name.lastIndexOf('@');
  if (at > 0) name = name.slice(0, at);
  return name.replace(/\.git$/, '').replace(/^file:/, '');
}

module.exports = { canonicName, isSafe, stripped };
