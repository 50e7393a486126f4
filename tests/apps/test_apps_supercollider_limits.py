"""What a wish or a score may ask of the server, and what must not come of it."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from tests.apps.test_apps_supercollider import FakeServer, joined, running
from tests.support.osc_live import until

from lightfast.sdk import Call, Wish
from lightfast_bridges.supercollider import render
from lightfast_bridges.supercollider import wishes as module
from lightfast_bridges.supercollider.render import Score

CONTROL_BUSES = 16_384


class Limited(FakeServer):
    """Has as many control buses as a server has: a question that names one more is not answered at all."""

    def answer(self, address: str, said: tuple[Any, ...]) -> None:
        buses = said if address == "/c_get" else said[::2] if address == "/c_set" else ()
        if any(not 0 <= bus < CONTROL_BUSES for bus in buses):
            self.say("/fail", address, "index out of range")
        else:
            super().answer(address, said)


@pytest.mark.parametrize("bus", ["20000", "99999999999", "-5"])
async def test_a_bus_that_is_not_there_costs_its_wish_and_nothing_else(
    bus: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One question asks for all buses: with a wrong one in it none would be answered, now or after a restart."""
    monkeypatch.setattr("tests.apps.test_apps_supercollider.FakeServer", Limited)
    async with running() as (host, server):
        session = await joined(host)
        session.channel.apply([Wish(1, f"buses/{bus}", 0.5, 1)])
        await session.until(lambda: 1 in session.rejected, "refused")
        server.buses[1] = 0.75
        await session.until(lambda: session.values["buses/1"] == 0.75, "bus 1 is followed still", 60.0)
        assert session.lost_reason is None
        assert not [said for address, said in server.heard[-20:] if address == "/c_get" and int(bus) in said]


async def test_a_bus_that_was_set_is_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.apps.test_apps_supercollider.FakeServer", Limited)
    async with running() as (host, server):
        session = await joined(host)
        session.channel.apply([Wish(1, "buses/9", 0.5, 1)])
        await session.until(lambda: 1 in session.settled, "settled")
        server.buses[9] = 0.25
        await session.until(lambda: session.values.get("buses/9") == 0.25, "followed", 60.0)


@pytest.mark.parametrize("arguments", [[0, 1 << 29, 1], [0, 1 << 20, 1 << 20], [0, -1], ["x", 10], []])
def test_a_score_may_not_ask_for_all_the_memory(arguments: list[Any]) -> None:
    with pytest.raises(ValueError, match=r"score\[0\].*b_alloc"):
        Score.of({"score": [[0.0, "b_alloc", *arguments]], "duration": 1.0}, [])


def test_a_score_may_not_ask_for_it_piece_by_piece() -> None:
    events = [[0.0, "b_alloc", number, 1 << 27, 1] for number in range(8)]
    with pytest.raises(ValueError, match="b_alloc"):
        Score.of({"score": events, "duration": 1.0}, [])


async def test_a_long_score_leaves_the_loop_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checking and writing 100,000 commands takes seconds: in a thread, not on the daemon's loop."""
    on_the_loop: list[bool] = []

    def noting(_: bytes) -> list[str]:
        on_the_loop.append(threading.current_thread() is threading.main_thread())
        raise ValueError("enough")

    monkeypatch.setattr(render, "names_of", noting)
    async with running() as (host, _):
        session = await joined(host)
        session.channel.invoke(Call(1, "render", {"score": [], "synthdefs": [b"SCgf"], "duration": 1.0}))
        await session.until(lambda: 1 in session.failures, "refused")
    assert session.failures[1] == "enough"
    assert on_the_loop == [False]


class Busy(FakeServer):
    """Keeps its answers back while it is held, and gives them then, as old as they are."""

    def __init__(self) -> None:
        super().__init__()
        self.held: list[tuple[Any, ...]] | None = None

    def say(self, address: str, *arguments: Any) -> None:
        if self.held is None or address not in {"/c_set", "/n_set"}:
            super().say(address, *arguments)
        else:
            self.held.append((address, *arguments))

    def let_go(self) -> None:
        """Give the answers that were kept back."""
        held, self.held = self.held or [], None
        for one in held:
            self.say(*one)


