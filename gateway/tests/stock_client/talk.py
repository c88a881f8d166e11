#!/usr/bin/env python3
"""Two people talk in a room while their node is killed and restarted, with a stock WebSocket library.

Written from docs/protocol.md alone; needs only Python 3.9 and the `websockets` package (10 or newer).

Prints one JSON line per phase, each flushed: {"phase": "connected"}, {"phase": "talking"} (a quarter is acknowledged:
kill the node now, and start it again), {"phase": "resumed"} (both came back), and at last the verdict, which also goes to
--out. Exit code: 0 all promises kept, 1 a violation, 2 usage or could not run, 6 the kill did not bite (with --restarts).
"""

import argparse
import asyncio
import base64
import hashlib
import hmac
import json
import random
import sys
import time
import uuid

import websockets

ANSWER_TIMEOUT_S = 10.0
CONNECT_TIMEOUT_S = 5.0
BACKOFF_MAX_S = 1.0
IN_FLIGHT_MAX = 8
BEAT_S = 0.02


def say(**fields):
    print(json.dumps(fields), flush=True)


def mint(secret, user, ttl_s=3600):
    """A development token: HS256 with nothing but the standard library."""
    part = lambda data: base64.urlsafe_b64encode(data).rstrip(b"=")
    claims = {"sub": user, "exp": int(time.time()) + ttl_s, "scope": "read write rooms:create"}
    signed = part(b'{"alg":"HS256","typ":"JWT"}') + b"." + part(json.dumps(claims).encode())
    return (signed + b"." + part(hmac.new(secret, signed, hashlib.sha256).digest())).decode()


