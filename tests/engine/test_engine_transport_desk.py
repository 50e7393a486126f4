"""The timeline among applications: followers, leaders that go and come, hands, and what is written to the context."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support.desk import Desk, bounded, until
from tests.support.player import Player, app, stage, stands

from lightfast.context.entry import Delete, Set
from lightfast.core.clock import SYSTEM
from lightfast.core.errors import Denied, FailedPrecondition, InvalidArgument, OutOfBounds, Unavailable
from lightfast.engine.transport import follower
from lightfast.engine.transport.records import Hands, Role, Standing
from lightfast.engine.transport.transport import Transport


async def follow(desk: Desk, player: Player, **how: Any) -> None:
    """Let *player* join and follow."""
    await player.join(desk)
    await desk.set(f"/transport/follows{player.mount}", {"offset": 0.0, "tempo": True, **how})


async def lead(desk: Desk, transport: Transport, player: Player) -> None:
    """Let *player* join and lead."""
    await player.join(desk)
    await desk.set("/transport/leader", player.mount)
    await until(lambda: transport.record().leading == player.mount, transport.record)


async def near(one: Callable[[], float], other: Callable[[], float], far: float) -> None:
    """Wait until two positions are as near as that."""
    await until(lambda: abs(one() - other()) <= far, lambda: (one(), other()))


async def test_what_is_written_acts_like_the_method(tmp_path: Path) -> None:
    async with stage(tmp_path) as (desk, transport):
        await desk.set("/transport/tempo", 90.0)
        await desk.set("/transport/playing", True)
        await until(lambda: transport.record().playing and transport.record().tempo == 90.0, transport.record)
        await desk.set("/transport/position", 100.0)
        await until(lambda: 100.0 <= transport.record().position < 110.0, transport.record)
        await desk.set("/transport/frame_rate", "29.97df")
        await until(lambda: ";" in transport.record().timecode, transport.record)
        await desk.set("/transport/playing", False)
        await until(lambda: not transport.record().playing, transport.record)
        where = transport.record().position
        await desk.holds("/transport/position", where)
        # The settled position is no order to go there again.
        await until(lambda: desk.entry("/transport/position").revision > 0, lambda: desk.entry("/transport/position"))
        assert transport.record().position == where


async def test_a_seek_that_is_written_is_not_lost_in_what_the_timeline_shows_at_that_moment(tmp_path: Path) -> None:
    async with stage(tmp_path) as (desk, transport):
        await transport.play()
        loop, wish = asyncio.get_running_loop(), [0.0]

        def write() -> None:
            desk.store.publish([Set("/transport/position", wish[0])], origin="client:test")

        for wish[0] in (1000.0, 2000.0, 3000.0):
            await asyncio.sleep(0.05)
            loop.call_soon(write)
            transport.step(SYSTEM.monotonic())  # what it shows is written right after that
            await until(lambda: transport.record().position >= wish[0], transport.record)


async def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    async with stage(tmp_path) as (desk, transport):
        for path, value, error in (
            ("/transport/tempo", 5.0, OutOfBounds),
            ("/transport/playing", "yes", OutOfBounds),
            ("/transport/position", -1.0, OutOfBounds),
            ("/transport/frame_rate", "26", OutOfBounds),
            ("/transport/leading", "/x", Denied),
            ("/transport/other", 1, Denied),
            ("/transport/apps/x/state", "IN_STEP", Denied),
        ):
            with pytest.raises(error):
                await desk.set(path, value)
        for wrong in ({}, {"seconds": 1.0, "beats": 1.0}, {"seconds": -1.0}, {"timecode": "99:00:00:00"}):
            with pytest.raises(InvalidArgument):
                await transport.seek(**wrong)
        with pytest.raises(OutOfBounds):
            await transport.set_tempo(float("nan"))
        assert not transport.record().playing


async def test_it_is_kept_over_a_restart_and_does_not_play_by_itself(tmp_path: Path) -> None:
    async with stage(tmp_path) as (desk, transport):
        await transport.set_tempo(77.0)
        await transport.seek(seconds=12.0)
        await desk.set("/transport/leader", "/deck")
        await transport.play()
        await until(lambda: desk.entry("/transport/playing").value is True)
    async with stage(tmp_path) as (desk, transport):
        record = transport.record()
        assert (record.playing, record.tempo, record.leader, record.leading) == (False, 77.0, "/deck", "internal")
        assert record.position >= 12.0
        await desk.holds("/transport/playing", False)


async def test_nothing_runs_while_it_stands_and_nobody_follows(tmp_path: Path) -> None:
    async with stage(tmp_path) as (_, transport):
        await transport.play()
        assert len(transport._tasks) > 0
        await transport.play(False)
        await until(lambda: len(transport._tasks) == 0, lambda: transport._tasks)


async def test_a_follower_is_started_located_and_kept_in_step(tmp_path: Path) -> None:
    async with stage(tmp_path) as (desk, transport):
        player = Player("deck", latency=0.05)
        await follow(desk, player)
        await transport.set_tempo(98.0)
        await transport.seek(seconds=30.0)
        await transport.play()
        await until(lambda: player.playing and player.tempo == 98.0, lambda: player.wished)
        await stands(transport, "/deck", Standing.IN_STEP)
        await until(lambda: app(transport, "/deck").samples >= 20, lambda: app(transport, "/deck"))
        found = app(transport, "/deck")
        assert found.role is Role.FOLLOWER
        assert found.phase_ms is not None
        await transport.play(False)
        await until(lambda: not player.playing, lambda: player.wished)
        await stands(transport, "/deck", Standing.IN_STEP)
        await near(player.now, lambda: transport.record().position, 0.08)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody be asked again because the disk is slow."""
    monkeypatch.setattr(follower, "CONFIRM_S", 60.0)


