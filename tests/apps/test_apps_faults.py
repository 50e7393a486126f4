"""Faults, one application after the other, in one daemon with all of them: nobody else waits, and nothing is lost.

Each case does one thing to one application, writes to it meanwhile, heals it, and sees that elsewhere wishes went on
being answered, that each acknowledged write has come to an end that can be read, and that the cause could be read.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.support.daemon import Daemon
from tests.support.studio import PATIENCE, Ledger, Studio, Witness, studio
from tests.support.waiting import until

from lightfast.client import Client
from lightfast.core.clock import SYSTEM
from lightfast.core.errors import LightfastError
from lightfast_link.value import close

pytestmark = pytest.mark.real_app
LONG = os.environ.get("LIGHTFAST_LONG", "") == "1"
KINDS = ("puredata", "supercollider", "ardour", "obs", "hydrogen", "blender", "touchdesigner", "ableton")
DOCUMENTS = ("ardour", "obs", "blender", "touchdesigner")
"""Those that can be started with other work. scsynth has none, a patch of Pd is an application of its own."""
RELAYED = tuple(kind for kind in KINDS if kind != "hydrogen")
"""Hydrogen is looked for by whether its port is taken, and a relay's always is."""
DATAGRAMS = ("puredata", "supercollider", "ardour", "ableton")
SHORT = {
    ("never", "puredata"), ("never", "obs"),
    ("late", "supercollider"), ("late", "blender"),
    ("garbage", "puredata"), ("garbage", "ardour"), ("garbage", "touchdesigner"),
    ("flood", "supercollider"), ("flood", "ardour"),
}  # fmt: skip
"""What is tried of the man in the middle when there is little time; `LIGHTFAST_LONG=1` tries all."""


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    with studio(tmp_path_factory.mktemp("studio"), KINDS) as found:
        yield found


def middle(fault: str, kinds: tuple[str, ...]) -> list[tuple[str, str]]:
    return [(fault, kind) for kind in kinds if LONG or (fault, kind) in SHORT]


CASES = [
    *(("killed", kind) for kind in KINDS),
    *(("frozen", kind) for kind in KINDS),
    *(("another document", kind) for kind in DOCUMENTS),
    *middle("never", RELAYED),
    *middle("late", RELAYED),
    *middle("garbage", RELAYED),
    *middle("flood", DATAGRAMS),
]


def killed(desk: Studio, kind: str, *, document: str = "one") -> Callable[[], None]:
    desk[kind].kill()

    def heal() -> None:
        with desk.net.inside():
            desk[kind].start(document)

    return heal


def frozen(desk: Studio, kind: str) -> Callable[[], None]:
    desk[kind].freeze()
    return desk[kind].thaw


def in_the_middle(desk: Studio, kind: str, mode: str) -> Callable[[], None]:
    relay = desk[kind].relay
    assert relay is not None
    relay.mode = mode

    def heal() -> None:
        relay.mode = "pass"

    return heal


@contextmanager
def fault(desk: Studio, kind: str, what: str) -> Iterator[None]:
    """Do one thing to one application for the length of a block; it is undone in any case."""
    if what == "killed":
        heal = killed(desk, kind)
    elif what == "another document":
        heal = killed(desk, kind, document="two")
    elif what == "frozen":
        heal = frozen(desk, kind)
    else:
        heal = in_the_middle(desk, kind, what)
    try:
        yield
    finally:
        heal()


