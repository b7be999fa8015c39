'use strict';

module.exports = require('../src/js/utility.js');