class Client:
    """One person: remembers positions and what is not settled yet, as the document says."""

    def __init__(self, name, url, token, room, deadline):
        self.name, self.url, self.token, self.room, self.deadline = name, url, token, room, deadline
        self.stream = "room:" + room
        self.positions = {}  # stream -> (epoch, seq)
        self.outbox = {}  # nonce -> [name of the command, parameters, request id of the attempt on this line or None]
        self.acknowledged = {}  # nonce -> (seq, id, text)
        self.received = []  # (seq, id, sender, text) in the order of arrival
        self.requests = {}  # request id -> nonce or future, on this line
        self.next_id = 0
        self.connections = self.repeats = self.resets = self.unknown = 0
        self.violations = []
        self.socket = None
        self.user = None
        self.fatal = None

    def violation(self, text):
        self.violations.append(f"{self.name}: {text}")

    async def run(self):
        """Connects again and again until the deadline; only the end of the program stops it."""
        wait_s = 0.05
        while time.monotonic() < self.deadline and self.fatal is None:
            try:
                options = {"subprotocols": ["hallway.v1.json"], "open_timeout": CONNECT_TIMEOUT_S, "close_timeout": 1}
                async with websockets.connect(self.url, max_size=4 << 20, **options) as socket:
                    if await self.live(socket):
                        wait_s = 0.05
            except (OSError, EOFError, asyncio.TimeoutError, websockets.exceptions.WebSocketException):
                pass
            finally:
                self.socket = None
                self.fail_waiting()
            await asyncio.sleep(wait_s * random.uniform(0.5, 1.0))
            wait_s = min(wait_s * 2, BACKOFF_MAX_S)

    def fail_waiting(self):
        waiting, self.requests = self.requests, {}
        for waiter in waiting.values():
            if isinstance(waiter, asyncio.Future) and not waiter.done():
                waiter.set_exception(ConnectionError("the line was lost"))
        for entry in self.outbox.values():
            entry[2] = None

    async def live(self, socket):
        positions = [{"stream": s, "epoch": e, "seq": n} for s, (e, n) in self.positions.items()]
        hello = {"token": self.token, "client_name": "talk.py", "protocol_minor": 0, "positions": positions}
        self.next_id += 1
        await socket.send(json.dumps({"id": self.next_id, "command": {"hello": hello}}))
        # Live events of this user's streams may already come before the answer.
        while True:
            frame = json.loads(await asyncio.wait_for(socket.recv(), ANSWER_TIMEOUT_S))
            if "ok" in frame and frame["ok"]["id"] == self.next_id:
                break
            if "error" in frame and frame["error"]["id"] == self.next_id:
                error = frame["error"]["error"]
                if not error["retryable"]:
                    self.fatal = f"hello was refused: {error['code']}: {error['message']}"
                return False
            self.take(frame)
        self.user = frame["ok"]["reply"]["hello"]["user"]
        self.connections += 1
        self.socket = socket
        await self.flush()
        async for text in socket:
            if self.take(json.loads(text)):
                await self.flush()
        return True

    async def flush(self):
        """Sends what is not settled and not on its way, in order, with the nonces it had."""
        for nonce, entry in list(self.outbox.items()):
            if self.socket is None:
                return
            if sum(1 for other in self.outbox.values() if other[2] is not None) >= IN_FLIGHT_MAX:
                return
            if entry[2] is None:
                self.next_id += 1
                entry[2] = self.next_id
                self.requests[self.next_id] = nonce
                request = {"id": self.next_id, "command": {entry[0]: dict(entry[1], nonce=nonce)}}
                try:
                    await self.socket.send(json.dumps(request))
                except websockets.exceptions.ConnectionClosed:
                    return

    async def write(self, command, **parameters):
        """Puts a change into the outbox; it is repeated with its nonce until it is settled."""
        nonce = str(uuid.uuid4())
        self.outbox[nonce] = [command, parameters, None]
        await self.flush()
        return nonce

    async def settled(self, nonce):
        while nonce in self.outbox and time.monotonic() < self.deadline and self.fatal is None:
            await asyncio.sleep(BEAT_S)

    async def ask(self, command, **parameters):
        """A reading command, asked again on the next line when this one is lost."""
        while time.monotonic() < self.deadline and self.fatal is None:
            if self.socket is not None:
                self.next_id += 1
                number, answer = self.next_id, asyncio.get_running_loop().create_future()
                self.requests[number] = answer
                try:
                    await self.socket.send(json.dumps({"id": number, "command": {command: parameters}}))
                    return await asyncio.wait_for(answer, ANSWER_TIMEOUT_S)
                except (ConnectionError, asyncio.TimeoutError, websockets.exceptions.ConnectionClosed):
                    self.requests.pop(number, None)
            await asyncio.sleep(BEAT_S)
        raise TimeoutError(f"{self.name}: {command} was not answered in time")

    def take(self, frame):
        """Takes one frame; true when the outbox may go on."""
        kind, body = next(iter(frame.items()))
        if kind == "event":
            self.take_event(body)
        elif kind == "reset":
            self.take_reset(body)
        elif kind == "sync_end":
            for position in body["positions"]:
                self.take_sync_end(position)
        elif kind == "ok":
            waiter = self.requests.pop(body["id"], None)
            reply = next(iter(body["reply"].values()))
            if isinstance(waiter, asyncio.Future):
                if not waiter.done():
                    waiter.set_result(reply)
            elif waiter is not None:
                command, parameters, _ = self.outbox.pop(waiter)
                if command == "message.send":
                    self.acknowledged[waiter] = (reply["seq"], reply["id"], parameters["text"])
                return True
        elif kind == "error":
            return self.take_error(body)
        return False

    def take_error(self, body):
        waiter, error = self.requests.pop(body["id"], None), body["error"]
        if isinstance(waiter, asyncio.Future):
            if not waiter.done():
                waiter.set_exception(ConnectionError(error["code"]))
            return False
        if waiter is None:
            if body["id"] is not None or not error["retryable"]:
                self.violation(f"an error for nothing that was asked: {error}")
            return False
        entry = self.outbox[waiter]
        if error["outcome"] == "definite" and not error["retryable"]:
            del self.outbox[waiter]
            if not (entry[0] == "room.create" and error["code"] == "room_exists"):
                self.violation(f"{entry[0]} was refused: {error}")
            return True
        self.unknown += error["outcome"] == "unknown"

        def again():
            entry[2] = None
            asyncio.ensure_future(self.flush())

        asyncio.get_running_loop().call_later((error.get("retry_after_ms") or 100) / 1000, again)
        return False

    def take_event(self, event):
        stream, seq = event["stream"], event["seq"]
        epoch, held = self.positions.get(stream, (None, None))
        if held is None:
            self.violation(f"event {seq} of {stream} came before any reset or sync_end")
        elif seq <= held:
            self.repeats += 1
            return
        elif seq != held + 1:
            self.violation(f"{stream}: event {seq} came after {held}")
        self.positions[stream] = (epoch, seq)
        message = event["body"].get("message.created", {}).get("message")
        if stream == self.stream and message is not None:
            if message["seq"] != seq:
                self.violation(f"message {message['id']} says {message['seq']} in event {seq}")
            self.received.append((seq, message["id"], message["sender"], message["text"]))

    def take_reset(self, reset):
        stream = reset["stream"]
        if stream in self.positions:
            # Nobody restored a store or trimmed a log here: a reset of what is held means that something is lost.
            self.resets += 1
            self.violation(f"{stream} at {self.positions[stream]} was reset: {reset}")
        self.positions[stream] = (reset["epoch"], reset["seq"])

    def take_sync_end(self, position):
        stream, found = position["stream"], (position["epoch"], position["seq"])
        held = self.positions.get(stream)
        if held is not None and stream == self.stream and held[1] < found[1] and held[0] == found[0]:
            self.violation(f"{stream}: sync_end at {found[1]}, but events came only up to {held[1]}")
        if held is None or held[0] != found[0] or held[1] < found[1]:
            self.positions[stream] = found

    async def history(self):
        """All messages of the room, read page by page."""
        messages, cursor = [], None
        while True:
            page = await self.ask("message.history", room=self.room, direction="newer", cursor=cursor, limit=100)
            messages += [(m["seq"], m["id"], m["sender"], m["text"]) for m in page["messages"]]
            cursor = page["newer"]
            if cursor is None or not page["messages"]:
                return messages


