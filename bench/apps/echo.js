'use strict';

// Answers every message with its number.
process.on('message', (packet) => {
  process.send({ type: 'bench:answer', data: { n: packet.data.n } });
});
