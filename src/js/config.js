'use strict';

/*
 * Runs one JavaScript configuration file and hands its value back as JSON. A thread of its own, so that a file that never returns, exits,
 * prints or takes all memory does none of that to the program that asked for it.
 */

const { MessageChannel, parentPort, receiveMessageOnPort, workerData } = require('node:worker_threads');
const { toApps } = require('./arguments.js');

/** Methods of `process` that only the first thread has. */
const FIRST_THREAD = ['chdir', 'umask'];

/** Runs the file, whichever module system it is written for. */
async function load(file) {
  const url = require('node:url').pathToFileURL(file).href;
  if (file.endsWith('.mjs')) return unwrap(await import(url));
  let value;
  try {
    value = require(file);
  } catch (error) {
    if (error.code !== 'ERR_REQUIRE_ESM' && error.code !== 'ERR_REQUIRE_ASYNC_MODULE') throw error;
    return unwrap(await import(url));
  }
  // Node 22 and later can require an ES module.
  return require('node:util').types.isModuleNamespaceObject(value) ? unwrap(value) : value;
}

function unwrap(namespace) {
  return namespace.default ?? { ...namespace };
}

/** Regular expressions are understood by their text (`ignore_watch`). */
function asText(_name, value) {
  return value instanceof RegExp ? String(value) : value;
}

/** The variables that the file has set, and with null those that it has deleted: dotenv and the like mean the apps by that. */
function changesSince(before) {
  const after = { ...process.env };
  const names = new Set([...Object.keys(before), ...Object.keys(after)]);
  return Object.fromEntries([...names].filter((name) => before[name] !== after[name]).map((name) => [name, after[name] ?? null]));
}

/** What no thread but the first may do. It is done there, at once, and stays done: a file may well begin with `process.chdir(__dirname)`. */
function passOn(name) {
  process[name] = (...args) => {
    const { port1: own, port2: port } = new MessageChannel();
    const signal = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT));
    parentPort.postMessage({ name, args, port, signal }, [port]);
    Atomics.wait(signal, 0, 0);
    const { error, value } = receiveMessageOnPort(own).message;
    if (error !== undefined) throw Object.assign(new Error(error.message), error);
    return value;
  };
}

for (const name of FIRST_THREAD) passOn(name);
const before = { ...process.env };
load(workerData.file).then((value) => {
  try {
    const apps = typeof value === 'object' && value !== null ? toApps(value) : value;
    parentPort.postMessage({ json: JSON.stringify(apps, asText), variables: changesSince(before) });
  } catch (error) {
    refuse(error);
  }
}, refuse);

function refuse(error) {
  const { name, message, stack, code } = error ?? {};
  const shown = message === undefined ? { message: String(error) } : { name, message, stack, code };
  parentPort.postMessage({ error: shown });
}
