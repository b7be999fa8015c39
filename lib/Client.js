'use strict';

module.exports = require('../src/js/client.js').Client;
