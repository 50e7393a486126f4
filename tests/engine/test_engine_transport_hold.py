"""The timeline in a panic: it stops, moves nobody, refuses what is asked, and goes on when it is released."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.support.desk import Desk, until
from tests.support.player import Player, app, stage, stands

from lightfast.context.entry import Status
from lightfast.core.errors import FailedPrecondition
from lightfast.engine.show.panic import Panic, Stopped
from lightfast.engine.transport.records import Standing


class Ears:
    """Hears the beat."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, tuple[Any, ...]]] = []

    def send(self, address: str, *arguments: Any) -> None:
        self.heard.append((address.rpartition("/")[2], arguments))


async def follow(desk: Desk, player: Player) -> None:
    await player.join(desk)
    await desk.set(f"/transport/follows{player.mount}", {"offset": 0.0, "tempo": True})


async def test_a_panic_stops_the_clock_and_moves_nobody(tmp_path: Path) -> None:
    ears = Ears()
    async with stage(tmp_path, beat_out=ears) as (desk, transport):
        player = Player("deck")
        await follow(desk, player)
        await transport.play()
        await until(lambda: player.playing, lambda: app(transport, player.mount))
        panic = Panic()
        assert panic.join("transport", transport), "the timeline takes part in a panic by itself"
        assert panic.hold(Stopped("me", 1, "a test")) == ()
        assert "a test" in transport.held
        assert not transport.record().playing
        assert ears.heard[-4] == ("playing", (0,)), "who hears the beat is told that it stopped"
        count, at = len(ears.heard), transport.record().position
        for asked in (transport.play(), transport.seek(seconds=9.0), transport.set_tempo(90.0)):
            with pytest.raises(FailedPrecondition) as refused:
                await asked
            assert refused.value.reason == "HELD"
        await desk.set("/transport/tempo", 77.0)  # what is written is refused, too, and said
        await until(lambda: "cannot take a tempo" in transport.notice, lambda: transport.notice)
        transport.step(1e9)
        assert player.playing, "an application is not written to while it is held"
        assert (len(ears.heard), transport.record().position) == (count, at)

        assert panic.release() == ()
        assert not transport.held
        await until(lambda: not player.playing, lambda: app(transport, player.mount))
        assert not transport.record().playing, "nothing plays by itself after a panic"
        await desk.status(f"{player.mount}/playing", Status.SETTLED)  # else its stop looks like that of a hand
        await stands(transport, player.mount, Standing.IN_STEP)
        await transport.play()
        await until(lambda: player.playing, lambda: app(transport, player.mount))
        await stands(transport, player.mount, Standing.IN_STEP)


async def test_a_leader_is_still_shown_and_its_followers_come_back_in_step(tmp_path: Path) -> None:
    async with stage(tmp_path) as (desk, transport):
        leader, other = Player("deck"), Player("sequencer")
        await leader.join(desk)
        await desk.set("/transport/leader", leader.mount)
        await until(lambda: transport.record().leading == leader.mount, transport.record)
        await follow(desk, other)
        transport.hold("a test")
        transport.hold("another reason")
        assert transport.held == "another reason"
        leader.press(True)
        await until(lambda: transport.record().playing, transport.record)
        assert not other.playing
        transport.release()
        transport.release()
        await until(lambda: other.playing, lambda: app(transport, other.mount))
