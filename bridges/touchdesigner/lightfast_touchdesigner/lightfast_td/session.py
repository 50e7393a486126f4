"""One joined TouchDesigner. All of it runs on the main thread, a little in each frame."""

import os
import time
import traceback
import uuid

from . import VERSION, surface
from .apply import Applier
from .commands import Commands, Upload, check
from .document import Document
from .exposure import Exposure
from .greeter import Greeter
from .scan import Scanner
from .timeline import Timeline
from .values import Refused

AT_ONCE = 32
"""Events and wishes that are taken from the link in one go."""
WALK_EVERY = 0.5
"""Seconds between two looks at which operators there are."""
SHARE = 10.0
"""A look at all parameters that took t seconds of work is not repeated for this many times t."""
REDECLARE_AFTER = 2.0
"""Seconds of rest after operators came or went, before `hello` is said anew with what is known of them."""
MOST_DECLARED = 3500
"""The most parameters whose type and range `hello` carries; the others are taken as they come."""
TROUBLE_PAUSE = 1.0
"""Seconds of rest after something unforeseen."""
CLOSE = 0.5
"""Seconds that saying goodbye may take."""


class Session:
    """Joins the daemon and keeps it and this project in step, one `pump` a frame."""

    def __init__(self, td, owner, settings, *, clock=time.perf_counter):
        self.td = td
        self.settings = settings
        self.clock = clock
        exposure = Exposure(settings, owner)
        self.scanner = Scanner(td, exposure, clock)
        self.timeline = Timeline(td)
        self.applier = Applier(td, self.scanner, self.timeline)
        self.commands = Commands(td, exposure, self.scanner)
        self.document = Document(td, owner)
        self.schemas = {schema["name"]: schema for schema in surface.commands(settings.allow_code)}
        self.greeter = Greeter()
        self.client = None
        self.live = False
        self.problem = ""
        self.longest = 0.0
        """The longest that one `pump` took, in seconds."""
        self._instance = "touchdesigner-%d-%s" % (os.getpid(), uuid.uuid4().hex[:8])
        self._steps = None
        self._fresh = False
        self._synced_due = False
        self._worked = 0.0
        self._next_look = 0.0
        self._next_walk = 0.0
        self._edits = 0
        self._edits_before = 0
        """How many edits there were when the daemon went."""
        self._away = False
        """The daemon went, and is not in step again yet."""
        self._counted = False
        """An edit that it did not see was counted since."""
        self._uploads = {}
        self._results = []
        self._paused = 0.0
        self._walked = False
        self._look_due = False
        self._covers = False

    # life

    def leave(self):
        """Say goodbye and stop the link's thread."""
        self._uploads.clear()
        self._results = []
        self.live = False
        self.client = None
        self.greeter.leave(CLOSE)

    @property
    def status(self):
        """One line for people."""
        trouble = "; ".join(each for each in (self.problem, self.greeter.problem, *self.scanner.problems) if each)
        if self.client is None:
            return "looking at the project" + (": " + trouble if trouble else "")
        if self.live:
            return "in step, as %s: %d parameters" % (self.client.mount, len(self.scanner.index)) + (
                "; " + trouble if trouble else ""
            )
        why = self.client.status()["lost"] or trouble
        return "looking for the daemon" + (": " + why if why else "")

    def saving(self):
        """Take note that the project is about to be saved."""
        self.document.keep()

    def saved(self):
        """Take note of a save; another project is joined anew."""
        if self.document.saved() and self.client is not None:
            self._again(document_id=self.document.id)

    # a frame

    def pump(self):
        """Do what is due within the budget; whatever goes wrong is shown, and the next frame goes on."""
        begin = self.clock()
        if begin < self._paused:
            return
        try:
            self._pump(begin + self.settings.budget)
        except Exception as error:  # td raises errors of its own
            traceback.print_exc()
            self.problem = "%s: %s (see the textport)" % (type(error).__name__, error)
            self._paused = begin + TROUBLE_PAUSE
            self._steps = None
        self.longest = max(self.longest, self.clock() - begin)

    def _pump(self, deadline):
        self.client = self.greeter.client
        if self.client is not None:
            self._events(self.client, deadline)
        if self.live and not self._fresh:
            self._send(self.scanner.plain(self.timeline.read(), False))
            self._send(self.scanner.chops(deadline))
            self._send(self.scanner.hot())
        self._look(deadline)
        if self.client is not None:
            if not self.live and self.scanner.edits != self._edits and not self._counted:
                self._edited_unseen()
            if self._results:
                self._give(self.client)
            quiet = self.live and not (self._fresh or self._results or self._uploads)
            if quiet and self.scanner.redescribed and self.clock() >= self.scanner.redescribed_at + REDECLARE_AFTER:
                self._redeclare()
        self._edits = self.scanner.edits

    def _events(self, client, deadline):
        while True:
            events = client.poll(AT_ONCE)
            for event in events:
                self._take(client, event)
            if not events or self.clock() >= deadline:
                return

    def _take(self, client, event):
        kind = event[0]
        if kind == "apply":
            for wish, value, refusal in self.applier.apply(event[1]):
                if wish.signal:
                    continue
                if refusal:
                    client.rejected(wish.id, refusal)
                else:
                    client.settled(wish.id, value)
        elif kind == "command":
            self._run(client, event[1])
        elif kind in ("welcome", "resync"):
            self.live, self.problem = True, ""
            self._fresh, self._steps = True, None
        elif kind == "lost":
            if self.live and not self._away:
                self._away, self._edits_before = True, self.scanner.edits
            self.live, self.problem = False, str(event[1])
            self._fresh = self._synced_due = False
            self._give_up(client)
            if (
                event[2] and not self._counted
            ):  # the daemon never acknowledged them: it must not put older values back over them
                self._edited_unseen()
        elif kind == "refused":
            self.live, self.problem = False, str(event[2])
        elif kind == "unsent":
            self.problem = "%s could not be reported: %s" % (event[1], event[2])
        elif kind == "stored":
            call_id = self._uploads.pop(event[1], None)
            if call_id is not None:
                self._results.append((call_id, event[2]))
        elif kind == "asset_failed":
            call_id = self._uploads.pop(event[1], None)
            if call_id is not None:
                client.error(call_id, "the picture did not arrive: %s" % event[2])
        elif kind == "cancel":
            for transfer, call_id in list(self._uploads.items()):
                if call_id == event[1]:
                    del self._uploads[transfer]
                    client.error(call_id, "cancelled")

    def _give_up(self, client):
        """Let go of what is under way: whoever asked is gone. What was done is told all the same, for who asks again."""
        uploads, self._uploads = self._uploads, {}
        for call_id in uploads.values():
            client.error(call_id, "the connection was lost while the picture travelled")
        results, self._results = self._results, []
        for call_id, value in results:
            client.result(call_id, value)

    def _run(self, client, call):
        schema = self.schemas.get(call.command)
        if schema is None:
            client.error(call.id, "there is no command %r; there are %s" % (call.command, ", ".join(self.schemas)))
            return
        try:
            result = self.commands.run(call.command, check(call.arguments, schema))
        except Refused as refused:
            client.error(call.id, str(refused))
            return
        except Exception as error:  # whatever td raises is an answer, and stops no frame
            traceback.print_exc()
            client.error(call.id, "TouchDesigner raised %s: %s" % (type(error).__name__, error))
            self._look_due = True
            return
        if schema["effect"] != "read":
            self._look_due = True
        if isinstance(result, Upload):
            self._uploads[client.put_asset(result.data, result.name, result.media_type)] = call.id
        else:
            self._results.append((call.id, result))

    def _give(self, client):
        """Answer commands once what they changed was looked at and has left: the link lets answers overtake reports."""
        if self._look_due or (self.live and client.status()["waiting_reports"]):
            return
        results, self._results = self._results, []
        for call_id, value in results:
            try:
                client.result(call_id, value)
            except ValueError as error:
                client.error(call_id, "it is done, but its result cannot travel: %s" % error)

    # looking

    def _look(self, deadline):
        """Go on looking at the project until *deadline*; at least one step is made."""
        begin = self.clock()
        if self._steps is None:
            due = self._fresh or self._look_due or begin >= self._next_walk
            if not due and begin < self._next_look:
                return
            self._covers = self._look_due
            self._steps = self._round(self._fresh, due)
            self._worked = 0.0
        while True:
            try:
                changes = next(self._steps)
            except StopIteration:
                self._steps = None
                if self._covers:  # what a command did was seen: it came before this look began
                    self._look_due = self._covers = False
                self._worked += self.clock() - begin
                self._next_look = self.clock() + SHARE * self._worked
                return
            self._send(changes)
            if self.clock() >= deadline:
                self._worked += self.clock() - begin
                return

    def _round(self, fresh, walk):
        """Look at everything once, a step at a time; *fresh* reports all of it."""
        if walk:
            self._next_walk = self.clock() + WALK_EVERY
            yield from self.scanner.walk()
            if not self._walked:
                self._walked = True
                self._join()
        yield from self.scanner.values(fresh)
        if fresh and self.live and self._fresh:
            told = dict(self.timeline.read())
            told[surface.COMPONENT] = VERSION
            yield from self.scanner.channels()
            yield self.scanner.plain(told, True)
            if not (self.live and self._fresh):
                return  # the daemon went meanwhile
            self._fresh = False
            if self._away and not self._counted and self.scanner.edits != self._edits_before:
                self._edited_unseen()  # found only now: by the generation of before, older values would go over it
                return
            self._away = self._counted = False
            self.client.synced()

    def _send(self, changes):
        """Report *changes*, as far as somebody listens; a value that cannot travel costs itself only."""
        if not changes or not self.live or self.client is None:
            return
        try:
            self.client.report(changes)
        except ValueError:
            for change in changes:
                try:
                    self.client.report([change])
                except ValueError as error:
                    self.problem = "not reported: %s" % error

    # greeting

    def _join(self):
        """Start to connect; the client goes on trying by itself."""
        self._edits = self.scanner.edits
        self.scanner.redescribed = False
        self.greeter.join(self.settings.home, self._hello())

    def _hello(self):
        app = self.td.app
        simulator = bool(getattr(self.td, "LIGHTFAST_SIMULATOR", False))
        return {
            "app": "touchdesigner",
            "app_version": "%s, component %s" % (_version(app), VERSION),
            "name": self.settings.name,
            "instance_id": self._instance,
            "document_id": self.document.id,
            "generation": self.document.generation,
            "pid": os.getpid(),
            "simulator": simulator,
            "parameters": self._parameters(),
            "commands": list(self.schemas.values()),
            "capabilities": ["assets", "rename"] + (["simulator"] if simulator else []),
        }

    def _parameters(self):
        return surface.PARAMETERS + self.scanner.declared(MOST_DECLARED)

    def _redeclare(self):
        """Say hello anew, because other operators are there: what the project holds now counts."""
        self.scanner.redescribed = False
        self._counted = True
        self.document.generation += 1
        self._again(parameters=self._parameters())

    def _edited_unseen(self):
        """Somebody edits while the daemon is away: that makes this a later generation of the project."""
        self._counted = True
        self.document.generation += 1
        self._again()

    def _again(self, **changes):
        self.live = self._fresh = False
        self.greeter.again(dict(changes, generation=self.document.generation))


def _version(app):
    return "%s.%s" % (app.version, app.build)
