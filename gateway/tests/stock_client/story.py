#!/usr/bin/env python3
"""A leader says "book the room, tell the team, and give Anna the report", and it appears on everyone's screen; with a stock
WebSocket library.

Written from docs/protocol.md alone; needs only Python 3.9 and the `websockets` package (10 or newer).

Prints one JSON line for each step that went as the document says, {"phase": "step", "step": …}, and at last the verdict, which
also goes to --out: with the milliseconds that one `resolve` and one `actions` took together. Exit code: 0 the story went as told,
1 it did not, 2 usage or could not run.
"""

import argparse
import asyncio
import json
import os
import random
import sys
import time
import uuid

import websockets

sys.dont_write_bytecode = True  # No folder of bytecode beside the sources.
from talk import ANSWER_TIMEOUT_S, mint, say

MINOR = 2
BEAT_S = 0.01


class Wrong(Exception):
    """Something is not as the document says."""


class Refused(Exception):
    """An `error` answered the command."""

    def __init__(self, error):
        super().__init__(f"{error['code']}: {error['message']}")
        self.code, self.message = error["code"], error["message"]


def uuid7():
    """A UUID of version 7: 48 bits of milliseconds, then chance."""
    value = int(time.time() * 1000) << 80 | random.getrandbits(80)
    value = value & ~(0xF << 76) | 7 << 76
    value = value & ~(0x3 << 62) | 2 << 62
    return str(uuid.UUID(int=value))


def nonce():
    return str(uuid.uuid4())


def check(condition, what):
    if not condition:
        raise Wrong(what)


