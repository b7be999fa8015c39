'use strict';

module.exports = require('../../../src/js/modularizer.js');
