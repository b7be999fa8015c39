'use strict';

module.exports = require('../../src/js/io.js');
