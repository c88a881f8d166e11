// Socket.IO, on Node's own HTTP server and ws, or (engine `uws`) on uWebSockets.js.
'use strict';
const { Server } = require('socket.io');
const [host, port, token, engine] = process.argv.slice(2);

const io = new Server({ transports: ['websocket'], serveClient: false, perMessageDeflate: false });
io.use((socket, next) => next(socket.handshake.auth.token === token ? undefined : new Error('unauthorized')));
io.on('connection', (socket) => {
  const { room } = socket.handshake.query;
  socket.join(room);
  // On uWebSockets.js only a broadcast that leaves nobody out takes the native path, so the sender hears itself there.
  if (engine === 'uws') socket.on('m', (body) => io.to(room).emit('m', body));
  else socket.on('m', (body) => socket.to(room).emit('m', body));
  // The join is done: whoever was told so gets what is sent from now on.
  socket.emit('joined');
});

if (engine === 'uws') {
  const app = require('uwebsockets').App();
  io.attachApp(app, { maxBackpressure: 16 * 1024 * 1024 });
  app.listen(host, Number(port), (listening) => {
    if (!listening) throw new Error(`cannot listen on ${host}:${port}`);
  });
} else {
  const server = require('http').createServer();
  io.attach(server);
  server.listen({ host, port: Number(port), backlog: 4096 });
}
