"""Bridges under supervision: started, started again, contained, and let go."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.desk import App, bounded, hello, open_desk, until

from lightfast.context.entry import Status
from lightfast.engine.apps.bridges import BridgeRunner
from lightfast.engine.apps.records import AppState
from lightfast.sdk import Bridge, BridgeError, BridgeHost, Command, OscMessage, OscSender, OscServer, Parameter


class Sender:
    """An OSC socket that only remembers."""

    def __init__(self, remote: tuple[str, int]) -> None:
        self.address = remote
        self.closed = False

    def send(self, address: str, *arguments: Any) -> None:
        raise NotImplementedError

    def close(self) -> None:
        self.closed = True


class Port:
    """Where the test's bridges get their sockets from."""

    def __init__(self) -> None:
        self.senders: list[Sender] = []

    async def open(
        self, remote: tuple[str, int], local: tuple[str, int], receive: Callable[[list[OscMessage]], None]
    ) -> OscSender:
        self.senders.append(Sender(remote))
        return self.senders[-1]

    async def serve(self, local: tuple[str, int], receive: Any) -> OscServer:
        raise NotImplementedError


class Scripted(Bridge):
    """A bridge that does what it is told each time it is run."""

    kind = "live"

    def __init__(self, *acts: Callable[[BridgeHost], Any], link: bool = False) -> None:
        self.acts = list(acts)
        self.link = link
        self.runs = 0
        self.waiting = asyncio.Event()
        self.cancelled = False

    def parameters(self) -> tuple[Parameter, ...]:
        return (Parameter("known/before", kind="int"),)

    def commands(self) -> tuple[Command, ...]:
        return (Command("play", "Play"),)

    async def run(self, host: BridgeHost) -> None:
        self.runs += 1
        if self.acts:
            await self.acts.pop(0)(host)
            return
        self.waiting.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise


