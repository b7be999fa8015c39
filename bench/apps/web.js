'use strict';

/** Answers at once; `?block=` keeps it busy for so many ms before. */

const http = require('node:http');

http
  .createServer((request, response) => {
    const block = /[?]block=(\d+)/.exec(request.url);
    const end = Date.now() + Number(block ? block[1] : 0);
    while (Date.now() < end);
    response.end('hello world');
  })
  .listen(process.env.PORT);
