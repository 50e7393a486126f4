"""What a wish or a score may ask of the server, and what must not come of it."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from tests.apps.test_apps_supercollider import FakeServer, joined, running

from lightfast.sdk import Call, Wish
from lightfast_bridges.supercollider import render
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
        await session.until(lambda: 1 in session.rejected, "refused", 10.0)
        server.buses[1] = 0.75
        await session.until(lambda: session.values["buses/1"] == 0.75, "bus 1 is followed still", 5.0)
        assert session.lost_reason is None
        assert not [said for address, said in server.heard[-20:] if address == "/c_get" and int(bus) in said]


async def test_a_bus_that_was_set_is_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.apps.test_apps_supercollider.FakeServer", Limited)
    async with running() as (host, server):
        session = await joined(host)
        session.channel.apply([Wish(1, "buses/9", 0.5, 1)])
        await session.until(lambda: 1 in session.settled, "settled", 10.0)
        server.buses[9] = 0.25
        await session.until(lambda: session.values.get("buses/9") == 0.25, "followed", 5.0)


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
        await session.until(lambda: 1 in session.failures, "refused", 10.0)
    assert session.failures[1] == "enough"
    assert on_the_loop == [False]