async def until(condition, deadline, clients):
    while not condition():
        if time.monotonic() > deadline or any(client.fatal for client in clients):
            return False
        await asyncio.sleep(BEAT_S)
    return True


async def publish(client, stop, least, most):
    """Sends at least `least` messages, and goes on (up to `most`) until told to stop."""
    sent = 0
    while sent < least or (not stop() and sent < most):
        if time.monotonic() > client.deadline or client.fatal:
            return
        if len(client.outbox) < IN_FLIGHT_MAX:
            sent += 1
            await client.write("message.send", room=client.room, text=f"{client.name} {sent}")
        await asyncio.sleep(BEAT_S / 4)


def judge(clients, histories):
    """Everything acknowledged is there exactly once, in one order, for both."""
    for client, history in zip(clients, histories):
        for what, messages in (("received", client.received), ("history", history)):
            for before, after in zip(messages, messages[1:]):
                if after[0] <= before[0]:
                    client.violation(f"{what}: {after[0]} comes after {before[0]}")
            for place in (1, 3):
                held = [message[place] for message in messages]
                twice = sorted({value for value in held if held.count(value) > 1}) if len(set(held)) < len(held) else []
                if twice:
                    client.violation(f"{what}: more than once: {twice[:5]}")
            by_seq = {message[0]: message for message in messages}
            for writer in clients:
                for seq, identity, text in writer.acknowledged.values():
                    if by_seq.get(seq) != (seq, identity, writer.user, text):
                        client.violation(f"{what}: acknowledged {text!r} at {seq} is {by_seq.get(seq)}")
        first = client.received[0][0] if client.received else 0
        if [message for message in history if message[0] >= first] != client.received:
            client.violation("what was received is not what the history holds")
    if histories[0] != histories[1]:
        clients[0].violation("the two read different histories")


