// Resolves each name that it reads and connects at once: says how many addresses there were, and how many were refused.
// `resolve` asks by c-ares, `lookup` by the C library in libuv's threads.
'use strict';
const dns = require('node:dns').promises;
const net = require('node:net');
const readline = require('node:readline');

const ways = {
  resolve: async (name) => (await Promise.all([dns.resolve4(name), dns.resolve6(name)])).flat(),
  lookup: async (name) => (await dns.lookup(name, { all: true })).map(({ address }) => address),
};

// What the kernel says to connect() comes as an event, before anything that is set to come later.
function isRefused(host) {
  return new Promise((resolve) => {
    let refused = false;
    const socket = net.connect({ host, port: 443 });
    socket.on('error', (error) => { refused = error.code === 'EPERM'; });
    setImmediate(() => setImmediate(() => { socket.destroy(); resolve(refused); }));
  });
}

(async () => {
  for await (const name of readline.createInterface({ input: process.stdin })) {
    try {
      const found = await ways[process.argv[2]](name);
      const refused = (await Promise.all(found.map(isRefused))).filter(Boolean);
      console.log(`${found.length} ${refused.length}`);
    } catch (error) {
      console.log(String(error));
    }
  }
})();
