'use strict';

/*
 * What an app can tell its daemon: actions that others may call, metrics, events, errors. `require('pm2/modules/pm2-io-bpm')` gives it.
 *
 * It does nothing by itself. Outside pm2 everything can be called, and nobody hears it.
 */

const { Counter, Gauge, Histogram, Meter } = require('./measures.js');
const { badArgument } = require('./settle.js');

/** How often metrics are reported, in ms. */
const REPORT_EVERY = 990;

/** Names of actions that tools use among themselves. */
const INTERNAL = /^(km|internal):/;

const KINDS = { counter: Counter, gauge: Gauge, metric: Gauge, histogram: Histogram, meter: Meter };

class IO {
  initialConfig = {};
  #actions = new Map();
  #metrics = new Map();
  #timer = null;
  #onMessage = (message) => this.#answer(message);

  /** Takes the configuration, and gives the library itself. */
  init(config = {}) {
    this.initialConfig = config ?? {};
    return this;
  }

  /** Forgets actions and metrics. */
  destroy() {
    clearInterval(this.#timer);
    this.#timer = null;
    this.#metrics.clear();
    this.#actions.clear();
    process.removeListener('message', this.#onMessage);
  }

  getConfig() {
    return this.initialConfig;
  }

  /** `(name, [options], work)` or `({name, options, action})`. `work` is called with `(reply)`, or with `(params, reply)` if it takes two. */
  action(name, options, work) {
    if (typeof name === 'object' && name !== null) return this.action(name.name, name.options, name.action);
    if (typeof options === 'function') return this.action(name, undefined, options);
    if (typeof name !== 'string' || name === '') throw badArgument('action', 'name', name, 'the name of an action');
    if (typeof work !== 'function') throw badArgument('action', 'action', work, 'a function');
    if (this.#actions.size === 0) process.on('message', this.#onMessage);
    this.#actions.set(name, work);
    const opts = options ?? undefined;
    tell('axm:action', { action_name: name, action_type: INTERNAL.test(name) ? 'internal' : 'custom', arity: work.length, opts });
    return undefined;
  }

  /** `(metric | metrics)` as `{name, type, …}`: the measures, in that order. */
  metrics(declared) {
    return [declared].flat().map((each) => {
      const type = each?.type ?? 'gauge';
      if (!Object.hasOwn(KINDS, type)) throw badArgument('metrics', 'type', type, `one of ${Object.keys(KINDS).join(', ')}`);
      return this.#measure(type, each);
    });
  }

  gauge(config) {
    return this.#measure('gauge', config);
  }

  metric(config) {
    return this.#measure('metric', config);
  }

  counter(config) {
    return this.#measure('counter', config);
  }

  meter(config) {
    return this.#measure('meter', config);
  }

  histogram(config) {
    return this.#measure('histogram', config);
  }

  /** Tells of an error that the app has dealt with. */
  notifyError(error, context) {
    const shown = error instanceof Error ? error : new Error(`Non-error value: ${asText(error)}`);
    const metadata = typeof context === 'object' && context !== null ? context : {};
    tell('process:exception', { message: shown.message, stack: shown.stack, name: shown.name, metadata });
  }

  /** An event with an object for its data; subscribers of the bus get it as `human:event`. */
  emit(name, data = {}) {
    if (typeof name !== 'string') throw badArgument('emit', 'name', name, 'the name of an event');
    if (typeof data !== 'object' || data === null || Array.isArray(data)) throw badArgument('emit', 'data', data, 'an object');
    tell('human:event', { ...data, __name: name });
  }

  /** Calls `(code, signal)` when the process ends; gives a function that takes that back. */
  onExit(callback) {
    if (typeof callback !== 'function') throw badArgument('onExit', 'callback', callback, 'a function');
    return require('./exits.js').onExit(callback);
  }

  /** Says that the app is a module, and hands out its configuration: `config` of its package.json, then what the user has set. */
  initModule(options, callback) {
    const config = require('./exits.js').moduleConfiguration(options ?? {});
    tell('axm:option:configuration', config);
    return typeof callback === 'function' ? callback(null, config) : config;
  }

  /** There are no traces here, and so no tracer. */
  getTracer() {
    return undefined;
  }

  /** Middleware that tells of errors and hands them on. */
  expressErrorHandler() {
    return (error, request, response, next) => {
      if (response.statusCode < 400) response.statusCode = 500;
      this.notifyError(error, { http: { url: request.originalUrl ?? request.url, method: request.method } });
      next(error);
    };
  }

  koaErrorHandler() {
    return async (context, next) => {
      try {
        await next();
      } catch (error) {
        this.notifyError(error, { http: { url: context.request?.url, method: context.request?.method } });
        throw error;
      }
    };
  }

  #measure(kind, config) {
    const declared = typeof config === 'string' ? { name: config } : config;
    if (typeof declared?.name !== 'string') throw badArgument(kind, 'name', declared?.name, 'the name of a metric');
    const { name, id, unit, historic = true, value } = declared;
    const measure = new KINDS[kind](declared);
    const hasReader = measure instanceof Gauge && typeof value === 'function';
    this.#metrics.set(name, { read: hasReader ? value : () => measure.val(), shape: { historic, unit, type: id } });
    this.#timer ??= setInterval(() => this.#report(), REPORT_EVERY).unref();
    return hasReader ? undefined : measure;
  }

  #report() {
    const known = {};
    for (const [name, { read, shape }] of this.#metrics) {
      const value = read();
      if (['string', 'boolean'].includes(typeof value) || Number.isFinite(value)) known[name] = { ...shape, value };
    }
    if (Object.keys(known).length > 0) tell('axm:monitor', known);
  }

  #answer(message) {
    const name = typeof message === 'string' ? message : message?.msg;
    const work = this.#actions.get(name);
    if (work === undefined) return;
    const reply = (value) => tell('axm:reply', { at: Date.now(), action_name: name, return: value });
    if (work.length === 2) work(message.opts ?? {}, reply);
    else work(reply);
  }
}

/** Sends one message to the daemon, if there is one. What cannot be written as JSON throws here, where it was said. */
function tell(type, data) {
  if (typeof process.send !== 'function' || process.connected === false) return;
  // The channel may close at any moment; nobody is left to hear of it then.
  process.send({ type, data }, () => {});
}

function asText(value) {
  try {
    return String(JSON.stringify(value)).slice(0, 1000);
  } catch {
    return String(value).slice(0, 1000);
  }
}

module.exports = new IO();