class Screen:
    """One device: what it shows is made of events and of nothing else."""

    def __init__(self, name, url, token):
        self.name, self.url, self.token = name, url, token
        self.positions = {}  # stream -> (epoch, seq)
        self.rooms, self.tasks, self.messages, self.comments = {}, {}, {}, {}
        self.notifications, self.unread = {}, 0
        self.waiting, self.next_id = {}, 0
        self.events = 0
        self.trouble = None
        self.synced = asyncio.Event()

    async def open(self):
        self.synced.clear()
        self.socket = await websockets.connect(self.url, subprotocols=["hallway.v1.json"], max_size=4 << 20)
        self.reader = asyncio.ensure_future(self.read())
        positions = [{"stream": s, "epoch": e, "seq": n} for s, (e, n) in self.positions.items()]
        hello = {"token": self.token, "client_name": "story.py", "protocol_minor": MINOR, "positions": positions}
        welcome = await self.ask("hello", **hello)
        check(welcome["protocol_minor"] >= MINOR, f"the node speaks minor {welcome['protocol_minor']} only")
        self.user = welcome["user"]
        await asyncio.wait_for(self.synced.wait(), ANSWER_TIMEOUT_S)
        return self

    async def close(self):
        await self.socket.close()
        await asyncio.gather(self.reader, return_exceptions=True)

    async def read(self):
        try:
            async for text in self.socket:
                self.take(json.loads(text))
        except websockets.exceptions.ConnectionClosed:
            pass
        except Exception as error:  # The story ends with it: whoever waits finds it here.
            self.trouble = error
        for future in self.waiting.values():
            if not future.done():
                future.set_exception(ConnectionError("the line was lost"))

    async def ask(self, command, **parameters):
        self.next_id += 1
        answer = self.waiting[self.next_id] = asyncio.get_running_loop().create_future()
        await self.socket.send(json.dumps({"id": self.next_id, "command": {command: parameters}}))
        try:
            return (await asyncio.wait_for(answer, ANSWER_TIMEOUT_S))[command]
        except ConnectionError as error:
            raise self.trouble or error

    async def write(self, command, **parameters):
        """A change that must be committed."""
        parameters.setdefault("nonce", nonce())
        return await self.ask(command, **parameters)

    async def refused(self, code, command, **parameters):
        """A command that must be refused."""
        try:
            answer = await self.ask(command, **parameters)
        except Refused as error:
            check(error.code == code, f"{command} was refused with {error}, not with {code}")
            return error.message
        raise Wrong(f"{command} was not refused with {code}: {answer}")

    async def change(self, command, task, version, **parameters):
        """A change of a task: (True, acknowledgement), or (False, the task as it is now)."""
        parameters.setdefault("nonce", nonce())
        shown = self.tasks[task]
        answer = await self.ask(command, room=shown["room"], id=task, version=version, **parameters)
        ((kind, value),) = answer.items()
        return kind == "committed", value

    def take(self, frame):
        ((kind, body),) = frame.items()
        if kind == "event":
            self.take_event(body)
        elif kind == "reset":
            self.positions[body["stream"]] = (body["epoch"], body["seq"])
        elif kind == "sync_end":
            for position in body["positions"]:
                self.positions[position["stream"]] = (position["epoch"], position["seq"])
            self.synced.set()
        elif kind in ("ok", "error"):
            future = self.waiting.pop(body["id"], None)
            if future is None:
                raise Wrong(f"an answer for nothing that was asked: {frame}")
            if kind == "ok":
                future.set_result(body["reply"])
            else:
                future.set_exception(Refused(body["error"]))

    def take_event(self, event):
        stream, seq = event["stream"], event["seq"]
        epoch, held = self.positions.get(stream, (None, None))
        if held is None or seq > held + 1:
            raise Wrong(f"{self.name}: event {seq} of {stream} came after {held}")
        if seq <= held:
            return
        self.positions[stream] = (epoch, seq)
        self.events += 1
        ((kind, body),) = event["body"].items()
        if kind in ("task.created", "task.changed"):
            self.tasks[body["task"]["id"]] = body["task"]
        elif kind == "task.deleted":
            self.tasks.pop(body["id"], None)
        elif kind == "task.commented":
            self.comments[body["comment"]["id"]] = body["comment"]
            if body["comment"]["task"] in self.tasks:
                self.tasks[body["comment"]["task"]]["comment_count"] = body["comment_count"]
        elif kind in ("message.created", "message.edited"):
            self.messages[body["message"]["id"]] = body["message"]
        elif kind == "membership.changed":
            if body["role"] is None:
                self.rooms.pop(body["room"], None)
            else:
                self.rooms[body["room"]] = body["role"]
        elif kind == "notification.created":
            self.notifications[body["notification"]["id"]] = body["notification"]
            self.unread = body["unread"]
        elif kind == "notification.read":
            for notification in self.notifications.values():
                up_to = body["up_to_seq"]
                if notification["id"] in body["ids"] or (up_to is not None and notification["seq"] <= up_to):
                    notification["read"] = True
            self.unread = body["unread"]
        elif kind == "notification.acknowledged":
            self.notifications[body["id"]].update(read=True, acknowledged=True)
            self.unread = body["unread"]

    def of_kind(self, kind):
        return [n for n in self.notifications.values() if n["kind"] == kind]


async def until(what, condition, *screens):
    """Waits until all screens show it."""
    deadline = time.monotonic() + ANSWER_TIMEOUT_S
    while not all(condition(screen) for screen in screens):
        for screen in screens:
            if screen.trouble:
                raise screen.trouble
        if time.monotonic() > deadline:
            late = [screen.name for screen in screens if not condition(screen)]
            raise Wrong(f"not shown in time by {late}: {what}")
        await asyncio.sleep(BEAT_S)


