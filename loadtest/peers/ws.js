// ws: rooms are sets of sockets; a message is one Buffer that goes to everybody else in the room.
'use strict';
const { WebSocketServer, WebSocket } = require('ws');
const [host, port, token] = process.argv.slice(2);

const rooms = new Map();
const server = new WebSocketServer({
  host,
  port: Number(port),
  backlog: 4096,
  perMessageDeflate: false,
  clientTracking: false,
  verifyClient: ({ req }) => new URL(req.url, 'ws://peer').searchParams.get('token') === token,
});

server.on('connection', (socket, request) => {
  const name = new URL(request.url, 'ws://peer').pathname;
  let room = rooms.get(name);
  if (!room) rooms.set(name, (room = new Set()));
  room.add(socket);
  socket.on('message', (data) => {
    for (const member of room) {
      if (member !== socket && member.readyState === WebSocket.OPEN) member.send(data, { binary: false });
    }
  });
  socket.on('error', () => {});
  socket.on('close', () => {
    room.delete(socket);
    if (room.size === 0) rooms.delete(name);
  });
});
