'use strict';

// The first line of user code: how long after Node's own start is it reached? (`performance.now()` counts from there.)
const reached = performance.now();

require('node:fs').writeFileSync(`${process.env.BENCH_OUT}.tmp`, JSON.stringify({ reached, pid: process.pid }));
require('node:fs').renameSync(`${process.env.BENCH_OUT}.tmp`, process.env.BENCH_OUT);
setInterval(() => {}, 1 << 30);