class Story:
    def __init__(self, url, secret, room):
        self.url, self.secret, self.room = url, secret, room
        # People of their own for each room, so that the story can be told again.
        self.ids = {name: f"{name}.{room}" for name in ("lea", "anna", "ben", "eve")}
        self.took_ms = None

    async def seat(self, user, name):
        return await Screen(name, self.url, mint(self.secret, self.ids[user])).open()

    async def tell(self):
        self.lea = await self.seat("lea", "Lea's desk")
        self.phone = await self.seat("anna", "Anna's phone")
        self.laptop = await self.seat("anna", "Anna's laptop")
        self.ben = await self.seat("ben", "Ben's phone")
        self.eve = await self.seat("eve", "a stranger's phone")
        self.all = [self.lea, self.phone, self.laptop, self.ben]
        steps = [
            self.gather, self.says, self.says_it_again, self.everybody_sees_it, self.anna_begins, self.somebody_was_faster,
            self.legal_moves_only, self.one_waits_on_the_other, self.ben_comments, self.anna_reads, self.all_or_nothing,
            self.lists, self.a_stranger_sees_nothing, self.gone_for_a_while, self.alarm,
        ]
        for step in steps:
            await step()
            for screen in self.all + [self.eve]:
                if screen.trouble:
                    raise screen.trouble
            say(phase="step", step=step.__name__)
        for screen in self.all + [self.eve]:
            await screen.close()

    async def gather(self):
        """A private room with three people in it; and one Annabel, who shares another room with Lea."""
        for screen, name in ((self.lea, "Lea"), (self.phone, "Anna"), (self.ben, "Ben"), (self.eve, "Annabel")):
            await screen.write("profile.set", name=name)
        await self.lea.write("room.create", room=self.room, visibility="private", name="Team Blue")
        for user in ("anna", "ben"):
            await self.lea.write("room.invite", room=self.room, user=self.ids[user], role="member")
        lobby = self.room + "-lobby"
        await self.lea.write("room.create", room=lobby, visibility="public", name="Lobby")
        await self.eve.write("room.join", room=lobby)
        await until("the room", lambda screen: self.room in screen.rooms, *self.all)

    async def says(self):
        """"Book the room, tell the team, and give Anna the report": one question, one command."""
        began = time.perf_counter()
        phrases = [{"text": "Anna", "what": "person"}, {"text": "here"}, {"text": "me"}]
        answer = await self.lea.ask("resolve", phrases=phrases, room=self.room)
        anna, here, me = answer["resolutions"]
        check(anna == {"one": {"person": {"user": self.ids["anna"], "name": "Anna"}}}, f"Anna is {anna}")
        check(here == {"one": {"room": {"room": self.room, "name": "Team Blue"}}}, f"here is {here}")
        check(me == {"one": {"person": {"user": self.ids["lea"], "name": "Lea"}}}, f"me is {me}")
        anna, here, me = anna["one"]["person"]["user"], here["one"]["room"]["room"], me["one"]["person"]["user"]
        self.booking, self.report, self.word = uuid7(), uuid7(), uuid7()
        self.frame = {
            "atomic": True,
            "actions": [
                {"task.create": {"nonce": nonce(), "room": here, "id": self.booking, "title": "Book the room", "priority": "high", "assignees": [me]}},
                {"message.send": {"nonce": nonce(), "room": here, "id": self.word, "text": "We meet at ten."}},
                {"task.create": {"nonce": nonce(), "room": here, "id": self.report, "title": "Write the report", "assignees": [anna]}},
            ],
        }
        self.results = (await self.lea.ask("actions", **self.frame))["results"]
        self.took_ms = (time.perf_counter() - began) * 1000
        ids = [result.get("committed", {}).get("id") for result in self.results]
        check(ids == [self.booking, self.word, self.report], f"the actions came to {self.results}")
        ambiguous = (await self.lea.ask("resolve", phrases=[{"text": "ann", "what": "person"}]))["resolutions"][0]
        found = sorted(c["person"]["name"] for c in ambiguous.get("candidates", []))
        check(found == ["Anna", "Annabel"], f"ann is {ambiguous}")

    async def says_it_again(self):
        """The same frame once more, as after a lost line: it is answered with the first results."""
        again = (await self.lea.ask("actions", **self.frame))["results"]
        first = [dict(result["committed"], repeated=True) for result in self.results]
        check([result.get("committed") for result in again] == first, f"repeated, it came to {again}")

    async def everybody_sees_it(self):
        shown = lambda screen: {self.booking, self.report} <= screen.tasks.keys() and self.word in screen.messages
        await until("two tasks and a message", shown, *self.all)
        for screen in self.all:
            check(len(screen.tasks) == 2 and len(screen.messages) == 1, f"{screen.name} shows something twice")
            check(screen.tasks[self.report]["assignees"] == [self.ids["anna"]], f"{screen.name}: {screen.tasks[self.report]}")
            check(screen.tasks == self.lea.tasks, f"{screen.name} shows other tasks than Lea's desk")
        await until("Anna's notification", lambda screen: screen.of_kind("assigned"), self.phone, self.laptop)
        for screen in (self.phone, self.laptop):
            (told,) = screen.of_kind("assigned")
            check((told["task"], told["by"], told["room"]) == (self.report, self.ids["lea"], self.room), f"{told}")
            check(screen.unread == 1, f"{screen.name}: {screen.unread} unread")
        # Lea gave the booking to herself: nobody is notified of what they did.
        check(not self.ben.notifications and not self.lea.notifications, "somebody was notified of nothing")

    async def anna_begins(self):
        done, _ = await self.phone.change("task.move", self.report, 1, status="in_progress")
        check(done, "Anna could not begin")
        began = lambda screen: screen.tasks[self.report]["status"] == "in_progress"
        await until("Anna began", began, *self.all)
        await until("Lea hears of it", lambda screen: screen.of_kind("task_changed"), self.lea)

    async def somebody_was_faster(self):
        """A change that was made on an old version does nothing, and is answered with the task as it is now."""
        done, now = await self.lea.change("task.update", self.report, 1, title="Write the report of May")
        check(not done, "a stale change was made")
        check((now["version"], now["status"], now["title"]) == (2, "in_progress", "Write the report"), f"stale: {now}")
        done, _ = await self.lea.change("task.update", self.report, now["version"], title="Write the report of May")
        check(done, "the change could not be made on the version that the answer named")
        await until("the new title", lambda s: s.tasks[self.report]["title"] == "Write the report of May", *self.all)

    async def legal_moves_only(self):
        version = self.phone.tasks[self.report]["version"]
        done, _ = await self.phone.change("task.move", self.report, version, status="blocked")
        check(done, "Anna could not be blocked")
        parameters = {"room": self.room, "id": self.report, "version": version + 1, "nonce": nonce()}
        message = await self.phone.refused("illegal_move", "task.move", status="done", **parameters)
        check(all(word in message for word in ("open", "in_progress", "cancelled")), f"it names no legal move: {message}")
        done, _ = await self.phone.change("task.move", self.report, version + 1, status="in_progress")
        check(done, "Anna could not go on")
        await until("Anna goes on", lambda s: s.tasks[self.report]["version"] == version + 2, *self.all)

    async def one_waits_on_the_other(self):
        version = lambda task: self.lea.tasks[task]["version"]
        done, _ = await self.lea.change("task.depend", self.report, version(self.report), add=[self.booking])
        check(done, "the report could not wait")
        await until("it waits", lambda s: s.tasks[self.report]["waits_on"] == [self.booking], *self.all)
        circle = {"room": self.room, "id": self.booking, "version": version(self.booking), "nonce": nonce(), "add": [self.report]}
        await self.lea.refused("task_cycle", "task.depend", **circle)
        early = {"room": self.room, "id": self.report, "version": version(self.report), "nonce": nonce(), "status": "done"}
        message = await self.phone.refused("task_waits", "task.move", **early)
        check(self.booking in message, f"it does not name what it waits on: {message}")
        done, _ = await self.lea.change("task.move", self.booking, version(self.booking), status="done")
        check(done, "the room could not be booked")
        done, _ = await self.phone.change("task.move", self.report, version(self.report), status="done")
        check(done, "the report could not be done after that")
        both = lambda s: all(s.tasks[task]["status"] == "done" for task in (self.booking, self.report))
        await until("both are done", both, *self.all)

    async def ben_comments(self):
        comment = uuid7()
        said = {"room": self.room, "id": self.report, "comment": comment, "text": "Well done, @Anna!", "mentions": [self.ids["anna"]]}
        answer = await self.ben.write("task.comment", **said)
        check(answer["id"] == comment, f"{answer}")
        await until("the comment", lambda s: s.tasks[self.report]["comment_count"] == 1, *self.all)
        await until("Anna's mention", lambda s: s.of_kind("mention"), self.phone, self.laptop)
        (told,) = self.phone.of_kind("mention")
        check((told["task"], told["comment"], told["by"]) == (self.report, comment, self.ids["ben"]), f"{told}")
        everyone = await self.ben.ask("resolve", phrases=[{"text": "everyone on the task"}], room=self.room, task=self.report)
        check(everyone["resolutions"] == [{"all": [{"person": {"user": self.ids["anna"], "name": "Anna"}}]}], f"{everyone}")
        detail = await self.ben.ask("task.get", room=self.room, id=self.report)
        check([c["id"] for c in detail["comments"]] == [comment] and detail["following"], f"{detail}")
        check([task["id"] for task in detail["waits_on"]] == [self.booking], f"{detail}")

    async def anna_reads(self):
        """Read on the phone, read on the laptop."""
        page = await self.phone.ask("notification.list", unread_only=True)
        check(page["unread"] == self.phone.unread == len(page["notifications"]), f"{page['unread']} unread: {page}")
        newest = page["notifications"][0]
        await self.phone.write("notification.read", ids=[newest["id"]])
        await until("one is read", lambda s: s.unread == page["unread"] - 1, self.phone, self.laptop)
        await self.phone.write("notification.read", up_to_seq=newest["seq"])
        await until("all are read", lambda s: s.unread == 0, self.phone, self.laptop)
        check(all(n["read"] for n in self.laptop.notifications.values()), "the laptop shows some as unread")

    async def all_or_nothing(self):
        before, lost = dict(self.lea.tasks), uuid7()
        actions = [
            {"task.create": {"nonce": nonce(), "room": self.room, "id": lost, "title": "never"}},
            {"task.move": {"nonce": nonce(), "room": self.room, "id": self.report, "version": 1, "status": "open"}},
            {"message.send": {"nonce": nonce(), "room": self.room, "text": "never"}},
        ]
        results = (await self.lea.ask("actions", atomic=True, actions=actions))["results"]
        check(results[0] == results[2] == "skipped" and "stale" in results[1], f"atomic: {results}")
        one_by_one = [
            {"message.send": {"nonce": nonce(), "room": "nowhere", "text": "never"}},
            {"message.send": {"nonce": nonce(), "room": self.room, "text": "Thanks, all."}},
        ]
        results = (await self.lea.ask("actions", atomic=False, actions=one_by_one))["results"]
        check(results[0]["failed"]["code"] == "not_found" and "committed" in results[1], f"one by one: {results}")
        await until("thanks", lambda s: any(m["text"] == "Thanks, all." for m in s.messages.values()), *self.all)
        for screen in self.all:
            check(lost not in screen.tasks and len(screen.messages) == 2, f"{screen.name} shows what was never done")
            check(screen.tasks.keys() == before.keys(), f"{screen.name} shows other tasks than before")

    async def lists(self):
        created = await self.ben.write("task.create", room=self.room, title="Clean up", due_at_ms=1, assignees=[self.ids["ben"], self.ids["anna"]])
        mine = await self.ben.ask("task.list", assignee=self.ids["ben"])
        check([task["id"] for task in mine["tasks"]] == [created["id"]], f"{mine}")
        pages, cursor = [], None
        while cursor or not pages:
            page = await self.ben.ask("task.list", room=self.room, order="priority", limit=2, cursor=cursor)
            pages, cursor = pages + page["tasks"], page["next"]
        check([task["id"] for task in pages][0] == self.booking and len(pages) == 3, f"{pages}")
        summary = await self.ben.ask("task.summary", room=self.room)
        check((summary["open"], summary["done"], summary["overdue"]) == (1, 2, 1), f"{summary}")
        left = [{"user": self.ids[user], "unfinished": 1, "overdue": 1} for user in ("anna", "ben")]
        check(sorted(summary["assignees"], key=lambda one: one["user"]) == left, f"{summary}")

    async def a_stranger_sees_nothing(self):
        await self.eve.refused("not_found", "task.get", room=self.room, id=self.report)
        await self.eve.refused("not_found", "task.list", room=self.room)
        await self.eve.refused("not_found", "task.comment", nonce=nonce(), room=self.room, id=self.report, text="hello")
        phrases = [{"text": text} for text in ("Anna", "report", "Team Blue")] + [{"text": "here"}, {"text": "last message"}]
        answer = await self.eve.ask("resolve", phrases=phrases, room=self.room, task=self.report)
        anna, report, team, here, last = answer["resolutions"]
        # Of all the Annas the stranger knows only herself.
        check(anna == {"one": {"person": {"user": self.ids["eve"], "name": "Annabel"}}}, f"{anna}")
        check([report, team, here, last] == ["nothing"] * 4, f"{answer}")
        check(not self.eve.tasks and not self.eve.notifications, "a stranger's phone shows something")

    async def gone_for_a_while(self):
        """The laptop is closed; when it opens again it shows what the phone shows."""
        await self.laptop.close()
        (task,) = [task for task in self.ben.tasks.values() if task["title"] == "Clean up"]
        done, _ = await self.ben.change("task.move", task["id"], task["version"], status="cancelled")
        check(done, "it could not be cancelled")
        await self.ben.write("message.send", room=self.room, text="@Anna, never mind.", mentions=[self.ids["anna"]])
        await until("the phone has it", lambda s: len(s.of_kind("mention")) == 2, self.phone)
        seen = self.laptop.events
        await self.laptop.open()
        await until("the laptop has it", lambda s: len(s.of_kind("mention")) == 2, self.laptop)
        check(self.laptop.events > seen, "the laptop missed nothing")
        for what in ("tasks", "messages", "notifications", "unread"):
            phone, laptop = getattr(self.phone, what), getattr(self.laptop, what)
            check(phone == laptop, f"the laptop shows other {what} than the phone: {laptop} / {phone}")

    async def alarm(self):
        """Ben wants nothing of this room; what is urgent comes all the same, and is acknowledged."""
        await self.ben.write("notification.prefer", room=self.room, level="none")
        before = len(self.ben.notifications)
        quiet = {"to": {"room": self.room}, "title": "Cake in the kitchen"}
        loud = {"to": {"room": self.room}, "title": "Fire alarm", "urgent": True, "key": "alarm-7"}
        await self.ben.refused("forbidden", "notify", nonce=nonce(), **quiet)
        for notice in (quiet, loud, loud):
            await self.lea.write("notify", **notice)
        await until("the alarm", lambda s: any(n["urgent"] for n in s.notifications.values()), *self.all[1:])
        (alarm,) = [n for n in self.ben.notifications.values() if n["urgent"]]
        check(alarm["title"] == "Fire alarm" and alarm["acknowledge_by_ms"] is not None, f"{alarm}")
        check(len(self.ben.notifications) == before + 1, "Ben was told of cake, or of one alarm twice")
        await self.ben.write("notification.acknowledge", id=alarm["id"])
        await until("acknowledged", lambda s: s.notifications[alarm["id"]]["acknowledged"], self.ben)
        await until("Anna has cake and alarm", lambda s: len(s.of_kind("announcement")) == 2, self.phone, self.laptop)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="ws://127.0.0.1:8080/v1/ws")
    parser.add_argument("--secret-file", required=True, help="secret for HS256")
    parser.add_argument("--room", default=f"team-{os.getpid()}")
    parser.add_argument("--out", help="file for the verdict")
    options = parser.parse_args()
    with open(options.secret_file, "rb") as file:
        secret = file.read().strip()
    story, wrong, code = Story(options.url, secret, options.room), None, 0
    try:
        asyncio.run(story.tell())
    except (Wrong, Refused) as error:
        wrong, code = f"{type(error).__name__}: {error}", 1
    except (OSError, asyncio.TimeoutError, websockets.exceptions.WebSocketException) as error:
        wrong, code = f"could not go on: {type(error).__name__}: {error}", 2
    took_ms = story.took_ms and round(story.took_ms, 1)
    verdict = {"phase": "verdict", "ok": code == 0, "wrong": wrong, "resolve_and_actions_ms": took_ms}
    say(**verdict)
    if options.out:
        with open(options.out, "w", encoding="utf-8") as file:
            json.dump(verdict, file, indent=2)
            file.write("\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
