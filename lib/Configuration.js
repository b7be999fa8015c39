'use strict';

module.exports = require('../src/js/configuration.js');
