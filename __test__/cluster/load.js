'use strict';

/*
 * Constant load by clients that forgive nothing. Each is a socket and a few lines, so that no library repeats a request or hides how
 * one ended: refused, reset, closed without an answer, cut in the middle, not answered at all. All of that counts as lost.
 */

const net = require('node:net');
const tls = require('node:tls');

/** Longest wait for one answer, in ms. A connection that is lost without a word shows as this. */
const ANSWER_MAX = 15_000;

/** Losses after which a client gives up: what follows would only repeat them. */
const LOST_MAX = 20;

/** Longest time a slow answer takes, in ms. Every other one is slow, each by another time. */
const SLOWEST = 500;

/** How long a client with a kept connection thinks now and then before it asks again, in ms. */
const THINK = 200;

/** One connection, on which one request after another is made. */
class Connection {
  #socket;
  #received = '';
  /** Of the request under way. */
  #settle = null;
  isOpen = true;

  constructor(target) {
    this.#socket = target.cert === undefined ? net.connect(target) : tls.connect(target);
    this.#socket.setEncoding('latin1').setNoDelay(true);
    this.#socket.on('data', (text) => this.#take(text));
    this.#socket.on('error', (error) => this.#end(error.code));
    this.#socket.on('end', () => this.#end('CLOSED'));
    this.#socket.on('close', () => this.#end('CLOSED'));
  }

  /** The body of the answer. The rejection is a word for how it was lost. */
  ask(path, keepAlive) {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.#end('NO_ANSWER'), ANSWER_MAX);
      this.#settle = (problem, body) => {
        clearTimeout(timer);
        this.#settle = null;
        if (problem === null) resolve(body);
        else reject(problem);
      };
      this.#socket.write(`GET ${path} HTTP/1.1\r\nHost: load\r\n${keepAlive ? '' : 'Connection: close\r\n'}\r\n`);
    });
  }

  close() {
    this.#socket.destroy();
  }

  #take(text) {
    this.#received += text;
    const [head, body] = this.#received.split('\r\n\r\n', 2);
    if (body === undefined || this.#settle === null) return;
    const length = /^content-length: *(\d+)/im.exec(head);
    if (!/^HTTP\/1\.1 200 /.test(head) || length === null) return this.#end(`NOT_AN_ANSWER ${head.split('\r\n', 1)}`);
    if (body.length < Number(length[1])) return;
    this.#received = '';
    if (/^connection: *close/im.test(head)) this.#close();
    this.#settle(null, body);
  }

  #end(problem) {
    this.#close();
    this.#settle?.(this.#received === '' ? problem : `HALF_AN_ANSWER ${problem}`);
  }

  #close() {
    this.isOpen = false;
    this.#socket.end();
  }
}

/** Clients that ask one request after another until they are stopped. */
class Load {
  #isOn = true;
  #clients;
  answers = 0;
  /** How each lost request was lost. */
  lost = [];
  /** How long answers took that were asked for at once, in ms. */
  slowest = 0;

  /** `where` is a port, or what `net.connect` or, with a `cert`, `tls.connect` takes. */
  constructor(where, { clients = 64, keepAlive = false } = {}) {
    const target = typeof where === 'number' ? { host: '127.0.0.1', port: where } : where;
    this.#clients = Promise.all(Array.from({ length: clients }, (_, i) => this.#client(target, i, keepAlive)));
  }

  async #client(target, number, keepAlive) {
    let connection = null;
    let lost = 0;
    for (let i = number; this.#isOn && lost < LOST_MAX; i += 1) {
      if (connection === null || !connection.isOpen) connection = new Connection(target);
      const delay = i % 2 === 0 ? (i * 37) % (SLOWEST + 1) : 0;
      try {
        await connection.ask(`/?delay=${delay}`, keepAlive);
        this.answers += 1;
        if (keepAlive && i % 7 === 0) await new Promise((resolve) => setTimeout(resolve, THINK));
      } catch (problem) {
        this.lost.push(problem);
        lost += 1;
      }
      if (!keepAlive) {
        connection.close();
        connection = null;
      }
    }
    connection?.close();
  }

  /** Waits for so many more answers. */
  async more(answers) {
    const wanted = this.answers + answers;
    while (this.answers < wanted && this.lost.length === 0) await new Promise((resolve) => setTimeout(resolve, 10));
  }

  async stop() {
    this.#isOn = false;
    await this.#clients;
  }
}

module.exports = { Load };
