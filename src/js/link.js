'use strict';

/** Loaded with the package, so that the first call is quick; if it cannot be, that is for the first call to say, not for `require`. */
const native = loadNative();

/** Kinds of message that the native half sends. */
const OK = 0;
const FAILED = 1;
const EVENT = 2;
const BUS_CLOSED = 3;
const PIECE = 4;

/** Pause before the bus is looked for again after the daemon has gone, in ms; grows by half each time. These are pm2's own. */
const RETRY_FIRST = 100;
const RETRY_MAX = 5000;

/**
 * One API object's line to its daemon: requests, the bus, and what keeps the process alive.
 *
 * The event loop is held from `connect` (or the first request, which connects) until `disconnect`, and while anything is outstanding.
 */
class Link {
  #home;
  #onLaunch;
  #session = null;

  /**
   * @param {string} home
   * @param {() => Promise<object>} onLaunch called when a daemon has been launched, before anybody hears of it; what it gives is added to that news
   */
  constructor(home, onLaunch) {
    this.#home = home;
    this.#onLaunch = onLaunch;
  }

  /** Connects, launching the daemon if none answers. Connecting twice is connecting once. */
  connect(isDaemon) {
    return this.#open().connect(isDaemon);
  }

  /** What `connect` would give, at once, if a daemon serves already and nobody has connected before; else null. */
  attach() {
    return this.#open().attach();
  }

  /** The connection of this moment, for a request that is made later: fails then if it has been closed meanwhile. */
  session() {
    return this.#open();
  }

  /** One request to the native half; connects first. The value is the answer's JSON text. */
  request(isDaemon, op, name, payload) {
    return this.#open().request(isDaemon, op, name, payload);
  }

  /** One call to the daemon; connects first. The value is the array of values that it answers with. */
  call(isDaemon, method, payload) {
    return this.#open().call(isDaemon, method, payload);
  }

  /** One request to the native half that needs no daemon. The value is the answer's JSON text. */
  ask(op, payload) {
    return this.#open().ask(op, '', payload);
  }

  /** Has the daemon of this package, with the environment of this moment, take over, or take the place of one of pm2's. */
  update(isDaemon) {
    return this.#open().update(isDaemon);
  }

  /** Whether a daemon answers. Never launches one. */
  async ping() {
    return (await this.#open().ask('ping', '', '{}')) === 'true';
  }

  /** Adds a bus; the promise is fulfilled when nothing that is published from then on will be missed. */
  subscribe(isDaemon, bus) {
    return this.#open().subscribe(isDaemon, bus);
  }

  /** Removes a bus. */
  unsubscribe(bus) {
    this.#session?.unsubscribe(bus);
  }

  /** Removes all of them. */
  async unsubscribeAll() {
    this.#session?.unsubscribeAll();
  }

  /** Closes everything. What is outstanding fails; the next request connects anew. */
  async disconnect() {
    const session = this.#session;
    if (session === null) return;
    // A daemon that lives and dies with this process stays until it is killed.
    if (!session.isTied) this.#session = null;
    await session.disconnect();
  }

  /** Ends the daemon and everything it runs. */
  async kill(isDaemon) {
    const session = this.#open();
    await session.kill(isDaemon);
    if (this.#session === session) this.#session = null;
  }

  #open() {
    this.#session ??= new Session(this.#home, this.#onLaunch);
    return this.#session;
  }
}

/** One native connection, from its making to its close. */
class Session {
  #native;
  #pending = new Map();
  #lastId = 0;
  #buses = new Set();
  #connecting = null;
  #isConnected = false;
  #isClosed = false;
  #isHeld = false;
  #retryTimer = null;
  #retryAfter = RETRY_FIRST;
  #onLaunch;

  /** The daemon was launched for this process alone. */
  isTied = false;

  constructor(home, onLaunch) {
    this.#onLaunch = onLaunch;
    if (native.problem !== undefined) throw native.problem;
    const { Connection, executable } = native;
    const env = {};
    for (const name of Object.keys(process.env)) if (name.startsWith('PM2_')) env[name] = process.env[name];
    const config = { home, executable, env };
    this.#native = new Connection(JSON.stringify(config), (...message) => this.#onMessage(...message));
  }

