'use strict';

const fs = require('node:fs');
const path = require('node:path');
const { badArgument } = require('./settle.js');

/** Names that would reach into every object, so no part of a key. */
const FORBIDDEN = new Set(['__proto__', 'constructor', 'prototype']);

const KEY = 'a key such as "app.option" or "module:option"';

/**
 * The configuration store, `module_conf.json` in the home: sections, named like the app or module they are for, of options. A section is
 * part of the environment that its app is started with.
 *
 * A change is read, made and written in one go, and the file is replaced as a whole: whoever reads it sees the old or the new one.
 */
class Store {
  #file;

  /** @param {string} file */
  constructor(file) {
    this.#file = file;
  }

  /** The value of a key, everything for `all` or no key. Fails when there is none. */
  get(key) {
    const whole = this.#read();
    if (key === undefined || key === null || key === 'all') return whole;
    let value = whole;
    for (const part of split('get', key)) value = isObject(value) && Object.hasOwn(value, part) ? value[part] : undefined;
    if (value === undefined) throw Object.assign(new Error(`${key} is not set in ${this.#file}`), { code: 'ERR_PM2_NOT_SET' });
    return value;
  }

  /** Sets every `[key, value]` of `pairs`, or none of them. Gives the section of the first if the key has one. */
  set(method, pairs) {
    const changes = pairs.map(([key, value]) => [split(method, key), toStored(method, value)]);
    const whole = this.#read();
    for (const [parts, value] of changes) put(whole, parts, value);
    this.#write(whole);
    const [[[section, ...rest]]] = changes;
    return rest.length > 0 ? section : null;
  }

  /** Forgets a key, or everything for `all`. Also what was not there. */
  unset(key) {
    if (key === 'all') return this.#write({});
    const parts = split('unset', key);
    const whole = this.#read();
    const last = parts.pop();
    let holder = whole;
    for (const part of parts) holder = isObject(holder) && Object.hasOwn(holder, part) ? holder[part] : undefined;
    if (!isObject(holder) || !Object.hasOwn(holder, last)) return undefined;
    delete holder[last];
    return this.#write(whole);
  }

  /** What is in a section, an empty object if there is none. */
  section(name) {
    const whole = this.#read();
    return Object.hasOwn(whole, name) && isObject(whole[name]) ? whole[name] : {};
  }

  /** Puts `values` into a section; what is there already stays unless `isNewer`. Names are taken as they are, dots and all. */
  merge(name, values, { isNewer }) {
    const whole = this.#read();
    const before = Object.hasOwn(whole, name) && isObject(whole[name]) ? whole[name] : {};
    const own = Object.fromEntries(Object.entries(values).filter(([key]) => !FORBIDDEN.has(key)));
    this.#write({ ...whole, [name]: isNewer ? { ...before, ...own } : { ...own, ...before } });
  }

  /** Forgets one member of a section, whose name is taken as it is. */
  forget(name, member) {
    const { [member]: _forgotten, ...others } = this.section(name);
    this.#write({ ...this.#read(), [name]: others });
  }

  /** A file that is not there is empty; one that is unreadable is not written over. */
  #read() {
    let text;
    try {
      text = fs.readFileSync(this.#file, 'utf8');
    } catch (error) {
      if (error.code === 'ENOENT') return {};
      throw error;
    }
    const malformed = (cause) =>
      Object.assign(new Error(`File ${this.#file} malformated: ${cause}`), { code: 'ERR_PM2_CONFIG', file: this.#file });
    let value;
    try {
      value = text.trim() === '' ? {} : JSON.parse(text);
    } catch (error) {
      throw malformed(error.message);
    }
    if (!isObject(value)) throw malformed('it is no object');
    return value;
  }

  #write(value) {
    const folder = path.dirname(this.#file);
    fs.mkdirSync(folder, { recursive: true, mode: 0o700 });
    const unique = require('node:crypto').randomBytes(6).toString('hex');
    const written = path.join(folder, `.${path.basename(this.#file)}.${unique}`);
    try {
      fs.writeFileSync(written, JSON.stringify(value, null, 4), { mode: 0o600, flag: 'wx', flush: true });
      fs.renameSync(written, this.#file);
    } catch (error) {
      fs.rmSync(written, { force: true });
      throw error;
    }
  }
}

/** The parts of a key. Dots separate if it has any, else colons; what is inside double quotes is one part. */
function split(method, key) {
  if (typeof key !== 'string' || key === '') throw badArgument(method, 'key', key, KEY);
  const isBare = (separator) => key.replace(/"[^"]*"/g, '').includes(separator);
  const separator = isBare('.') ? '.' : ':';
  const parts = pieces(key, separator).map((part) => part.replaceAll('"', ''));
  if (parts.length === 0) throw badArgument(method, 'key', key, KEY);
  for (const part of parts) if (FORBIDDEN.has(part)) throw badArgument(method, 'key', key, `${KEY}, without "${part}"`);
  return parts;
}

/** Text between separators, quotes kept; nothing for what is empty. */
function pieces(text, separator) {
  const found = [''];
  let isQuoted = false;
  for (const character of text) {
    if (character === '"') isQuoted = !isQuoted;
    if (character === separator && !isQuoted) found.push('');
    else found[found.length - 1] += character;
  }
  return found.filter((piece) => piece !== '');
}

/** `key value key value …` as pairs. Compat: quotes around a value are stored with it, as pm2 does. */
function toPairs(text) {
  const words = typeof text === 'string' ? pieces(text, ' ') : [];
  if (words.length === 0 || words.length % 2 === 1) {
    throw badArgument('multiset', 'text', text, 'pairs of a key and a value, "key value key value"');
  }
  return words.flatMap((word, index) => (index % 2 === 0 ? [[word, words[index + 1]]] : []));
}

/** The value as it will be read back, so that a later change of the caller's object is not one of the store. */
function toStored(method, value) {
  let text;
  try {
    text = JSON.stringify(value);
  } catch {
    // A circle, or a BigInt.
  }
  if (text === undefined) throw badArgument(method, 'value', value, 'a value that can be written as JSON');
  return JSON.parse(text);
}

function put(whole, parts, value) {
  const last = parts[parts.length - 1];
  let holder = whole;
  for (const part of parts.slice(0, -1)) {
    if (!Object.hasOwn(holder, part) || !isObject(holder[part])) holder[part] = {};
    holder = holder[part];
  }
  holder[last] = value;
}

function isObject(value) {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

module.exports = { Store, toPairs };
