'use strict';

module.exports = require('../src/js/completion.js');
