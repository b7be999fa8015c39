'use strict';

module.exports = require('../src/js/api.js');
