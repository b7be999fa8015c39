'use strict';

require('../../src/js/server.js');
