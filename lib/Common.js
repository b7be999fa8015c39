'use strict';

module.exports = require('../src/js/common.js');
