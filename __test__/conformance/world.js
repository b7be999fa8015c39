'use strict';

/**
 * What a scenario sees: one package, one home, and a transcript that everything goes into.
 *
 * The same scenario runs once with the published package and once with ours; `normalise.js` then takes out what may differ between any
 * two runs, and `allowed.js` says what may differ between the two packages and why.
 */

const fs = require('node:fs');
const path = require('node:path');

/** Less than the test around it waits, so that this message is the one that is seen. */
const PATIENCE_MS = 60_000;
const STEP_MS = 10;

/** A process that is started last and appears nowhere in the transcript. */
const MARKER = 'zz-marker';

/** Events of pm2's metrics library, which its apps load and ours do not. */
const LIBRARY_EVENTS = /^(application:dependencies|axm:|profilings|trace-span|log:PM2)/;

class World {
  #home;
  #events = [];
  #steps = [];

  /** The package; set when the scenario's directory is the current one. */
  pm2 = null;

  /** Files into which several streams go at once: their lines are compared in any order. */
  anyOrder = /^$/;

  constructor(home) {
    this.#home = home;
    this.work = path.join(home, 'work');
    fs.mkdirSync(this.work, { recursive: true });
    fs.writeFileSync(path.join(this.work, 'package.json'), '{"name": "work", "version": "1.2.3"}');
  }

  /** Path of a file of the scenario's own, written with `source`. */
  file(name, source) {
    const file = path.join(this.work, name);
    fs.mkdirSync(path.dirname(file), { recursive: true });
    fs.writeFileSync(file, source, { mode: 0o755 });
    return file;
  }

  /** Calls a method and puts its value, or its error, into the transcript. Gives the value, or undefined after an error. */
  async step(label, method, ...args) {
    const outcome = await this.attempt(method, ...args);
    this.#steps.push({ label, ...describeOutcome(outcome) });
    return outcome.value;
  }

  /** Calls a method without a word in the transcript; gives `{ error, value }`. */
  attempt(method, ...args) {
    return new Promise((resolve) => {
      try {
        this.pm2[method](...args, (error, value) => resolve({ error, value }));
      } catch (error) {
        resolve({ thrown: error });
      }
    });
  }

  /** Puts anything into the transcript. */
  note(label, value) {
    this.#steps.push({ label, value });
  }

  async list() {
    const { error, value } = await this.attempt('list');
    if (error) throw error;
    return value;
  }

  /** The process of that name. */
  async process(name) {
    return (await this.list()).find((one) => one.name === name);
  }

  /** Puts name, id, status and counters of every process into the transcript. */
  async statuses(label) {
    this.note(
      label,
      (await this.list()).map((p) => [p.name, p.pm_id, p.pm2_env.status, p.pm2_env.restart_time, p.pm2_env.unstable_restarts]),
    );
  }

  async until(what, condition) {
    const end = Date.now() + PATIENCE_MS;
    for (;;) {
      const value = await condition();
      if (value) return value;
      if (Date.now() > end)
        throw new Error(`waited in vain for: ${what}\n${JSON.stringify(this.#events.slice(-5), null, 1).slice(0, 2000)}`);
      await new Promise((resolve) => setTimeout(resolve, STEP_MS));
    }
  }

  /** Waits until the process has that status. */
  untilStatus(name, status) {
    return this.until(`${name} to be ${status}`, async () => ((await this.process(name)) || { pm2_env: {} }).pm2_env.status === status);
  }

  /** Waits until a file holds a text so many times. */
  untilText(file, text, count = 1) {
    const isThere = () => fs.existsSync(file) && fs.readFileSync(file, 'utf8').split(text).length > count;
    return this.until(`${file} to hold ${text} ${count} times`, isThere);
  }

  /** Waits until each of these processes has printed a line. Several may print into one file. */
  async untilPrinted(isMeant) {
    const outputs = (await this.list()).filter(isMeant).map(({ pm2_env }) => pm2_env.pm_out_log_path);
    for (const output of new Set(outputs)) await this.untilText(output, '\n', outputs.filter((each) => each === output).length);
  }

