'use strict';

require('../src/js/web.js');
