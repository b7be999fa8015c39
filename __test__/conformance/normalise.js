'use strict';

/** Takes out of a transcript what differs between any two runs of the same program. */

const TIMES = new Set(['created_at', 'pm_uptime', 'at']);
const PIDS = new Set(['pid']);
const SIZES = new Set(['memory', 'cpu']);
/** Members of the runtime's own child object, of which only these are anybody's business. */
const CHILD_MEMBERS = new Set(['process', 'pm2_env']);

function normaliseText(text, home) {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: that is what colours begin with.
  const plain = text.replace(/\u001b\[[0-9;]*m/g, '');
  return plain
    .replaceAll(home, '<home>')
    .replace(/[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}/g, '<uuid>')
    .replace(/\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d{3})?( ?(Z|[+-]\d\d:\d\d))?/g, '<date>')
    .replace(/\b1[789]\d{11}\b/g, '<ms>');
}

/** A start's value holds the runtime's child object: known by its record beside a `process`. */
function isChild(value) {
  return value.pm2_env !== undefined && value.process !== undefined && value.monit === undefined;
}

function normaliseMember(key, value, home) {
  if (TIMES.has(key) && typeof value === 'number') return '<time>';
  if (PIDS.has(key) && typeof value === 'number') return value === 0 ? 0 : '<pid>';
  if (SIZES.has(key) && typeof value === 'number') return '<size>';
  return normalise(value, home);
}

/** Values come in the order in which the processes were done; by id they can be compared. */
function inOrder(list) {
  const idOf = (item) => (item && typeof item === 'object' && item.pm2_env ? item.pm2_env.pm_id : undefined);
  return list.every((item) => typeof idOf(item) === 'number') ? [...list].sort((a, b) => idOf(a) - idOf(b)) : list;
}

function normalise(value, home) {
  if (typeof value === 'string') return normaliseText(value, home);
  if (Array.isArray(value)) return inOrder(value).map((item) => normalise(item, home));
  if (value === null || typeof value !== 'object') return value;
  const members = Object.entries(value).filter(([key]) => !isChild(value) || CHILD_MEMBERS.has(key));
  const entries = members.map(([key, item]) => [normaliseText(key, home), normaliseMember(key, item, home)]);
  const result = Object.fromEntries(entries);
  if (isChild(value) && result.process) result.process = { pid: result.process.pid };
  return result;
}

module.exports = { normalise };
