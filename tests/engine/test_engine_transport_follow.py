"""Followers that answer late, play a range over and over, or are moved along: they are told apart from a hand."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.engine.test_engine_transport import Stub, follower
from tests.engine.test_engine_transport_desk import follow, lead
from tests.support.desk import bounded, until
from tests.support.player import Player, app, stage, stands

from lightfast.context.entry import Mutation, Set, Status
from lightfast.core.clock import StillClock
from lightfast.core.errors import Unavailable
from lightfast.engine.transport import commands
from lightfast.engine.transport.commands import LEADER_S
from lightfast.engine.transport.playhead import Playhead
from lightfast.engine.transport.records import Standing
from lightfast.sdk import Wish


def test_a_stop_that_is_answered_after_the_next_play_is_no_hand() -> None:
    clock, head, stub = StillClock(), Playhead(), Stub()
    half = follower(stub, head)
    clock.advance(1.0)
    head.stop(clock.monotonic())
    half.moved(sought=False)
    stub.undecided = True
    half.tick(clock.monotonic())
    head.play(clock.monotonic())
    half.moved(sought=False)
    half.tick(clock.monotonic())
    assert stub.plays == [True, False, True]
    stub.playing = False
    half.on_playing(False, clock.monotonic())  # the answer to the stop
    half.tick(clock.monotonic())
    seen = [half.standing]
    stub.playing, stub.undecided = True, False
    half.on_playing(True, clock.monotonic())
    seen.append(half.standing)
    half.on_playing(False, clock.monotonic())
    seen.append(half.standing)
    assert seen == [Standing.CATCHING_UP, Standing.CATCHING_UP, Standing.BY_HAND], "the last one is a hand"


async def test_stop_and_play_at_once(tmp_path: Path) -> None:
    async with stage(tmp_path) as (desk, transport):
        player = Player("deck", latency=0.2)
        await follow(desk, player)
        await transport.play()
        await stands(transport, "/deck", Standing.IN_STEP)
        for _ in range(3):
            await transport.play(False)
            await until(lambda: player.wished[-1] == ("playing", False), lambda: player.wished)
            await transport.play()
            await until(lambda: player.wished[-1] == ("playing", True), lambda: player.wished)
            seen: list[Standing] = []

            def back(seen: list[Standing] = seen) -> bool:
                seen.append(app(transport, "/deck").standing)
                return seen[-1] is not Standing.CATCHING_UP and player.playing

            await until(back, lambda: app(transport, "/deck"))
            assert seen[-1] is Standing.IN_STEP, app(transport, "/deck")


async def test_a_tempo_that_is_set_back_before_a_follower_has_taken_it_holds(tmp_path: Path) -> None:
    async with stage(tmp_path) as (desk, transport):
        player = Player("deck", latency=0.4)
        await follow(desk, player)
        for tempo in (140.0, 120.0):
            await transport.set_tempo(tempo)
            await until(lambda tempo=tempo: ("tempo", tempo) in player.wished, lambda: player.wished)  # type: ignore[misc]
        await desk.status("/deck/tempo", Status.SETTLED)
        assert (player.tempo, desk.entry("/deck/tempo").value) == (120.0, 120.0)


async def test_what_is_asked_of_a_leader_last_holds_also_where_it_was_so_before(tmp_path: Path) -> None:
    async with stage(tmp_path) as (desk, transport):
        leader = Player("deck", latency=0.2)
        await lead(desk, transport, leader)
        for path, other, before in (("playing", True, False), ("tempo", 140.0, 120.0)):
            leader.wished.clear()
            await desk.set(f"/transport/{path}", other)
            await until(lambda: leader.wished, lambda: app(transport, "/deck"))
            await desk.set(f"/transport/{path}", before)  # it has not answered yet
            await until(lambda: len(leader.wished) > 1, lambda: leader.wished)
            assert leader.wished == [(path, other), (path, before)]
            await desk.status(f"/deck/{path}", Status.SETTLED)
            await desk.holds(f"/transport/{path}", before)
        assert (leader.playing, leader.tempo) == (False, 120.0)


async def test_the_time_that_our_own_disk_takes_is_not_the_leaders(tmp_path: Path) -> None:
    async with stage(tmp_path) as (desk, transport):
        leader = Player("deck")
        await lead(desk, transport, leader)
        real = desk.store.apply

        async def slow(mutations: Sequence[Mutation], **more: Any) -> Any:
            if mutations == [Set("/deck/playing", True)]:
                await asyncio.sleep(LEADER_S + 0.5)
            return await real(mutations, **more)

        desk.store.apply = slow  # type: ignore[method-assign]
        await transport.play()
        assert leader.playing


async def test_a_disk_that_is_stuck_is_named_and_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "UNASKED_S", 0.3)
    async with stage(tmp_path) as (desk, transport):
        leader = Player("deck")
        await lead(desk, transport, leader)
        real, written = desk.store.apply, asyncio.Event()

        async def stuck(mutations: Sequence[Mutation], **more: Any) -> Any:
            if mutations == [Set("/deck/playing", True)]:
                await written.wait()
            return await real(mutations, **more)

        desk.store.apply = stuck  # type: ignore[method-assign]
        with pytest.raises(Unavailable, match="its disk is slow or stuck") as refused:
            await bounded(transport.play())
        assert refused.value.reason == "LEADER_NOT_ASKED"
        assert leader.wished == []
        written.set()
        await until(lambda: leader.playing, lambda: leader.wished)


async def test_what_a_leader_did_while_our_own_loop_stood_still_is_read_before_it_is_judged(tmp_path: Path) -> None:
    async with stage(tmp_path) as (desk, transport):
        leader = Player("deck")
        await lead(desk, transport, leader)
        real = leader.apply

        def stand_still(wishes: Sequence[Wish]) -> None:
            """Stop this process; that it has done it is read a few turns of the loop later, as through a socket."""
            time.sleep(LEADER_S + 0.5)
            leader.latency = 0.01
            real(wishes)

        leader.apply = stand_still  # type: ignore[method-assign]
        await transport.play()
        assert leader.playing


async def test_what_was_asked_of_a_leader_is_over_when_something_else_is_asked(tmp_path: Path) -> None:
    async with stage(tmp_path) as (desk, transport):
        leader = Player("deck", latency=0.2)
        await lead(desk, transport, leader)
        await asyncio.gather(*(transport.seek(seconds=10.0 * number) for number in range(1, 6)))
        assert leader.now() == 50.0
        await asyncio.gather(*(transport.set_tempo(120.0 + number) for number in range(1, 6)))
        assert leader.tempo == 125.0


async def test_one_that_is_moved_along_is_in_step_while_it_plays(tmp_path: Path) -> None:
    async with stage(tmp_path, chase_hz=10.0) as (desk, transport):
        film = Player("film")
        await follow(desk, film)
        await transport.play()
        await until(lambda: len(film.wished) >= 6, lambda: film.wished)
        found = await stands(transport, "/film", Standing.IN_STEP)
        assert transport.record().playing
        assert found.phase_ms is not None


async def test_one_that_plays_a_range_over_and_over_keeps_to_it(tmp_path: Path) -> None:
    async with stage(tmp_path) as (desk, transport):
        loop = Player("loop", last=50.0)
        await follow(desk, loop)
        await transport.seek(seconds=11.2)
        await until(lambda: loop.wished[-1:] == [("place", 30)], lambda: loop.wished)  # 280 = 1 + 5 * 50 + 29
        await stands(transport, "/loop", Standing.IN_STEP)
        await transport.play()
        # It may be started late by a slow disk, and then it is located once.
        await until(lambda: app(transport, "/loop").samples > 20, lambda: app(transport, "/loop"))
        begun, before = app(transport, "/loop").corrections, transport.record().position
        await until(lambda: transport.record().position > before + 3.0, transport.record)
        found = await stands(transport, "/loop", Standing.IN_STEP)
        assert found.corrections == begun
        assert found.phase_ms is not None
        assert abs(found.phase_ms) < 1000, "never more than half the range"
