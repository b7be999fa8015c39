'use strict';

module.exports = require('./src/js/paths.js');