@pytest.mark.usefixtures("patient")
async def test_a_follower_that_drifts_is_corrected_a_bounded_number_of_times(tmp_path: Path) -> None:
    async with stage(tmp_path, threshold_s=0.05, corrections_hz=10.0) as (desk, transport):
        player = Player("deck", speed=1.1)
        await follow(desk, player)
        await transport.play()
        await until(lambda: app(transport, "/deck").corrections >= 2, lambda: app(transport, "/deck"))
        before = player.wished.count(("playing", True))
        assert before == 1  # it is located, not started again


async def test_a_follower_that_does_not_hold_is_left_alone_and_shown(tmp_path: Path) -> None:
    async with stage(tmp_path, corrections_hz=20.0) as (desk, transport):
        player = Player("deck", sticks={"position"}, speed=0.2)
        await follow(desk, player)
        await transport.play()
        found = await stands(transport, "/deck", Standing.DEGRADED)
        assert "does not hold" in found.reason
        asked = len(player.wished)
        await asyncio.sleep(0.5)
        assert len(player.wished) == asked
        await desk.holds("/transport/apps/deck/state", "DEGRADED")
        await transport.seek(seconds=1.0)  # a new order: it is asked again
        await until(lambda: len(player.wished) > asked, lambda: player.wished)


async def test_a_follower_that_refuses_to_play_says_why(tmp_path: Path) -> None:
    async with stage(tmp_path) as (desk, transport):
        player = Player("lamp", refuses={"playing"})
        await follow(desk, player)
        await transport.play()
        found = await stands(transport, "/lamp", Standing.DEGRADED)
        assert "not now" in found.reason or "does not start" in found.reason


async def test_beats_follow_beats(tmp_path: Path) -> None:
    async with stage(tmp_path) as (desk, transport):
        player = Player("sequencer")
        await follow(desk, player)
        await transport.set_tempo(150.0)
        await transport.seek(beats=64.0)
        await transport.play()
        await until(lambda: player.playing and player.tempo == 150.0, lambda: player.wished)
        await stands(transport, "/sequencer", Standing.IN_STEP)
        await near(lambda: player.now() * 150.0 / 60, lambda: transport.record().beats, 0.5)


