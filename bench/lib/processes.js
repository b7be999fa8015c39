'use strict';

/**
 * What the benchmarks read from /proc: who belongs to a home, and what memory a process really has.
 */

const fs = require('node:fs');
const path = require('node:path');

/** Text of a file under /proc, or '' when the process has gone (or is not ours) in the meantime. */
function read(file) {
  try {
    return fs.readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}

/** Every pid of the machine. */
function pids() {
  return fs
    .readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number);
}

/** Pid of the parent; 0 when the process is gone. The name in `stat` may hold blanks and brackets, so count from its end. */
function parentOf(pid) {
  const stat = read(`/proc/${pid}/stat`);
  return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]) || 0;
}

/** Whether the process is there and not a zombie. */
function isAlive(pid) {
  const stat = read(`/proc/${pid}/stat`);
  return stat !== '' && !/^[ZX]/.test(stat.slice(stat.lastIndexOf(')') + 2));
}

/**
 * Every living process started for `home`: `PM2_HOME` is in its environment, or its command line names the home.
 * The calling process is left out.
 */
function processesOf(home) {
  const variable = `PM2_HOME=${home}`;
  return pids().filter((pid) => {
    if (pid === process.pid || !isAlive(pid)) return false;
    if (read(`/proc/${pid}/environ`).split('\0').includes(variable)) return true;
    const words = read(`/proc/${pid}/cmdline`).split('\0');
    return words.includes(home) || words[0].includes(`(${home})`);
  });
}

/**
 * The processes that are the manager itself: what `pm2.pid` names, and that one's `__daemon` child if there is one.
 * (The reference has one process; ours has a keeper and a daemon.)
 */
function managerOf(home) {
  const first = Number(read(path.join(home, 'pm2.pid')));
  if (!first || !isAlive(first)) return [];
  const daemons = pids().filter((pid) => parentOf(pid) === first && read(`/proc/${pid}/cmdline`).split('\0').includes('__daemon'));
  return [first, ...daemons];
}

/** Resident and unique (private) memory of one process in kB. */
function memoryOf(pid) {
  const rollup = read(`/proc/${pid}/smaps_rollup`);
  const field = (name) => Number((rollup.match(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm')) || [])[1] || 0);
  return { rss: field('Rss'), uss: field('Private_Clean') + field('Private_Dirty') };
}

/** The sum of `memoryOf` over several processes. */
function memoryOfAll(list) {
  return list.map(memoryOf).reduce((sum, one) => ({ rss: sum.rss + one.rss, uss: sum.uss + one.uss }), { rss: 0, uss: 0 });
}

/** Milliseconds that the threads which these processes have now were on a processor. */
function cpuOfAll(list) {
  const threads = list.flatMap((pid) => fs.readdirSync(`/proc/${pid}/task`).map((tid) => `/proc/${pid}/task/${tid}/schedstat`));
  return threads.reduce((sum, file) => sum + Number(read(file).split(' ')[0]) / 1e6, 0);
}

module.exports = { isAlive, processesOf, managerOf, memoryOf, memoryOfAll, cpuOfAll };