  /** Waits until the bus has brought `count` events that fit. */
  untilEvents(what, count, fits) {
    return this.until(what, () => this.#events.filter(([name, data]) => fits(name, data)).length >= count);
  }

  /** Waits until the bus has told this of the process. */
  untilTold(app, event) {
    const fits = (name, { event: told, process }) => name === 'process:event' && told === event && process.name === app;
    return this.untilEvents(`${event} of ${app}`, 1, fits);
  }

  /** Waits until the bus has brought a text of the process; a text may come in any number of pieces. */
  untilHeard(app, kind, text) {
    const pieces = () => this.#events.filter(([name, data]) => name === kind && data.process.name === app);
    const heard = () =>
      pieces()
        .map(([, { data }]) => data)
        .join('');
    return this.until(`${text} of ${app} on the bus`, () => heard().includes(text));
  }

  async begin() {
    const { error } = await this.attempt('connect');
    if (error) throw error;
    const bus = await this.attempt('launchBus');
    if (bus.error) throw bus.error;
    bus.value.on('*', (name, data) => {
      if (!LIBRARY_EVENTS.test(name)) this.#events.push([name, data]);
    });
  }

  /**
   * Waits until the bus has brought everything that was said so far: it keeps the order, so when a process started now is heard of, all
   * before it has been.
   */
  async settle() {
    const { error } = await this.attempt('start', { name: MARKER, script: 'sleep', args: '86400', interpreter: 'none' });
    if (error) throw error;
    await this.untilEvents(
      'the marker',
      1,
      (name, data) => name === 'process:event' && data.event === 'start' && data.process.name === MARKER,
    );
    this.#events = this.#events.filter(([, data]) => !(data && data.process && data.process.name === MARKER));
  }

  /** Everything that was seen, for the comparison. */
  transcript() {
    return { steps: this.#steps, events: eventsByProcess(this.#events), files: this.#files() };
  }

  /** Names of all files in the home, and the contents of logs. */
  #files() {
    const found = {};
    for (const entry of fs.readdirSync(this.#home, { recursive: true, withFileTypes: true })) {
      const file = path.join(entry.parentPath || entry.path, entry.name);
      const name = path.relative(this.#home, file);
      if (name.includes(MARKER)) continue;
      if (!entry.isFile() || !/^(logs|work\/logs|pids)\//.test(name)) continue;
      if (/^pids\//.test(name)) {
        found[name] = 'a pid';
      } else {
        const text = fs.readFileSync(file, 'utf8');
        found[name] = this.anyOrder.test(name) ? text.split('\n').sort().join('\n') : text;
      }
    }
    return found;
  }
}

/** An outcome as data: errors by their message, arrays of errors as arrays of messages. */
function describeOutcome({ error, value, thrown }) {
  const message = (one) => (one instanceof Error || (one && one.message) ? String(one.message) : one);
  if (thrown) return { thrown: message(thrown) };
  if (error) return { error: Array.isArray(error) ? error.map(message) : message(error), value };
  return { error: error === null ? null : String(error), value };
}

/**
 * The bus in the order that is promised: what concerns one process, each kind by itself. Text of logs is joined, because a
 * program's writes may arrive in any number of pieces.
 */
function eventsByProcess(events) {
  const kinds = {};
  for (const [name, data] of events) {
    const from = (data && data.process) || {};
    const key = `${from.name} ${from.pm_id} ${name}`;
    if (/^log:/.test(name)) {
      kinds[key] = (kinds[key] || '') + data.data;
    } else {
      kinds[key] = kinds[key] || [];
      kinds[key].push(name === 'process:event' ? lifeEvent(data) : data);
    }
  }
  return kinds;
}

function lifeEvent({ event, manually, process }) {
  return [event, manually, process.status, process.restart_time, process.exit_code === undefined ? 'no code' : process.exit_code];
}

module.exports = { World };
