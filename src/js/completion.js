'use strict';

/*
 * What a program asks that completes words in a shell. The shell's own part, which the command line writes, is not here.
 */

/** What the shell says of the line that is being written. */
function state() {
  const { COMP_CWORD: words, COMP_POINT: point, COMP_LINE: line } = process.env;
  const [, , first, second] = process.argv;
  const isAsked = first === 'completion' || second === 'completion';
  return { isAsked, words: Number(words), point: Number(point), line: line ?? '' };
}

/** Whether this run is for a shell that completes. */
function isComplete() {
  const { isAsked, words, point, line } = state();
  return isAsked || Boolean(words && point && line);
}

/** `(name, [completer], callback)`: calls back with nothing when nobody completes, else with the words around the cursor. */
function complete(name, completer, callback) {
  if (callback === undefined) return complete(name, name, completer);
  const { isAsked, words, point, line } = state();
  if (!isAsked) return callback();
  if (!words || !point || !line)
    return callback(new Error('the script for a shell belongs to the command line of pm2, which is not there yet'));
  const partial = line.slice(0, point);
  const all = line.split(' ');
  return callback(null, { line, words, point, partial, last: all.at(-1), prev: all.at(-2), lastPartial: partial.split(' ').at(-1) });
}

/** The options in a help text, without their dashes. */
function parseOut(text) {
  const names = (pattern) => (text.match(pattern) ?? []).map((each) => each.trim().replaceAll('-', ''));
  return { shorts: names(/\s-\w+/g), longs: names(/\s--\w+/g) };
}

/** What follows `prefix` at the beginning of lines. */
function parseTasks(text, prefix, pattern) {
  const literal = prefix.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
  const found = text.match(pattern ?? new RegExp(`^${literal}\\s[^#]+`, 'gm')) ?? [];
  return found.map((each) => each.trim().replace(`${prefix} `, ''));
}

/** Writes the words that begin like the last one of the line, one a line: that is how a shell is answered. */
function log(words, { last }, prefix = '') {
  const begun = last.replace(/^--?/, '');
  for (const word of [words].flat()) if (word.startsWith(begun)) process.stdout.write(`${prefix}${word}\n`);
}

module.exports = { isComplete, complete, parseOut, parseTasks, log };