async def talk(options, tokens):
    deadline = time.monotonic() + options.deadline
    clients = [Client(name, options.url, token, options.room, deadline) for name, token in zip("ab", tokens)]
    runners = [asyncio.ensure_future(client.run()) for client in clients]
    first, second = clients
    finished = lambda condition: until(condition, deadline, clients)
    try:
        ok = await finished(lambda: all(client.connections for client in clients))
        if ok:
            say(phase="connected")
            for client in clients:
                if client is first:
                    await client.settled(await client.write("room.create", room=options.room, visibility="public"))
                await client.settled(await client.write("room.join", room=options.room))
            ok = await finished(lambda: all(client.stream in client.positions for client in clients))
        before = [client.connections for client in clients]
        resumed = lambda: all(c.connections - b >= options.restarts for c, b in zip(clients, before))
        publishers = [asyncio.ensure_future(publish(c, resumed, options.messages, options.most)) for c in clients]
        if ok:
            quarter = max(1, options.messages // 4)
            ok = await finished(lambda: all(len(client.acknowledged) >= quarter for client in clients))
            say(phase="talking")
        ok = ok and await finished(resumed)
        if ok:
            say(phase="resumed")
        await asyncio.gather(*publishers)
        settled = lambda: all(not client.outbox for client in clients)
        total = lambda: sum(len(client.acknowledged) for client in clients)
        if ok and await finished(settled):
            # What was acknowledged must come to both; the deadline turns "never" into a violation below.
            await until(lambda: all(len(c.received) >= total() for c in clients), min(deadline, time.monotonic() + 15), clients)
            judge(clients, [await client.history() for client in clients])
        elif ok:
            first.violation("not everything was answered before the deadline")
    finally:
        for runner in runners:
            runner.cancel()
        await asyncio.gather(*runners, return_exceptions=True)
    fatal = next((client.fatal for client in clients if client.fatal), None)
    violations = [text for client in clients for text in client.violations]
    verdict = {
        "phase": "verdict",
        "ok": ok and not fatal and not violations,
        "bit": all(client.connections > options.restarts for client in clients),
        "fatal": fatal,
        "acknowledged": [len(client.acknowledged) for client in clients],
        "received": [len(client.received) for client in clients],
        "connections": [client.connections for client in clients],
        "repeats": [client.repeats for client in clients],
        "unknown": [client.unknown for client in clients],
        "violations": violations[:50],
    }
    return verdict, 2 if fatal else 1 if violations else 0 if ok else 6


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="ws://127.0.0.1:8080/v1/ws")
    parser.add_argument("--token-a", help="token of the first person; without it --secret-file mints one for anna")
    parser.add_argument("--token-b", help="token of the second person; without it --secret-file mints one for ben")
    parser.add_argument("--secret-file", help="secret for HS256")
    parser.add_argument("--room", default="stock")
    parser.add_argument("--messages", type=int, default=200, help="at least so many by each")
    parser.add_argument("--most", type=int, default=5000, help="at most so many by each while waiting for the kill")
    parser.add_argument("--restarts", type=int, default=1, help="how often both lines must have been lost; 0: never")
    parser.add_argument("--deadline", type=float, default=90.0, help="seconds for everything")
    parser.add_argument("--out", help="file for the verdict")
    options = parser.parse_args()
    tokens = [options.token_a, options.token_b]
    if None in tokens:
        if not options.secret_file:
            parser.error("give --token-a and --token-b, or --secret-file")
        with open(options.secret_file, "rb") as file:
            secret = file.read().strip()
        tokens = [token or mint(secret, user) for token, user in zip(tokens, ("anna", "ben"))]
    verdict, code = asyncio.run(talk(options, tokens))
    say(**verdict)
    if options.out:
        with open(options.out, "w", encoding="utf-8") as file:
            json.dump(verdict, file, indent=2)
            file.write("\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
