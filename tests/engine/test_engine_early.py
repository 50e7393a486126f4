"""Applications that come before their bridge is loaded: they get its parameters and commands all the same."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from tests.support.desk import App, bounded, hello, open_desk, until

from lightfast.context.entry import Status
from lightfast.engine.apps.kinds import Kind, Kinds
from lightfast.engine.apps.records import AppState
from lightfast.sdk import Bridge, BridgeHost, Command, Parameter


class Late(Bridge):
    """Knows of a meter, which is a signal, and of a length that is read only."""

    kind = "live"
    link = True

    def __init__(self, *more: str) -> None:
        self.more = more

    def parameters(self) -> Sequence[Parameter]:
        meter = Parameter("late/meter", kind="double", signal=True)
        return [meter, *(Parameter(name, kind="double", unit="s", access="r") for name in self.more)]

    def commands(self) -> Sequence[Command]:
        return [Command("play", "Play")]

    async def run(self, host: BridgeHost) -> None:
        raise NotImplementedError  # its applications come by themselves


async def test_one_that_comes_while_plugins_load_waits_for_its_kind(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        loaded = asyncio.Event()
        desk.registry.kinds.settled = loaded.wait  # type: ignore[assignment]
        app = App({"late/meter": 0.5, "late/length": 9.0})
        desk.join(app, hello())
        await asyncio.sleep(0)
        assert desk.registry.get("live").state is AppState.CONNECTING
        desk.registry.add_kind(Late("late/length"))
        await bounded(app.joined.live.wait())
        assert not loaded.is_set()
        await until(lambda: desk.store.get("/live/late/length") is not None)
        meter = desk.store.declaration("/live/late/meter")
        assert meter is not None
        assert meter.signal
        assert [command.name for command in desk.registry.commands("live")] == ["evaluate", "play", "render"]


async def test_one_of_a_kind_that_never_comes_waits_until_all_are_loaded_and_no_longer(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        loaded = asyncio.Event()
        desk.registry.kinds.settled = loaded.wait  # type: ignore[assignment]
        app = App({"song/tempo": 120.0})
        desk.join(app, hello())
        loaded.set()
        await bounded(app.joined.live.wait())
        await desk.set("/live/song/tempo", 97.0)
        assert (await desk.status("/live/song/tempo", Status.SETTLED)).value == 97.0


async def test_the_wait_for_a_kind_is_bounded() -> None:
    kinds = Kinds()
    kinds.settled = asyncio.Event().wait  # type: ignore[assignment]
    assert await bounded(kinds.arrive("live", seconds=0.01)) == Kind()


async def test_one_that_is_joined_learns_what_a_plugin_loaded_later_knows(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app, other = App({"song/tempo": 120.0}), App({"song/tempo": 120.0})
        await desk.live(app, hello())
        await desk.live(other, hello("i2", kind="other"))
        desk.registry.add_kind(Late("late/length"))
        await until(lambda: desk.store.declaration("/live/late/length") is not None)
        declared = desk.store.declaration("/live/song/tempo")
        assert declared is not None, "what the hello said was forgotten"
        assert declared.unit == "bpm"
        assert "play" in app.joined.commands
        assert desk.store.declaration("/other/late/length") is None
        assert "play" not in other.joined.commands

        desk.registry.remove_kind("live")  # the plugin is saved anew, and knows less
        desk.registry.add_kind(Late())
        await until(lambda: desk.store.declaration("/live/late/length") is None)
        assert desk.store.declaration("/live/late/meter") is not None


async def test_what_an_application_said_itself_holds_against_its_bridge(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = App({"song/tempo": 120.0})
        await desk.live(app, hello())
        app.joined.declare([Parameter("song/tempo", kind="double", maximum=200.0)])
        await until(lambda: desk.store.declaration("/live/song/name") is None)
        desk.registry.add_kind(Late())
        declared = desk.store.declaration("/live/song/tempo")
        assert declared is not None
        assert declared.maximum == 200.0
        assert "play" in app.joined.commands
