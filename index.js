'use strict';

// Scripts and modules look at this variable to see that pm2 is used from a program. It is all that loading the package does.
process.env.PM2_PROGRAMMATIC = 'true';

const API = require('./src/js/api.js');

module.exports = new API();
module.exports.custom = API;
