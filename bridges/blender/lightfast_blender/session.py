"""One joined Blender. All of it runs on Blender's main thread; the link's own thread only moves frames."""

from __future__ import annotations

import os
import time
import traceback
import uuid
from typing import Any, Callable, List, Optional, Set, Tuple

import bpy
from lightfast_link.client import LinkClient
from lightfast_link.messages import Change

from . import apply, connect, document, host, render, surface
from .calls import Calls
from .scan import Scanner
from .settings import Settings
from .values import Refused

REPORT_CHUNK = 500
"""The most changes of one report."""
FULL_SCAN_SHARE = 10.0
"""A full comparison that took t seconds is not repeated for this many times t, so that it stays a small part."""
TOUCHED_BOUND = 200
"""More data-blocks than this in one go are compared by a full scan."""
GESTURE = 0.3
"""Seconds without a wish after which what was applied becomes one undo step."""
FILE_COMMANDS = ("undo", "redo", "open", "save", "save_as")
"""Commands that must not make an undo step of their own."""
TROUBLE_PAUSE = 1.0
"""Seconds of rest after something unforeseen."""
FAREWELL = 0.2
"""Seconds between the last answers about one document and the hello of the next."""
LOOK_AROUND = 2.0
"""Seconds between full scans in a window even when Blender says nothing: some properties send no news."""

_INSTANCE = "blender-%d-%s" % (os.getpid(), uuid.uuid4().hex[:8])