  /** Sends without connecting first. `onPiece` gets what is known of the answer before its end. */
  ask(op, name, payload, onPiece) {
    if (this.#isClosed) return Promise.reject(closedError());
    const id = this.#lastId++;
    return new Promise((resolve, reject) => {
      this.#pending.set(id, { resolve, reject, onPiece });
      this.#hold();
      this.#native.send(id, op, name, payload);
    });
  }

  /** Connects here and now if a daemon serves already; null otherwise, or where somebody connects already. */
  attach() {
    if (this.#connecting !== null) return null;
    const meta = this.#attach();
    if (meta !== null) this.#connecting = Promise.resolve(meta);
    return meta;
  }

  connect(isDaemon) {
    this.#connecting ??= this.#connect(isDaemon);
    return this.#connecting;
  }

  /** With a daemon there already, nothing has to be handed to another thread and waited for. */
  #attach() {
    const text = this.#isClosed ? null : this.#native.attach();
    return text === null ? null : this.#connected(text);
  }

  #connected(text) {
    this.#isConnected = !this.#isClosed;
    this.#hold();
    return JSON.parse(text);
  }

  async #connect(isDaemon) {
    try {
      const attached = isDaemon ? this.#attach() : null;
      return attached ?? (await this.#launch('connect', isDaemon));
    } catch (error) {
      this.#connecting = null;
      throw error;
    }
  }

  /** Not by way of `connect`, which would launch a daemon only for it to be replaced. */
  async update(isDaemon) {
    await this.#connecting;
    return this.#launch('update', isDaemon);
  }