async def test_one_that_cannot_play_is_moved_along(tmp_path: Path) -> None:
    async with stage(tmp_path, chase_hz=20.0) as (desk, transport):
        film = Player("film")
        await follow(desk, film, offset=2.0)
        await transport.seek(seconds=10.0)
        await until(lambda: film.wished[-1:] == [("frame", 300)], lambda: film.wished)
        await transport.play()
        await until(lambda: len(film.wished) >= 6, lambda: film.wished)
        await transport.play(False)
        last = int((transport.record().position + 2.0) * 25 + 1e-6)
        await until(lambda: film.wished[-1] == ("frame", last), lambda: (film.wished, last))
        frames = [value for _, value in film.wished]
        assert frames[1:] == sorted(frames[1:])  # type: ignore[type-var]
        await stands(transport, "/film", Standing.IN_STEP)


async def test_one_that_refuses_frames_is_given_up(tmp_path: Path) -> None:
    async with stage(tmp_path, chase_hz=50.0) as (desk, transport):
        film = Player("film", refuses={"frame"})
        await follow(desk, film)
        await transport.play()
        found = await stands(transport, "/film", Standing.DEGRADED)
        assert "/film/frame is refused: not now" in found.reason


async def test_only_a_tempo_follows_and_leads(tmp_path: Path) -> None:
    async with stage(tmp_path) as (desk, transport):
        pulse = Player("pulse")
        await follow(desk, pulse)
        await transport.set_tempo(101.0)
        await until(lambda: pulse.tempo == 101.0, lambda: pulse.wished)
        await desk.set("/transport/leader", "/pulse")
        await until(lambda: transport.record().leading == "/pulse", transport.record)
        await transport.play()
        pulse.turn(133.0)
        await until(lambda: transport.record().tempo == 133.0, transport.record)
        await transport.set_tempo(99.0)
        assert (pulse.tempo, transport.record().tempo, transport.record().playing) == (99.0, 99.0, True)


async def test_one_that_somebody_else_has_to_start(tmp_path: Path) -> None:
    async with stage(tmp_path) as (desk, transport):
        player = Player("jukebox")
        await follow(desk, player)
        await transport.seek(seconds=40.0)
        await transport.play()
        await until(lambda: "start it there" in app(transport, "/jukebox").reason, lambda: app(transport, "/jukebox"))
        assert app(transport, "/jukebox").has == ("playing*", "position")
        player.press(True)
        await stands(transport, "/jukebox", Standing.IN_STEP)
        await near(player.now, lambda: transport.record().position, 0.2)
        await transport.play(False)
        await until(lambda: "stop it there" in app(transport, "/jukebox").reason, lambda: app(transport, "/jukebox"))


async def test_the_tempo_can_be_left_alone(tmp_path: Path) -> None:
    async with stage(tmp_path) as (desk, transport):
        player = Player("deck")
        await follow(desk, player, tempo=False)
        await transport.set_tempo(60.0)
        await transport.play()
        await until(lambda: player.playing, lambda: player.wished)
        assert player.tempo == 120.0


async def test_a_hand_on_a_follower_is_reported_and_not_fought(tmp_path: Path) -> None:
    async with stage(tmp_path) as (desk, transport):
        player = Player("deck")
        await follow(desk, player)
        await transport.play()
        await stands(transport, "/deck", Standing.IN_STEP)
        player.press(False)
        found = await stands(transport, "/deck", Standing.BY_HAND)
        assert found.reason == "/deck was stopped by hand"
        asked = len(player.wished)
        await asyncio.sleep(0.4)
        assert (len(player.wished), transport.record().playing) == (asked, True)
        player.press(True)  # and back again: it is in step once more
        await stands(transport, "/deck", Standing.IN_STEP)


@pytest.mark.usefixtures("patient")
async def test_a_hand_may_lead_all_without_an_echo(tmp_path: Path) -> None:
    async with stage(tmp_path, hands=Hands.LEAD) as (desk, transport):
        one, two = Player("deck", latency=0.05), Player("sequencer", latency=0.1)
        await follow(desk, one)
        await follow(desk, two)
        one.press(True)
        await until(lambda: transport.record().playing and two.playing, lambda: (transport.record(), two.wished))
        await stands(transport, "/sequencer", Standing.IN_STEP)
        two.press(False)
        await until(lambda: not transport.record().playing and not one.playing, lambda: one.wished)
        for player in (one, two):
            plays = [value for path, value in player.wished if path == "playing"]
            assert len(plays) == 1, player.wished
        await asyncio.sleep(0.4)
        assert not one.playing
        assert not two.playing
        assert not transport.record().playing