class Session:
    """Joins the daemon and keeps it and this Blender in step, one `pump` at a time."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.scanner = Scanner()
        self.schemas = {schema["name"]: schema for schema in surface.commands(settings.allow_code)}
        self.live = False
        self.problem = ""
        self.client: Optional[LinkClient] = None
        self._dirty = False
        self._touched: Set[Tuple[str, str]] = set()
        self._next_full = 0.0
        self._full_due = False
        self._undo_due = 0.0
        self._calls = Calls(self.schemas, begin=self._begin, done=self._done, failed=self.rescan)
        opened = document.current()
        self._document = opened.id
        self._path = bpy.data.filepath
        self.generation = opened.generation
        self._away = False
        self._paused = 0.0
        self._reload = False
        self._reload_at = 0.0
        self._active = 0.0
        self._frame_time = 0

    # life

    def join(self) -> None:
        """Start to connect; the client goes on trying by itself."""
        if self.client is not None:
            return
        document.keep(self._document, self._path, self.generation)
        hello = {
            "app": "blender",
            "app_version": bpy.app.version_string,
            "name": self.settings.name,
            "instance_id": self.settings.instance_id or _INSTANCE,
            "document_id": self._document,
            "generation": self.generation,
            "pid": os.getpid(),
            "simulator": False,
            "parameters": surface.load()["parameters"],
            "commands": list(self.schemas.values()),
            "capabilities": ["assets", "rename", "render"] + (["window"] if host.windowed() else ["background"]),
        }
        if not host.windowed():
            host.push_undo("Lightfast: joined")  # without a first step there is nothing to go back to
        self.client = LinkClient(connect.transport(self.settings), hello).start()

    def leave(self) -> None:
        """Say goodbye and stop the link's thread."""
        self._calls.drop(self.client)
        if self.client is not None:
            self.client.close()
            self.client = None
        self.live = False

    @property
    def status(self) -> str:
        """One line for people."""
        if self.client is None:
            return "not joined"
        if self.live:
            return "in step, as %s" % self.client.mount + ("; " + self.problem if self.problem else "")
        why = self.client.status()["lost"] or self.problem
        return "looking for the daemon" + (": " + why if why else "")

    # news from Blender, called by the handlers

    def touch(self, family: str, name: str) -> None:
        """Take note that a data-block may have changed."""
        self._dirty = True
        if len(self._touched) < TOUCHED_BOUND:
            self._touched.add((family, name))
        else:
            self._full_due = True

    def changed(self) -> None:
        """Take note that something of the scene may have changed."""
        self._dirty = True

    def rescan_later(self) -> None:
        """Compare everything as soon as it is affordable."""
        self._dirty = self._full_due = True

    def framed(self) -> None:
        """Take note that another frame was reached, now."""
        self._frame_time = time.time_ns()
        self.rescan_later()

    def rescan(self) -> None:
        """Compare everything at the next pump."""
        self._dirty = self._full_due = True
        self._next_full = 0.0

    def stepped(self) -> None:
        """Take note of an undo or redo: everything may have changed, outside the daemon's sight."""
        self.generation += 1
        self.scanner.undone = True
        self.rescan()

    def loaded(self) -> None:
        """Take note that another file, or this one again, was loaded."""
        self.generation += 1
        self.scanner.undone = True
        self._reload_soon()

    def saving(self, target: str) -> None:
        """Write the document's id into what is about to be saved; *target* is empty in versions that do not say."""
        target = target or self._path
        document.keep(document.decide(self._document, self._path, target), target, self.generation, saving=True)

    def saved(self) -> None:
        """Take note of where the file now is; saved as another, it is another document."""
        path = bpy.data.filepath
        opened = document.decide(self._document, self._path, path)
        self._path = path
        document.keep(opened, path, self.generation)
        if opened != self._document:
            self._reload_soon()

    def _reload_soon(self) -> None:
        """Say hello anew once what was answered before had time to leave."""
        self._reload, self._reload_at = True, time.monotonic() + FAREWELL

    # the pump

    def pump(self) -> float:
        """Do what is due; return the seconds until the next call is worth while (less if events come).

        Whatever goes wrong in here is shown, and the next call goes on: Blender would drop a timer that raises.
        """
        client = self.client
        if client is None:
            return 1.0
        try:
            return self._pump(client)
        except Exception as error:
            traceback.print_exc()
            self.problem = "%s: %s (see the console)" % (type(error).__name__, error)
            self._paused = time.monotonic() + TROUBLE_PAUSE
            return TROUBLE_PAUSE

    def _pump(self, client: LinkClient) -> float:
        now = time.monotonic()
        if render.busy:  # the user's render, in a thread of its own: what comes waits in the link
            return 0.1
        if self._reload and now >= self._reload_at:
            self._rejoin(client)
        events = client.poll()
        for event in events:
            self._take(client, event)
        if events:
            self._active = now
        if self.live and not self._reload:
            self._look(client, now)
        elif self._away and self._dirty and not self._reload:
            self._edited_away(client)
        if self._calls.results_wait:
            self._calls.give_results(client)
        if self._undo_due and now >= self._undo_due:
            self._push("Lightfast")
        return 0.01 if now - self._active < 2.0 else 0.05

    def due(self) -> float:
        """Return the seconds until something is due without news, for a loop that is woken by news."""
        now = time.monotonic()
        if self._paused > now:
            return self._paused - now
        if self._calls.results_wait:
            return 0.0005
        times = [self._undo_due] if self._undo_due else []
        if self._reload:
            times.append(self._reload_at)
        if self._dirty and self.live:
            times.append(self._next_full)
        return max(0.0, min(times) - now) if times else 60.0

    def _take(self, client: LinkClient, event: Tuple[Any, ...]) -> None:
        kind = event[0]
        if kind == "apply":
            self._apply(client, event[1])
        elif kind == "command":
            self._calls.run(client, event[1])
        elif kind in ("welcome", "resync"):
            if self._reload and self._rejoin(client):
                return  # another document is open than the one that was welcomed
            if self._away and self._edited_away(client):
                return  # seen only now: by the generation of before, the daemon would put its values back over it
            self.live, self.problem, self._away = True, "", False
            self._report_all(client)
        elif kind == "lost":
            self._away, self.live, self.problem = self._away or self.live, False, str(event[1])
            self._calls.drop(client)
            if event[2]:
                # Changes the daemon never acknowledged: it must not put its older values back over them.
                self.generation += 1
            if client.hello.get("generation") != self.generation:
                client.rehello(generation=self.generation)
        elif kind == "refused":
            self.live, self.problem = False, str(event[2])
        elif kind == "unsent":
            self.problem = "%s could not be reported: %s" % (event[1], event[2])
        elif kind == "cancel":
            self._calls.cancel(client, event[1])
        elif kind in ("stored", "asset"):
            self._calls.arrived(client, event[1], event[2])
        elif kind == "asset_failed":
            self._calls.arrived(client, event[1], Refused("the asset did not arrive: %s" % event[2]))

    def _apply(self, client: LinkClient, wishes: List[Any]) -> None:
        signals = {wish.id: wish.path.strip("/") for wish in wishes if wish.signal}
        for answer in apply.apply(wishes, self.scanner):
            if answer.wish_id in signals:
                if not answer.refused:  # nobody waits for an answer, but somebody may measure when it arrived
                    self._send(client, [Change(signals[answer.wish_id], answer.value, time.time_ns())])
                continue
            if answer.refused:
                client.rejected(answer.wish_id, answer.refused)
            else:
                client.settled(answer.wish_id, answer.value)
        self._dirty = True
        self._undo_due = time.monotonic() + GESTURE

    def _look(self, client: LinkClient, now: float) -> None:
        if host.playing():
            self._send(client, self.scanner.frame(self._frame_time or time.time_ns()))
            self._dirty = self._full_due = True
            return
        if host.windowed() and now >= self._next_full + LOOK_AROUND:
            self._dirty = self._full_due = True
        if not self._dirty:
            return
        touched, self._touched, self._dirty = self._touched, set(), False
        if self.scanner.names_changed():
            self._next_full, self._full_due = 0.0, True
        elif touched:
            self._full_due = True
        if self._full_due and now >= self._next_full:
            self._full(client)
        else:
            self._send(client, self.scanner.some(touched))
            self._dirty = self._full_due

    def _edited_away(self, client: LinkClient) -> bool:
        """Look whether there was an edit while the daemon was away: it makes this a later generation of the document."""
        self._dirty = False
        if not self.scanner.full():
            return False
        self._away = False
        self.generation += 1
        client.rehello(generation=self.generation)
        return True

    def _full(self, client: LinkClient, look: Optional[Callable[[], List[Change]]] = None) -> None:
        start = time.monotonic()
        changes = (look or self.scanner.full)()
        self._full_due = False
        end = time.monotonic()
        self._next_full = end + FULL_SCAN_SHARE * (end - start)
        self._send(client, changes)

    def _report_all(self, client: LinkClient) -> None:
        apply.update()
        self._touched.clear()
        self._full(client, self.scanner.again)
        client.synced()

    def _send(self, client: LinkClient, changes: List[Change]) -> None:
        for start in range(0, len(changes), REPORT_CHUNK):
            chunk = changes[start : start + REPORT_CHUNK]
            try:
                client.report(chunk)
            except ValueError:
                self._send_each(client, chunk)

    def _send_each(self, client: LinkClient, changes: List[Change]) -> None:
        """Report one by one, so that a value that cannot travel costs itself only."""
        for change in changes:
            try:
                client.report([change])
            except ValueError as error:
                self.problem = "not reported: %s" % error

    def _rejoin(self, client: LinkClient) -> bool:
        """Say hello anew if another document is open, and say whether; one that was reverted is only compared."""
        self._reload = False
        self._path = bpy.data.filepath
        opened = document.current()
        if opened.id == self._document:
            self.generation = max(self.generation, opened.generation)
            document.keep(opened.id, self._path, self.generation)
            self.rescan()
            return False
        self._document, self.generation = opened.id, opened.generation
        document.keep(opened.id, self._path, self.generation)
        self._calls.drop(client)
        self.live = self._away = False
        client.rehello(document_id=opened.id, generation=self.generation)
        return True

    def _begin(self) -> None:
        """Close the gesture before a command, so that undo takes them back one by one."""
        if self._undo_due:
            self._push("Lightfast")

    def _done(self, name: str) -> None:
        """Report what a command changed; its result follows."""
        if name not in FILE_COMMANDS:
            apply.update()
            self._push("Lightfast: %s" % name)
        if not self._reload and self.client is not None:
            self._full(self.client)

    def _push(self, message: str) -> None:
        self._undo_due = 0.0
        host.push_undo(message)
