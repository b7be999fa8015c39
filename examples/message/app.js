'use strict';

// A managed app that answers: whatever arrives with a question in it is replied to over the bus.

process.on('message', (packet) => {
  if (!packet || !packet.data || typeof packet.data.question !== 'string') return;
  process.send({
    type: 'example:answer',
    data: { question: packet.data.question, answer: packet.data.question.toUpperCase(), pid: process.pid },
  });
});

// Something to live for; without it the app would end when nobody talks to it.
setInterval(() => {}, 60_000);
