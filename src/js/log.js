'use strict';

/*
 * Log lines on this process' own stdout and stderr: of files, and as they come. This is the one place of the package that writes there,
 * for callers who ask for nothing else.
 */

const fs = require('node:fs');

/** Bytes read back from the end of a file for each line that is wanted, and at most. */
const LINE_BYTES = 200;
const TAIL_MAX = 1024 * 1024;

/** Width of the name before a line of a file. */
const WIDTH = 10;

const LINES = 20;

/**
 * The last lines of files, those first that have changed longest ago. `files`: `{path, app_name, type}`, with `type` `out` or `err`.
 * Files that are not there are left out.
 */
function tail(files, lines, raw, callback) {
  if (lines > 0) for (const file of byChange(files)) printEnd(file, lines, raw);
  return callback?.();
}

function byChange(files) {
  const dated = files.map((file) => ({ file, changed: fs.statSync(file.path ?? '', { throwIfNoEntry: false })?.mtimeMs }));
  const present = dated.filter(({ changed }) => changed !== undefined);
  return present.sort((a, b) => a.changed - b.changed).map(({ file }) => file);
}

function printEnd(file, lines, raw) {
  const found = lastLines(file.path, lines);
  write('out', `${file.path} last ${lines} lines:`);
  for (const line of found) write(raw ? file.type : 'out', raw ? line : `${file.app_name.padEnd(WIDTH)} | ${line}`);
  if (found.length > 0) write('out', '');
}

function lastLines(file, lines) {
  const handle = fs.openSync(file, 'r');
  try {
    const { size } = fs.fstatSync(handle);
    const wanted = Math.min(size, lines * LINE_BYTES, TAIL_MAX);
    const bytes = Buffer.alloc(wanted);
    const read = fs.readSync(handle, bytes, 0, wanted, size - wanted);
    const all = bytes.toString('utf8', 0, read).split('\n');
    // What follows the last line break is no line yet.
    return all.slice(0, -1).slice(-lines);
  } finally {
    fs.closeSync(handle);
  }
}

/** Writes what processes print from now on, with a name before each line. Gives the bus, to be closed. */
function stream(client, id, raw, timestamp, exclusive, highlight) {
  let width = 3;
  return follow(client, id, exclusive, ({ type, process: from, line }) => {
    const shown = highlight ? line.replaceAll(highlight, `\u001b[7m${highlight}\u001b[27m`) : line;
    if (raw) return write(type, shown);
    const name = type === 'PM2' ? 'PM2' : `${from.pm_id}|${from.name}`;
    width = Math.max(width, name.length + 1);
    return write('out', `${date(timestamp)}${name.padEnd(width)} | ${shown}`);
  });
}

/** The same for developers: with the name alone. */
function devStream(client, id, raw, timestamp, exclusive) {
  return follow(client, id, exclusive, ({ type, process: from, line }) => {
    write(raw ? type : 'out', raw ? line : `${date(timestamp)}${from.name}-${from.pm_id} | ${line}`);
  });
}

/** One JSON object for each piece of output, and for each event of a process. */
async function jsonStream(client, id) {
  const bus = await client.launchBus();
  const say = (value) => write('out', JSON.stringify(value));
  bus.on('process:event', ({ event, process: from, at }) => {
    if (!isMeant(id, from)) return;
    say({ timestamp: new Date(at), type: 'process_event', status: event, app_name: from.name });
  });
  bus.on('log:*', (type, { data, process: from, at }) => {
    if (typeof data !== 'string' || !isMeant(id, from)) return;
    const message = data.replace(/\n$/, '');
    say({ message, timestamp: new Date(at), type, process_id: from.pm_id, app_name: from.name });
  });
  return bus;
}

/** `key=value` words, for programs that read those. */
function formatStream(client, id, _raw, timestamp = 'YYYY-MM-DD-HH:mm:ssZZ', exclusive = false) {
  return follow(client, id, exclusive, ({ type, process: from, line }) => {
    const time = `timestamp=${date(timestamp).trim()} `;
    if (type === 'PM2') return write('out', `${time}app=pm2 message=${line}`);
    const kind = type === 'err' ? 'error' : type;
    return write('out', `${time}app=${from.name} id=${from.pm_id} type=${kind} message=${line}`);
  });
}

async function follow(client, id, exclusive, print) {
  const bus = await client.launchBus();
  bus.on('log:*', (type, packet) => {
    const isOther =
      (type === 'PM2' && Boolean(exclusive)) || (exclusive === 'out' && type === 'err') || (exclusive === 'err' && type === 'out');
    if (isOther || typeof packet.data !== 'string' || !isMeant(id, packet.process)) return;
    for (const line of packet.data.split('\n')) if (line !== '') print({ type, process: packet.process, line });
  });
  return bus;
}

function isMeant(id, { name, pm_id, namespace }) {
  return id === 'all' || [name, String(pm_id), namespace].includes(String(id));
}

/** What `streamLogs` and `printLogs` have in common: the last lines of the files of the processes that are meant. */
async function tailProcesses(api, id = 'all', lines = LINES, raw = false, exclusive = false) {
  const files = new Map();
  const pattern = /^\/.*\/$/.test(String(id)) ? new RegExp(String(id).replaceAll('/', '')) : null;
  for (const { pm2_env } of await api.Client.call('getMonitorData', {})) {
    if (!isMeant(id, pm2_env) && !pattern?.test(pm2_env.name)) continue;
    const app_name = `${pm2_env.pm_id}|${pm2_env.name}`;
    const add = (file, type) => file && file !== '/dev/null' && !files.has(file) && files.set(file, { path: file, app_name, type });
    if (exclusive !== 'err') add(pm2_env.pm_out_log_path, 'out');
    if (exclusive !== 'out') add(pm2_env.pm_err_log_path, 'err');
  }
  tail([...files.values()], Math.abs(lines), raw);
}

async function streamLogs(api, id, lines, raw, timestamp, exclusive = false, highlight = undefined) {
  await tailProcesses(api, id, lines, raw, exclusive);
  return stream(api.Client, id ?? 'all', raw, timestamp, exclusive, highlight);
}

function write(type, line) {
  process[type === 'err' ? 'stderr' : 'stdout'].write(`${line}\n`);
}

/** The time of the moment in a form of dayjs': its usual letters, and nothing else of it. */
function date(form) {
  if (!form) return '';
  const now = new Date();
  const two = (number) => String(number).padStart(2, '0');
  const offset = -now.getTimezoneOffset();
  const zone = `${offset < 0 ? '-' : '+'}${two(Math.floor(Math.abs(offset) / 60))}${two(Math.abs(offset) % 60)}`;
  const parts = {
    YYYY: now.getFullYear(),
    MM: two(now.getMonth() + 1),
    DD: two(now.getDate()),
    HH: two(now.getHours()),
    mm: two(now.getMinutes()),
    ss: two(now.getSeconds()),
    SSS: String(now.getMilliseconds()).padStart(3, '0'),
    ZZ: zone,
    Z: `${zone.slice(0, 3)}:${zone.slice(3)}`,
  };
  return `${String(form).replace(/YYYY|MM|DD|HH|mm|SSS|ss|ZZ|Z/g, (name) => parts[name])} `;
}

module.exports = { tail, stream, devStream, jsonStream, formatStream, tailProcesses, streamLogs };
