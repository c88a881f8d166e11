// uWebSockets.js: rooms are topics of its own publish/subscribe, which leaves the sender out.
'use strict';
const uws = require('uwebsockets');
const [host, port, token] = process.argv.slice(2);

uws
  .App()
  .ws('/:room', {
    compression: uws.DISABLED,
    // Beyond its default of 64 KiB a message is dropped for that socket.
    maxBackpressure: 16 * 1024 * 1024,
    upgrade: (response, request, context) => {
      if (request.getQuery('token') !== token) {
        response.writeStatus('401 Unauthorized').end();
        return;
      }
      response.upgrade(
        { room: request.getParameter(0) },
        request.getHeader('sec-websocket-key'),
        request.getHeader('sec-websocket-protocol'),
        request.getHeader('sec-websocket-extensions'),
        context,
      );
    },
    open: (socket) => socket.subscribe(socket.getUserData().room),
    message: (socket, message) => socket.publish(socket.getUserData().room, message, false),
  })
  .listen(host, Number(port), (listening) => {
    if (!listening) throw new Error(`cannot listen on ${host}:${port}`);
  });