@pytest.mark.parametrize("path", ["buses/5", "nodes/1002/controls/amp"])
async def test_the_answer_to_an_older_question_does_not_settle_a_newer_wish(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three wishes in a moment of a busy server: what it held after the second is not what it makes of the third."""
    monkeypatch.setattr("tests.apps.test_apps_supercollider.FakeServer", Busy)
    async with running(poll=30.0, silence=60.0, gone=90.0) as (host, server):
        assert isinstance(server, Busy)
        session = await joined(host)
        server.held = []
        session.channel.apply([Wish(number, path, number / 8, number) for number in (1, 2, 3, 4)])
        await until(lambda: len(server.held or ()) >= 4)
        server.let_go()
        await session.until(lambda: 4 in session.settled, "settled")
        assert session.settled == dict.fromkeys((1, 2, 3, 4), 0.5)


@pytest.mark.parametrize("path", ["buses/5", "nodes/1002/controls/amp"])
async def test_an_answer_that_comes_when_it_was_asked_again_is_as_old(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.apps.test_apps_supercollider.FakeServer", Busy)
    monkeypatch.setattr(module, "ANSWER", 0.05)
    monkeypatch.setattr(module, "TRIES", 100)
    async with running(poll=30.0, silence=60.0, gone=90.0) as (host, server):
        assert isinstance(server, Busy)
        session = await joined(host)
        server.held = []
        session.channel.apply([Wish(number, path, number / 8, number) for number in (1, 2, 3, 4)])
        await until(lambda: len(server.held or ()) >= 5)
        server.let_go()
        await session.until(lambda: 4 in session.settled, "settled")
        assert session.settled == dict.fromkeys((1, 2, 3, 4), 0.5)


async def test_where_an_answer_got_lost_the_one_that_came_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A synth writes to the bus: it never holds what was wished, and each answer may be an older one."""

    class Written(FakeServer):
        lost = 0

        def say(self, address: str, *arguments: Any) -> None:
            if address == "/c_set" and not self.lost:
                self.lost = 1
            else:
                super().say(address, *((arguments[0], 0.75) if address == "/c_set" else arguments))

    monkeypatch.setattr("tests.apps.test_apps_supercollider.FakeServer", Written)
    monkeypatch.setattr(module, "ANSWER", 0.05)
    async with running(poll=30.0, silence=60.0, gone=90.0) as (host, _):
        session = await joined(host)
        session.channel.apply([Wish(1, "buses/5", 0.25, 1)])
        await session.until(lambda: session.settled or session.rejected, "answered")
        assert (session.settled, session.rejected) == ({1: 0.75}, {})


@pytest.mark.parametrize("path", ["nodes/1002/controls/amp", "nodes/1002/running"])
async def test_what_somebody_turns_back_after_a_wish_is_reported(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of controls nobody tells us: the next tree shows what was there before the wish, and that is news."""

    class Nodes(FakeServer):
        def answer(self, address: str, said: tuple[Any, ...]) -> None:
            if address == "/n_query":
                self.say("/n_info", said[0], 1, -1, -1, 0)
            elif address != "/n_run":
                super().answer(address, said)

    monkeypatch.setattr("tests.apps.test_apps_supercollider.FakeServer", Nodes)
    async with running(poll=30.0, silence=60.0, gone=90.0) as (host, server):
        session = await joined(host)
        wished, before = (False, True) if path.endswith("running") else (0.25, 0.5)
        session.channel.apply([Wish(1, path, wished, 1)])
        await session.until(lambda: 1 in session.settled, "settled")
        told = len(session.changes)
        if path.endswith("running"):
            server.say("/n_on", 1002, 1, -1, -1, 0)
        else:
            server.say("/n_go", 9, 1, -1, -1, 0)  # the tree is read, in which amp is 0.5 as before
        await session.until(lambda: path in [change.path for change in session.changes[told:]], "the news")
        assert session.values[path] == before