async def test_a_bridge_joins_its_application_and_is_stopped(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        port = Port()
        app = App({"song/tempo": 120.0})

        async def act(host: BridgeHost) -> None:
            assert host.config == {"port": 11000}
            await host.open_osc(("127.0.0.1", 11000), ("127.0.0.1", 0), lambda _: None)
            host.absent("nobody answers yet")
            await host.sleep(0)
            app.session = host.hello(hello(), app)  # type: ignore[assignment]
            app.report_all()
            await asyncio.Event().wait()

        runner = BridgeRunner(desk.registry, port, first_pause=0.01)
        runner.add(Scripted(act), {"port": 11000})
        await until(lambda: app.session is not None and app.joined.live.is_set())
        assert [command.name for command in desk.registry.commands("live")] == ["evaluate", "play", "render"]
        assert desk.store.declaration("/live/known/before") is not None
        await bounded(runner.remove("live"))
        assert port.senders[0].closed
        record = desk.registry.get("live")
        assert (record.state, record.state_reason) == (AppState.GONE, "the daemon is stopping")
        await runner.close()


async def test_a_bridge_that_fails_is_started_again_and_its_application_is_lost(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = App({"song/tempo": 120.0})

        async def join_and_raise(host: BridgeHost) -> None:
            await app_joins(host)
            raise ValueError("a bug")

        async def app_joins(host: BridgeHost) -> None:
            app.session = host.hello(hello(), app)  # type: ignore[assignment]
            app.report_all()
            await bounded(app.joined.live.wait())

        async def refuse(host: BridgeHost) -> None:
            raise BridgeError("port 11001 is taken by python (pid 4)")

        async def leave(host: BridgeHost) -> None:
            raise SystemExit(3)

        async def return_(host: BridgeHost) -> None:
            return

        bridge = Scripted(join_and_raise, refuse, leave, return_)
        runner = BridgeRunner(desk.registry, Port(), first_pause=0.01)
        seen: list[str] = []
        runner.add(bridge)

        def watch() -> bool:
            reason = runner.failures.get("live", "")
            if reason and reason not in seen:
                seen.append(reason)
            return bridge.waiting.is_set()

        await until(watch)
        assert bridge.runs == 5
        assert seen[-1] == "the bridge ended by itself"
        assert "the bridge called sys.exit(3)" in seen
        assert "port 11001 is taken by python (pid 4)" in seen
        assert app.joined.closing == "the bridge failed: ValueError: a bug"
        await runner.close()
        assert bridge.cancelled


async def test_one_that_says_hello_twice_has_one_session_and_one_mount(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        first, second = App({"song/tempo": 120.0}), App({"song/tempo": 90.0})

        async def twice(host: BridgeHost) -> None:
            for app in (first, second):
                app.session = host.hello(hello(), app)  # type: ignore[assignment]
                app.report_all()
            await asyncio.Event().wait()

        async def interrupt(host: BridgeHost) -> None:
            raise KeyboardInterrupt

        runner = BridgeRunner(desk.registry, Port(), first_pause=0.01)
        runner.add(Scripted(interrupt, twice))
        await until(lambda: second.session is not None and second.joined.live.is_set())
        assert first.closed == "i1 said hello again"
        assert [record.mount for record in desk.registry.list()] == ["/live"]
        first.joined.report([])
        second.turn("song/tempo", 91.0)
        await desk.holds("/live/song/tempo", 91.0)
        await desk.set("/live/song/tempo", 92.0)
        await until(lambda: second.values["song/tempo"] == 92.0)
        assert first.wishes == []
        await runner.close()


async def test_a_channel_that_raises_costs_its_wishes_only(tmp_path: Path) -> None:
    async with open_desk(tmp_path, {"live": {"wish_timeout_s": 0.05}}) as desk:
        app, other = App({"song/tempo": 120.0}), App({"song/tempo": 120.0})
        await desk.live(app, hello())
        await desk.live(other, hello("i2", "b", kind="other"))

        def broken(*_: object) -> None:
            raise RuntimeError("a bug")

        app.apply = broken  # type: ignore[assignment,method-assign]
        await desk.set("/live/song/tempo", 90.0)
        await desk.set("/other/song/tempo", 90.0)
        await until(lambda: other.values["song/tempo"] == 90.0)
        entry = await desk.status("/live/song/tempo", Status.REJECTED)
        assert "no answer within" in entry.status_reason


async def test_a_bridge_whose_applications_come_by_themselves_is_not_run(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        bridge = Scripted(link=True)
        runner = BridgeRunner(desk.registry, Port())
        runner.add(bridge)
        await desk.live(App({}), hello())
        assert bridge.runs == 0
        assert desk.store.declaration("/live/known/before") is not None
        await runner.close()


async def test_each_instance_runs_on_its_own(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        seen: list[dict[str, Any]] = []

        async def look(host: BridgeHost) -> None:
            seen.append(dict(host.config))
            host.absent("nobody answers")
            await asyncio.Event().wait()

        runner = BridgeRunner(desk.registry, Port(), first_pause=0.01)
        runner.add(Scripted(look, look), {"host": "x", "instances": [{"name": "foh", "port": 1}, {"name": "side"}]})
        await until(lambda: len(seen) == 2)
        assert seen == [{"host": "x", "name": "foh", "port": 1}, {"host": "x", "name": "side"}]
        assert [(app.mount, app.state) for app in desk.registry.list()] == [
            ("/foh", AppState.ABSENT),
            ("/side", AppState.ABSENT),
        ]
        await runner.close()


async def test_instances_that_cannot_be_told_apart_are_refused(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        runner = BridgeRunner(desk.registry, Port(), first_pause=0.01)
        bridge = Scripted()
        for given, told in (
            ([{"name": "foh"}, {"name": "foh"}], "two of the instances are named 'foh'"),
            ([{"port": 1}], "None is none"),
            ("foh", "must be a list of tables"),
        ):
            runner.add(bridge, {"instances": given})
            assert told in runner.failures["live"]
            assert told in desk.registry.get("live").state_reason
        assert bridge.runs == 0
        await runner.close()


async def test_the_names_of_instances_may_be_any_text(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = App({"song/tempo": 120.0})

        async def join(host: BridgeHost) -> None:
            host.absent("nobody answers")
            app.session = host.hello(hello(name=str(host.config["name"])), app)  # type: ignore[assignment]
            app.report_all()
            await asyncio.Event().wait()

        runner = BridgeRunner(desk.registry, Port(), first_pause=0.01)
        runner.add(Scripted(join), {"instances": [{"name": "front of house"}]})
        await until(lambda: app.session is not None and app.joined.live.is_set())
        (record,) = desk.registry.list()
        assert (record.mount, record.state) == ("/front%20of%20house", AppState.LIVE)
        await runner.close()


async def test_an_instance_that_never_came_goes_with_its_bridge(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = App({"song/tempo": 120.0})

        async def look(host: BridgeHost) -> None:
            if host.config["name"] == "foh":
                app.session = host.hello(hello(name="foh"), app)  # type: ignore[assignment]
                app.report_all()
            else:
                host.absent("nobody answers")
            await asyncio.Event().wait()

        runner = BridgeRunner(desk.registry, Port(), first_pause=0.01)
        runner.add(Scripted(look, look), {"instances": [{"name": "foh"}, {"name": "side"}]})
        await until(lambda: app.session is not None and app.joined.live.is_set())
        await desk.holds("/lightfast/apps/side/state", "absent")
        await bounded(runner.remove("live"))
        await bounded(app.joined.ended.wait())
        (record,) = desk.registry.list()
        assert (record.mount, record.state) == ("/foh", AppState.GONE)
        await desk.holds("/lightfast/apps/side/state", None)
        assert runner.failures == {}
        await runner.close()


async def test_the_same_name_for_two_kinds_is_two_mounts(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        await desk.live(App({"song/tempo": 120.0}), hello(kind="ardour", name="foh"))
        desk.registry.absent("reaper", "nobody answers", "foh")
        desk.registry.absent("reaper", "still nobody", "foh")
        assert [(app.mount, app.kind, app.state) for app in desk.registry.list()] == [
            ("/foh", "ardour", AppState.LIVE),
            ("/foh-2", "reaper", AppState.ABSENT),
        ]
        assert desk.registry.get("/foh-2").state_reason == "still nobody"
        await desk.live(App({"song/tempo": 1.0}), hello("i2", "b", kind="reaper", name="foh"))
        assert desk.registry.get("/foh-2").state is AppState.LIVE


async def test_an_application_of_another_machine_is_known_as_such(tmp_path: Path) -> None:
    for remote, expected in (("127.0.0.1", False), ("192.0.2.7", True)):

        async def act(host: BridgeHost, remote: str = remote) -> None:
            await host.open_osc((remote, 9000), ("127.0.0.1", 0), lambda _: None)
            app = App()
            app.session = host.hello(hello(), app)  # type: ignore[assignment]
            app.report_all()
            await asyncio.Event().wait()

        folder = tmp_path / remote
        folder.mkdir()
        async with open_desk(folder) as desk:
            runner = BridgeRunner(desk.registry, Port(), first_pause=0.01)
            runner.add(Scripted(act), {})
            await until(desk.registry.list)
            assert ("remote" in desk.registry.session("/live").hello.capabilities) is expected
            await runner.close()
