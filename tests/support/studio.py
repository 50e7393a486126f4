"""A studio: one daemon with many applications, all in a network of their own, each behind a relay that can misbehave.

`Witness` goes on wishing and being answered elsewhere in the same daemon, whatever happens to one application.
`Ledger` remembers what the daemon acknowledged, and says what became of it.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.daemon import Daemon
from tests.support.joined import BRIDGES
from tests.support.netns import Network, network
from tests.support.studio_members import MEMBERS, SECRETS, Member
from tests.support.waiting import until

from lightfast.api.v1.apps_pb2 import APP_STATE_LIVE
from lightfast.api.v1.types_pb2 import ENTRY_STATUS_REJECTED
from lightfast.client import Client
from lightfast.core.errors import LightfastError
from lightfast_link.value import Value, close

PATIENCE = 300.0
WITNESS_S = 20.0
"""The most seconds that a wish elsewhere may take; it takes milliseconds."""
WISH_S = 2.0
"""How long an application has for a wish here: `apps.NAME.wish_timeout_s`."""


class Studio:
    """The daemon, a client, and the applications by kind."""

    def __init__(
        self,
        folder: Path,
        net: Network,
        kinds: Sequence[str],
        flags: Sequence[str] = (),
        classes: Mapping[str, type[Member]] = MEMBERS,
    ) -> None:
        self.folder, self.net = folder, net
        self.members = {kind: classes[kind](folder, net) for kind in kinds}
        self.flags = list(flags)
        self.daemon = Daemon(folder / "home", environ=SECRETS)
        self._stack = ExitStack()

    def __getitem__(self, kind: str) -> Member:
        return self.members[kind]

    def start(self, *, within: float = PATIENCE) -> None:
        """Start everything, and wait until all are in step."""
        with self.net.inside():
            for member in self.members.values():
                member.prepare()
                self._stack.callback(member.close)
            self.daemon.flags += self._flags()
            self.daemon.start()
            self._stack.callback(self._end_daemon)
            for member in self.members.values():
                member.joins(self.daemon.home, self.daemon.endpoints)
                member.start()
        self.client = self._stack.enter_context(Client(home=self.daemon.home))
        for kind in self.members:
            self.live(kind, within)

    def _flags(self) -> list[str]:
        flags = [f"plugins.{name}.enabled=false" for name in BRIDGES if name not in self.members]
        for kind, member in self.members.items():
            flags += [f"plugins.{kind}.{key}={value}" for key, value in member.settings().items()]
            flags.append(f"apps.{kind}.wish_timeout_s={WISH_S}")
        return flags + self.flags

    def _end_daemon(self) -> None:
        process = self.daemon.process
        if process is not None and process.poll() is None:
            self.daemon.kill()

    def close(self) -> None:
        """End everything."""
        self._stack.close()

    # ------------------------------------------------------------------ looking

    def app(self, kind: str) -> Any:
        """Return the application as the daemon shows it; None where it is not known."""
        mount = self.members[kind].mount
        return next((app for app in self.client.list_apps() if app.mount == mount), None)

    def live(self, kind: str, within: float = PATIENCE) -> Any:
        """Wait until it is in step, and return it."""

        def look() -> Any:
            app = self.app(kind)
            return app if app is not None and app.state == APP_STATE_LIVE and not app.pending else None

        return self._until(look, f"{kind} in step", within, kind)

    def cause(self, kind: str, path: str = "", within: float = PATIENCE) -> str:
        """Wait until the context says what is wrong, with the application or with the entry at *path*; return that."""
        root = f"/lightfast/apps/{kind}"

        def look() -> str:
            if self.client.get(f"{root}/state").value != "live" and (why := self.client.get(f"{root}/reason").value):
                return str(why)
            entry = self.client.get(path) if path else None
            return "" if entry is None or entry.status == "SETTLED" else entry.status_reason

        return str(self._until(look, f"a reason at {root}/reason", within, kind))

    def _until(self, look: Callable[[], Any], what: str, within: float, kind: str) -> Any:
        try:
            return until(look, what, within)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.app(kind)}\n{self.members[kind].said()}\n{self.log()}") from None

    def log(self) -> str:
        """Return the end of what the daemon wrote down."""
        return self.daemon.log()[-5000:]

    def shown(self) -> str:
        """Return what `lightfast apps` prints."""
        line = [sys.executable, "-m", "lightfast", "--home", str(self.daemon.home), "apps"]
        done = subprocess.run(line, capture_output=True, text=True, timeout=PATIENCE, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def write(self, kind: str, value: Value | None = None, path: str = "") -> int:
        """Wish a value (the next one), and return the revision that acknowledged it."""
        member = self.members[kind]
        wished = member.other() if value is None else value
        return self.client.set(f"{member.mount}/{path or member.path}", wished).revision

    def settle(self, kind: str, tolerance: float = 1e-4) -> None:
        """Wish the next value until the application has it: what it said late may still overwrite the first wishes."""
        member = self.members[kind]
        path, wished, again = f"{member.mount}/{member.path}", member.other(), 0.0

        def look() -> bool:
            nonlocal again
            if time.monotonic() >= again:
                again = time.monotonic() + 2 * WISH_S
                self.client.set(path, wished)
            entry = self.client.get(path)
            told = entry.reported
            return entry.status == "SETTLED" and told is not None and close(told, wished, tolerance)

        self._until(look, f"{kind} at {wished!r}", PATIENCE, kind)


@contextmanager
def studio(
    folder: Path, kinds: Sequence[str], flags: Sequence[str] = (), classes: Mapping[str, type[Member]] = MEMBERS
) -> Iterator[Studio]:
    """Run a studio of these applications for the length of a block."""
    with network() as net:
        found = Studio(folder, net, kinds, flags, classes)
        try:
            found.start()
            yield found
        finally:
            found.close()


class Witness:
    """Wishes again and again elsewhere, in a thread of its own; `rounds` are the seconds that each took."""

    def __init__(self, found: Studio, kind: str) -> None:
        self.rounds: list[float] = []
        self.problem = ""
        self._studio, self._member = found, found[kind]
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="witness", daemon=True)

    def __enter__(self) -> Witness:
        self._thread.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._stopping.set()
        self._thread.join(WITNESS_S + 10)
        assert not self._thread.is_alive(), "the witness is stuck"
        if kind is None:
            assert not self.problem, self.problem
            assert len(self.rounds) >= 2, f"{self._member.kind} hardly went on meanwhile: {self.rounds}"

    def _run(self) -> None:
        path = f"{self._member.mount}/{self._member.path}"
        with Client(home=self._studio.daemon.home) as client:
            while not self._stopping.is_set() and not self.problem:
                value, began = self._member.other(), time.monotonic()
                try:
                    revision = client.set(path, value).revision
                    while (entry := client.get(path)).status != "SETTLED" or entry.revision < revision:
                        if time.monotonic() - began > WITNESS_S:
                            self.problem = f"{path} = {value!r} was not settled within {WITNESS_S} s: {entry}"
                            return
                        time.sleep(0.005)
                except LightfastError as error:
                    self.problem = f"{path} = {value!r}: {error}"
                    return
                self.rounds.append(time.monotonic() - began)
                time.sleep(0.02)


@dataclass
class Ledger:
    """What was acknowledged; `settled` waits until something became of all of it, and says what."""

    studio: Studio
    written: list[tuple[str, Value, int]] = field(default_factory=list)

    def write(self, path: str, value: Value) -> None:
        """Write, and remember it as soon as it is acknowledged."""
        revision = self.studio.client.set(path, value).revision
        self.written.append((path, value, revision))

    def settled(self, within: float = PATIENCE, tolerance: float = 1e-4) -> dict[str, int]:
        """Return how many were settled, rejected, recorded in a conflict, or overtaken by a later one of ours."""
        last = {path: revision for path, _, revision in self.written}
        found: dict[str, int] = {}
        open_ones = list(self.written)

        def look() -> bool:
            conflicts = {
                (str(entry.value["path"]), entry.value["revision"])
                for entry in self.studio.client.select("/lightfast/conflicts/*")
                if isinstance(entry.value, dict)
            }
            for item in list(open_ones):
                path, value, revision = item
                what = self._fate(path, value, revision, last, conflicts, tolerance)
                if what:
                    found[what] = found.get(what, 0) + 1
                    open_ones.remove(item)
            return not open_ones

        try:
            until(look, "an end of each acknowledged write", within)
        except AssertionError as error:
            entries = [self.studio.client.get(path) for path, _, _ in open_ones]
            raise AssertionError(f"{error}: {open_ones}\n{entries}\n{self.studio.log()}") from None
        return found

    def _fate(
        self,
        path: str,
        value: Value,
        revision: int,
        last: dict[str, int],
        conflicts: set[tuple[str, Any]],
        tolerance: float,
    ) -> str:
        if last[path] > revision:
            return "overtaken"
        if (path, revision) in conflicts:
            return "conflict"
        entry = self.studio.client.get(path)
        if entry.revision > revision and self._rejected(path, revision):
            return "rejected"
        told = entry.reported
        if entry.status == "SETTLED" and told is not None and close(told, value, tolerance):
            return "settled"
        return ""

    def _rejected(self, path: str, revision: int) -> bool:
        """Say whether the history tells that this wish was rejected, and why."""
        for transaction in self.studio.client.history(path, after=revision):
            for event in transaction.events:
                entry = event.entry
                if entry.cause_revision == revision and entry.status == ENTRY_STATUS_REJECTED:
                    assert entry.status_reason, f"{path} was rejected without a reason"
                    return True
        return False