  /** Connects to a daemon and says which: the one that runs or a new one (`connect`), or this package's (`update`). */
  async #launch(op, isDaemon) {
    const meta = this.#connected(await this.ask(op, '', launchPayload(isDaemon)));
    this.isTied ||= !isDaemon && meta.new_pm2_instance;
    return meta.new_pm2_instance ? { ...meta, ...(await this.#onLaunch()) } : meta;
  }

  request(isDaemon, op, name, payload, onPiece) {
    // What is called just before `disconnect` must be on its way by then.
    if (this.#isConnected) return this.ask(op, name, payload, onPiece);
    return this.connect(isDaemon).then(() => this.ask(op, name, payload, onPiece));
  }

  /** A long list is parsed while the rest of it is still on its way. */
  async call(isDaemon, method, payload) {
    const elements = [];
    let held = null;
    const onPiece = (text) => {
      if (held !== null) {
        held.push(text);
        return;
      }
      try {
        for (const element of JSON.parse(text)) elements.push(element);
      } catch {
        // Cut within an element (see `client/pieces.rs`). From here on all of it is wanted.
        held = [text];
      }
    };
    const rest = await this.request(isDaemon, 'call', method, payload, onPiece);
    const values = JSON.parse(held === null ? rest : `[[${held.map((text) => text.slice(1, -1)).join()},${rest.slice(2)}`);
    if (elements.length > 0) values[0] = elements.concat(values[0]);
    return values;
  }

  async subscribe(isDaemon, bus) {
    // Known before the answer: events may follow it at once.
    this.#buses.add(bus);
    try {
      await this.request(isDaemon, 'subscribe', '', '{}');
    } catch (error) {
      this.#buses.delete(bus);
      this.#hold();
      throw error;
    }
  }

  unsubscribe(bus) {
    if (!this.#buses.delete(bus) || this.#buses.size > 0 || this.#isClosed) return;
    this.#cancelRetry();
    this.ask('unsubscribe', '', '{}').catch(() => {});
    this.#hold();
  }

  unsubscribeAll() {
    if (this.#buses.size === 0 || this.#isClosed) return;
    this.#dropBuses();
    this.ask('unsubscribe', '', '{}').catch(() => {});
  }

  async disconnect() {
    const hasEnded = this.ask('disconnect', '', '{}').catch(() => {});
    const own = this.#lastId - 1;
    this.#dropBuses();
    this.#fail((id) => id !== own);
    await hasEnded;
    if (this.isTied) return;
    this.#close();
  }

  async kill(isDaemon) {
    // With nobody there is nobody to end.
    if (this.#isConnected || (await this.ask('ping', '', '{}')) === 'true') await this.request(isDaemon, 'kill', '', '{}');
    this.#dropBuses();
    this.#close();
  }

  #close() {
    this.#isClosed = true;
    this.#isConnected = false;
    this.isTied = false;
    this.#fail(() => true);
    this.#native.close();
    this.#hold();
  }

  /** Ends what is outstanding here and now; a late answer of the native half finds nobody. */
  #fail(isMeant) {
    for (const [id, { reject }] of this.#pending) {
      if (!isMeant(id)) continue;
      this.#pending.delete(id);
      reject(closedError());
    }
  }

  #dropBuses() {
    this.#cancelRetry();
    for (const bus of this.#buses) bus.end();
    this.#buses.clear();
    this.#hold();
  }

  #onMessage(id, status, text, extra) {
    if (status === EVENT) {
      for (const bus of this.#buses) bus.publish(extra, text);
      return;
    }
    if (status === BUS_CLOSED) {
      this.#retry();
      return;
    }
    const request = this.#pending.get(id);
    if (request === undefined) return;
    if (status === PIECE) {
      request.onPiece(text);
      return;
    }
    this.#pending.delete(id);
    if (status === OK) request.resolve(text);
    else request.reject(toError(text));
    this.#hold();
  }

  /** The daemon has gone. Listeners stay, and hear from the next one, which this session does not launch. */
  #retry() {
    if (this.#buses.size === 0 || this.#isClosed) return;
    this.#retryTimer ??= setTimeout(async () => {
      this.#retryTimer = null;
      this.#retryAfter = Math.min(Math.round(this.#retryAfter * 1.5), RETRY_MAX);
      this.#tellBuses('reconnect attempt');
      try {
        if ((await this.ask('ping', '', '{}')) === 'true') {
          await this.ask('subscribe', '', '{}');
          this.#retryAfter = RETRY_FIRST;
          this.#tellBuses('connect');
          return;
        }
      } catch {
        // Asked again below.
      }
      this.#retry();
    }, this.#retryAfter);
  }

  #tellBuses(event) {
    for (const bus of this.#buses) bus.tell(event);
  }

  #cancelRetry() {
    clearTimeout(this.#retryTimer);
    this.#retryTimer = null;
  }

  /** Holds the event loop or lets it go, whichever is due. */
  #hold() {
    const isDue = this.#isConnected || this.isTied || this.#pending.size > 0 || this.#buses.size > 0;
    if (isDue === this.#isHeld) return;
    this.#isHeld = isDue;
    if (isDue) this.#native.ref();
    else this.#native.unref();
  }
}

/** What a daemon that is launched, or takes over, gets from this process. */
function launchPayload(isDaemon) {
  return JSON.stringify({ daemon: isDaemon, env: { ...process.env }, cwd: process.cwd() });
}

function loadNative() {
  try {
    return require('../../native.js');
  } catch (problem) {
    return { problem };
  }
}

function closedError() {
  return Object.assign(new Error('the connection to pm2 was closed before the answer came'), { code: 'ERR_PM2_CLOSED' });
}

/** Makes the Error that a failed answer describes. */
function toError(text) {
  const { message, stack, code, errors, value } = JSON.parse(text);
  const made =
    errors === undefined
      ? new Error(message)
      : new AggregateError(
          errors.map((each) => new Error(each.message)),
          message,
        );
  if (errors !== undefined) Object.defineProperty(made, 'isList', { value: true });
  if (stack !== undefined) made.stack = stack;
  if (code !== undefined) made.code = code;
  if (value !== undefined) made.value = value;
  return made;
}

module.exports = { Link };
