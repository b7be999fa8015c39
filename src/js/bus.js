'use strict';

const EventEmitter = require('node:events');

/**
 * What stands for pm2's socket: there to be closed, and to say `reconnect attempt` while no daemon is there, `connect` when there is one again,
 * and `close` at its end. Viewers of logs wait for that.
 */
class BusSocket extends EventEmitter {
  #close;

  constructor(close) {
    super();
    this.#close = close;
  }

  close() {
    this.#close();
  }
}

/**
 * The events of one daemon.
 *
 * `on(pattern, listener)`: in a pattern `*` stands for one or more characters, and what it stood for comes before the payload in the
 * listener's arguments. An event that nobody listens to is not even parsed.
 */
class Bus {
  #listeners = [];
  #leave;
  #isEnded = false;
  #held = [];
  #sock = null;

  /** @param {() => void} leave ends the subscription */
  constructor(leave) {
    this.#leave = leave;
  }

  get sock() {
    this.#sock ??= new BusSocket(() => this.close());
    return this.#sock;
  }

  /** Says on the socket what has become of the connection. */
  tell(event) {
    const sock = this.#sock;
    if (sock !== null) process.nextTick(() => sock.emit(event));
  }

  on(pattern, listener) {
    return this.#add(pattern, listener, false);
  }

  once(pattern, listener) {
    return this.#add(pattern, listener, true);
  }

  /** Removes one listener of a pattern, or all of them. */
  off(pattern, listener) {
    this.#listeners = this.#listeners.filter(
      (each) => each.pattern !== String(pattern) || (listener !== undefined && each.listener !== listener),
    );
    return this;
  }

  /** Ends the subscription; the connection for requests stays. */
  close() {
    this.end();
    this.#leave();
  }

  /** Lets no further event through. */
  end() {
    if (!this.#isEnded) this.tell('close');
    this.#isEnded = true;
    this.#held = null;
    this.#listeners = [];
  }

  /** Passes on what came before the caller could add a listener. */
  release() {
    const held = this.#held ?? [];
    this.#held = null;
    for (const [name, text] of held) this.publish(name, text);
  }

  /** Gives one event, its payload as JSON text, to whom it concerns. */
  publish(name, text) {
    if (this.#held !== null) {
      this.#held.push([name, text]);
      return;
    }
    const matches = [];
    for (const each of this.#listeners) {
      const captured = each.regex === null ? (each.pattern === name ? [] : null) : each.regex.exec(name)?.slice(1);
      if (captured) matches.push([each, captured]);
    }
    if (matches.length === 0) return;
    const payload = JSON.parse(text);
    for (const [each, captured] of matches) {
      if (each.isOnce) this.#listeners = this.#listeners.filter((other) => other !== each);
      call(each.listener, [...captured, payload]);
    }
  }

  #add(pattern, listener, isOnce) {
    if (typeof listener !== 'function') {
      throw Object.assign(new TypeError('The "listener" argument of bus.on must be a function'), { code: 'ERR_INVALID_ARG_TYPE' });
    }
    const text = String(pattern);
    const regex = text.includes('*') ? toRegex(text) : null;
    if (!this.#isEnded) this.#listeners.push({ pattern: text, regex, listener, isOnce });
    return this;
  }
}

/** A listener that throws is an uncaught exception, and takes no other listener's event away. */
function call(listener, args) {
  try {
    listener(...args);
  } catch (error) {
    process.nextTick(() => {
      throw error;
    });
  }
}

function toRegex(pattern) {
  const literal = pattern.replace(/[.+?^${}()|[\]\\/]/g, '\\$&');
  return new RegExp(`^${literal.replace(/\*/g, '(.+)')}$`, 's');
}

// The names of other emitters' methods for the same.
Bus.prototype.addListener = Bus.prototype.on;
Bus.prototype.removeListener = Bus.prototype.off;

module.exports = { Bus };
