// One of several Socket.IO nodes that share a Redis through the official adapter, set up as its documentation says.
'use strict';
const { Server } = require('socket.io');
const { createAdapter } = require('@socket.io/redis-adapter');
const { createClient } = require('redis');
const [host, port, token, redisUrl] = process.argv.slice(2);

// The adapter leaves the rejections of its publishes to nobody, and Node ends a process for those: in our favour, were it left so.
process.on('unhandledRejection', () => {});

const publisher = createClient({ url: redisUrl });
const subscriber = publisher.duplicate();
// Without a listener an error of the connection would end the process.
publisher.on('error', () => {});
subscriber.on('error', () => {});

Promise.all([publisher.connect(), subscriber.connect()]).then(() => {
  const io = new Server({
    transports: ['websocket'], serveClient: false, perMessageDeflate: false,
    adapter: createAdapter(publisher, subscriber),
  });
  io.use((socket, next) => next(socket.handshake.auth.token === token ? undefined : new Error('unauthorized')));
  io.on('connection', (socket) => {
    const { room } = socket.handshake.query;
    socket.join(room);
    socket.on('m', (body, acknowledge) => {
      socket.to(room).emit('m', body);
      acknowledge();
    });
    socket.emit('joined');
  });
  const server = require('http').createServer();
  io.attach(server);
  server.listen({ host, port: Number(port), backlog: 4096 });
});
