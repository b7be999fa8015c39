'use strict';

/** Two transcripts and the list of allowed differences: what is left to complain about. */

/** Characters shown of a text that differs. */
const SHOWN = 300;

/** A pattern with `*` and `**` as a regular expression over a path. */
function matcher(pattern) {
  const source = pattern
    .split('/')
    .map((part) => {
      if (part === '**') return '(?:[^/]+/)*';
      return `${part
        .split('*')
        .map((text) => text.replace(/[.+?^${}()|[\]\\]/g, '\\$&'))
        .join('[^/]*')}/`;
    })
    .join('');
  return new RegExp(`^${source}$`);
}

/** Steps are found by their label, so that a path says which one it means. */
function byLabel(steps) {
  return Object.fromEntries(steps.map(({ label, ...rest }, i) => [`${i} ${label}`, rest]));
}

/** Walks both sides at once; `found` gets `{ path, reference, ours }` for each difference. */
function walk(path, reference, ours, ignores, found) {
  if (ignores(path, ours)) return;
  const isTree = (value) => value !== null && typeof value === 'object';
  if (isTree(reference) && isTree(ours) && Array.isArray(reference) === Array.isArray(ours)) {
    for (const key of new Set([...Object.keys(reference), ...Object.keys(ours)])) {
      walk(`${path}${key}/`, reference[key], ours[key], ignores, found);
    }
    return;
  }
  if (reference !== ours) found.push({ path: path.slice(0, -1), reference: short(reference), ours: short(ours) });
}

/** A difference is read by a person; whole log files are not. */
function short(value) {
  return typeof value === 'string' && value.length > SHOWN ? `${value.slice(0, SHOWN)}… (${value.length} characters)` : value;
}

/**
 * The differences that no line of `allowed` explains. A line with `scenario` (one or several) counts only there; one with `ours` (a regular expression or
 * a function) only if our value is as it says, or if the reference is compared with itself.
 */
function differences(scenario, reference, ours, allowed, isItself = false) {
  const lines = allowed
    .filter((line) => !line.scenario || [line.scenario].flat().includes(scenario))
    .map((line) => ({ ...line, matches: matcher(line.path) }));
  const fits = (line, value) => {
    if (line.ours === undefined || isItself) return true;
    return typeof line.ours === 'function' ? line.ours(value) : line.ours.test(typeof value === 'string' ? value : JSON.stringify(value));
  };
  const ignores = (path, value) => lines.some((line) => line.matches.test(path) && fits(line, value));
  const found = [];
  const tree = (transcript) => ({ ...transcript, steps: byLabel(transcript.steps) });
  walk('', tree(reference), tree(ours), ignores, found);
  return found;
}

module.exports = { differences };
