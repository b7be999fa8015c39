'use strict';

module.exports = require('./src/js/constants.js')(process.env.PM2_HOME);