async def test_a_hand_may_be_overruled_but_not_for_ever(tmp_path: Path) -> None:
    async with stage(tmp_path, hands=Hands.IGNORE) as (desk, transport):
        player = Player("deck")
        await follow(desk, player)
        await transport.play()
        for _ in range(3):
            await stands(transport, "/deck", Standing.IN_STEP)
            player.press(False)
            await until(lambda: player.playing, lambda: player.wished)
        await stands(transport, "/deck", Standing.IN_STEP)
        player.press(False)
        found = await stands(transport, "/deck", Standing.DEGRADED)
        assert "again and again" in found.reason


async def test_the_timeline_follows_its_leader(tmp_path: Path) -> None:
    async with stage(tmp_path) as (desk, transport):
        leader, other = Player("deck", speed=1.002), Player("sequencer")
        leader.tempo = 128.0
        await lead(desk, transport, leader)
        await follow(desk, other)
        assert transport.record().tempo == 128.0
        leader.go(50.0)
        await until(lambda: transport.record().position == pytest.approx(50.0), transport.record)
        leader.press(True)
        await until(lambda: transport.record().playing and other.playing, transport.record)
        await until(lambda: app(transport, "/deck").samples > 30, lambda: app(transport, "/deck"))
        await near(lambda: transport.record().position, leader.now, 0.1)
        leader.go(200.0)
        await until(lambda: "jumped by" in transport.record().notice, transport.record)
        await until(lambda: abs(other.now() - leader.now()) < 0.2, lambda: (other.now(), leader.now()))
        leader.press(False)
        await until(lambda: not transport.record().playing and not other.playing, transport.record)


async def test_what_is_asked_of_the_timeline_is_asked_of_the_leader(tmp_path: Path) -> None:
    async with stage(tmp_path) as (desk, transport):
        leader = Player("deck", latency=0.05)
        await lead(desk, transport, leader)
        await transport.play()
        assert leader.playing
        assert transport.record().playing
        await transport.seek(seconds=60.0)
        assert leader.now() == pytest.approx(60.0, abs=1.0)
        await transport.set_tempo(140.0)
        assert leader.tempo == 140.0
        leader.refuses = {"playing"}
        with pytest.raises(FailedPrecondition, match="not now") as refused:
            await transport.play(False)
        assert refused.value.reason == "LEADER_REFUSED"
        leader.refuses, leader.sticks = set(), {"tempo"}
        with pytest.raises(Unavailable, match="within 2 s"):
            await transport.set_tempo(99.0)
        await desk.set("/transport/tempo", 98.0)
        await until(lambda: "leads and did not" in transport.record().notice, transport.record)
        await desk.holds("/transport/tempo", 140.0)  # it shows what is, and says why


async def test_a_leader_that_shows_its_position_alone(tmp_path: Path) -> None:
    async with stage(tmp_path) as (desk, transport):
        tape = Player("tape")
        await lead(desk, transport, tape)
        tape.go(5.0)
        tape.press(True)
        await until(lambda: transport.record().playing, transport.record)
        with pytest.raises(FailedPrecondition, match="cannot play and stop"):
            await transport.play(False)
        await until(lambda: app(transport, "/tape").samples > 10, lambda: app(transport, "/tape"))
        await near(lambda: transport.record().position, tape.now, 0.15)
        tape.press(False)
        await until(lambda: not transport.record().playing, transport.record)