@pytest.mark.parametrize(("what", "kind"), CASES, ids=lambda value: value.replace(" ", "_"))
def test_fault(desk: Studio, what: str, kind: str) -> None:
    member, ledger = desk[kind], Ledger(desk)
    path = f"{member.mount}/{member.path}"
    desk.settle(kind)
    before = desk.live(kind)
    causes: list[str] = []
    with Witness(desk, "touchdesigner" if kind == "puredata" else "puredata") as witness:
        with fault(desk, kind, what):
            for _ in range(3):
                ledger.write(path, member.other())
            if what != "flood":
                causes.append(desk.cause(kind, path if what == "late" else ""))
                ledger.write(path, member.other())
                if what == "killed":
                    until(lambda: desk.cause(kind) in desk.shown(), "the cause in `lightfast apps`", PATIENCE)
            else:
                until_told(desk, kind, ledger)
        healed = SYSTEM.now_ns()
        after = desk.live(kind)
        fates = ledger.settled()
        if what == "another document":
            assert after.document_id != before.document_id
    print(
        f"\n{what} {kind}: in step {since(desk, kind, healed):+.2f} s after it was back; {fates};"
        f" elsewhere {len(witness.rounds)} wishes, the slowest {max(witness.rounds):.2f} s; {causes}"
    )
    desk.settle(kind)
    if what == "another document":
        with fault(desk, kind, "killed"):
            pass  # the first one again
        desk.live(kind)


def until_told(desk: Studio, kind: str, ledger: Ledger) -> None:
    """Write for a while, so that the application has something to tell again and again."""
    member = desk[kind]
    relay = member.relay
    assert relay is not None
    end, goal = time.monotonic() + 3.0, relay.said + 200
    while relay.said < goal and time.monotonic() < end:
        ledger.write(f"{member.mount}/{member.path}", member.other())
        time.sleep(0.01)


def since(desk: Studio, kind: str, healed: int) -> float:
    """Return how long after *healed* the application was in step, by the context; below 0 where it was before."""
    return (desk.client.get(f"/lightfast/apps/{kind}/state").record_time - healed) / 1e9


SHARED = ("supercollider", "ardour", "obs", "hydrogen")
"""Those that serve several clients at once."""


def test_two_daemons_on_one_application(desk: Studio, tmp_path: Path) -> None:
    """Each sees what the other does, nobody throws it back, and a stranger's end is nobody's trouble."""
    flags = [flag for flag in desk.daemon.flags if not flag.startswith(("plugins.puredata", "plugins.ableton"))]
    off = [f"plugins.{kind}.enabled=false" for kind in ("puredata", "ableton")]
    second = Daemon(tmp_path / "second", flags=[*flags, *off], environ=desk.daemon.environ)
    with desk.net.inside(), second, Client(home=second.home) as there:
        for kind in SHARED:
            desk.live(kind)
            path = f"{desk[kind].mount}/{desk[kind].path}"
            until(lambda: state(there, kind) == "live", f"{kind} in step with the second daemon", 40.0)  # noqa: B023
            for client, other in ((desk.client, there), (there, desk.client)):
                value = desk[kind].other()
                client.set(path, value)
                until(lambda: holds(client, path, value), f"{path} at {value!r} here")  # noqa: B023
                until(lambda: holds(other, path, value), f"{path} at {value!r} there")  # noqa: B023
            at_rest((desk.client, there), path)
            print(f"\n{kind}: two daemons agree")
        second.kill()
        for kind in SHARED:
            desk.settle(kind)
        second.start()


def at_rest(clients: Sequence[Client], path: str) -> None:
    """Wait until nothing changes any more: what goes back and forth goes on for ever."""
    revisions: list[int] = []
    since = time.monotonic()

    def look() -> bool:
        nonlocal revisions, since
        now = [client.get(path).revision for client in clients]
        if now != revisions:
            revisions, since = now, time.monotonic()
        return time.monotonic() - since > 1.0

    until(look, f"the end of changes of {path}, which goes back and forth", 30.0)


def state(client: Client, kind: str) -> Any:
    try:
        return client.get(f"/lightfast/apps/{kind}/state").value
    except LightfastError:
        return None


def holds(client: Client, path: str, value: Any) -> bool:
    entry = client.get(path)
    return entry.status == "SETTLED" and entry.reported is not None and close(entry.reported, value, 1e-4)
