'use strict';

/*
 * The methods of the API that few programs call. Each is a line here; its work is in a file of its own, which is loaded at the first call.
 */

const { settle } = require('./settle.js');

/** Its methods become those of the API (see the end of `api.js`). Arguments and values are in `index.d.ts`. */
class Further {
  /** `([folder], [port], [options], [commander], [callback])`: hands out the files of a folder by HTTP, as an app. */
  serve(folder, port, options, commander, callback) {
    const given = [folder, port, options, commander, callback];
    const last = given.findLast((each) => typeof each === 'function');
    const values = given.map((each) => (typeof each === 'function' ? undefined : each));
    return settle(last, () => require('./serve.js').serve(this, ...values));
  }
}

module.exports = { Further };