async def test_a_leader_that_goes_does_not_stop_the_show_and_takes_it_back_without_a_jump(tmp_path: Path) -> None:
    async with stage(tmp_path) as (desk, transport):
        leader, other = Player("deck"), Player("sequencer")
        await lead(desk, transport, leader)
        await follow(desk, other)
        await transport.seek(seconds=20.0)
        await transport.play()
        await stands(transport, "/sequencer", Standing.IN_STEP)
        await leader.leave()
        await until(lambda: transport.record().leading == "internal", transport.record)
        assert "went away" in transport.record().notice
        assert transport.record().playing
        assert other.playing
        before = transport.record().position
        again = Player("deck")  # it comes back stopped, at the beginning
        await again.join(desk)
        await until(lambda: transport.record().leading == "/deck", lambda: app(transport, "/deck"))
        assert transport.record().playing
        assert again.playing
        assert transport.record().position > before
        assert transport.record().notice == "/deck leads"  # no jump was needed
        await near(again.now, lambda: transport.record().position, 0.25)


async def test_a_leader_that_cannot_be_moved_tells_its_jump(tmp_path: Path) -> None:
    async with stage(tmp_path) as (desk, transport):
        await transport.play()
        tape = Player("tape", sticks={"position"})
        await tape.join(desk)
        await desk.set("/transport/leader", "/tape")
        await until(lambda: app(transport, "/tape").role is Role.LEADER, lambda: app(transport, "/tape"))
        assert transport.record().leading == "internal"  # it stands, and the show goes on
        tape.go(500.0)
        tape.press(True)
        await until(lambda: transport.record().leading == "/tape", lambda: app(transport, "/tape"))
        assert "jumped by +" in transport.record().notice
        await near(lambda: transport.record().position, tape.now, 0.3)


async def test_roles_of_who_is_not_there(tmp_path: Path) -> None:
    async with stage(tmp_path) as (desk, transport):
        plain = Player("plain")
        await plain.join(desk)
        await desk.set("/transport/leader", "/plain")
        await desk.set("/transport/follows/deck", {"offset": 0.0})
        await desk.set("/transport/follows/lamp", {"offset": "x"})
        await until(lambda: len(transport.record().apps) >= 3, transport.record)
        assert "no transport" in app(transport, "/plain").reason
        assert app(transport, "/deck").standing is Standing.AWAY
        assert "offset" in app(transport, "/lamp").reason
        await transport.play()
        assert transport.record().playing
        player = Player("deck")
        await player.join(desk)
        await until(lambda: player.playing, lambda: app(transport, "/deck"))
        await desk.store.apply([Delete("/transport/follows/deck")], origin="client:test")
        await until(lambda: app(transport, "/deck").role is Role.NONE, lambda: app(transport, "/deck"))
        await until(lambda: desk.store.get("/transport/apps/deck/state") is None)


async def test_taps_and_watchers(tmp_path: Path) -> None:
    async with stage(tmp_path) as (desk, transport):
        seen: list[float] = []

        async def look() -> None:
            async for record in transport.watch(5.0):
                seen.append(record.tempo)
                if record.tempo == 100.0:
                    return

        watching = asyncio.get_running_loop().create_task(look())
        await until(lambda: seen, lambda: seen)
        for index in range(4):
            at = 1_000_000_000 * index * 6 // 10
            desk.store.publish([Set("/transport/tap", 1.0, START + at)], origin="osc:127.0.0.1")
            await asyncio.sleep(0.01)
        await bounded(watching)
        assert seen[-1] == 100.0


START = 1_900_000_000_000_000_000
"""Taps carry when they happened; only the times between them count."""


class Out:
    """Takes the beat."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, Any]] = []

    def send(self, address: str, *arguments: Any) -> None:
        self.sent.append((address.rpartition("/")[2], arguments[0]))

    def beats(self) -> list[int]:
        return [value for name, value in self.sent if name == "beat"]


async def test_the_beat_goes_out_once_per_beat(tmp_path: Path) -> None:
    out = Out()
    async with stage(tmp_path, beat_out=out) as (_, transport):
        await transport.set_tempo(600.0)
        out.sent.clear()
        await transport.play()
        assert out.sent[0] == ("playing", 1)
        await until(lambda: len(out.beats()) >= 12, lambda: out.sent)
        await transport.play(False)
        beats = out.beats()
        assert beats[:10] == list(range(10))
        assert ("playing", 0) in out.sent
        quiet = len(out.sent)
        await asyncio.sleep(0.3)
        assert len(out.sent) == quiet
