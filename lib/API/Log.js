'use strict';

module.exports = require('../../src/js/log.js');
