"""The link over TCP: real sockets, both halves."""

from __future__ import annotations

from pathlib import Path

from tests.support.link import App, MemoryAssets, RecordingRegistry, eventually, link_server, tcp_door

from lightfast import sdk
from lightfast_link.messages import Change


async def test_an_application_joins_reports_and_is_in_step() -> None:
    registry = RecordingRegistry()
    async with link_server(registry) as server, tcp_door(server) as (_, host, port):
        with App.tcp(host, port) as app:
            welcome = (await app.until("welcome"))[1]
            assert welcome["mount"] == "/blender"
            assert (welcome["store_id"], welcome["revision"], welcome["version"]) == ("store-1", 7, 1)
            app.client.report([Change("objects/Cube/location", (1.0, 2.0, 3.0), object_id="7")])
            app.client.synced()
            session = registry.sessions[0]
            await eventually(lambda: session.synced_count)
            assert session.changes == [sdk.Change("objects/Cube/location", (1.0, 2.0, 3.0), 0, "7")]
            assert session.hello.parameters == (sdk.Parameter("objects/*/location", "vector", unit="m"),)
            assert session.hello.commands[0].arguments == (sdk.Argument("path", "string"),)
            await app.aclose()
        await eventually(lambda: session.lost_reasons == ["the application closed the link"])


async def test_wishes_are_answered_and_signals_are_not() -> None:
    registry = RecordingRegistry()
    async with link_server(registry) as server, tcp_door(server) as (_, host, port):
        with App.tcp(host, port) as app:
            await app.until("welcome")
            session = registry.sessions[0]
            session.channel.apply(
                [sdk.Wish(41, "scene/frame", 5, 9), sdk.Wish(42, "gone", None, 10), sdk.Wish(0, "x", 1.5, 0, True)]
            )
            wishes = (await app.until("apply"))[1]
            assert [(w.path, w.value, w.revision, w.signal) for w in wishes] == [
                ("scene/frame", 5, 9, False),
                ("gone", None, 10, False),
                ("x", 1.5, 0, True),
            ]
            app.client.settled(wishes[0].id, 5)
            app.client.rejected(wishes[1].id, "it is needed")
            app.client.settled(wishes[2].id)
            await eventually(lambda: session.settled and session.rejected)
            assert session.settled == [(41, 5)]
            assert session.rejected == [(42, "it is needed")]


async def test_commands_progress_and_end() -> None:
    registry = RecordingRegistry()
    async with link_server(registry) as server, tcp_door(server) as (_, host, port):
        with App.tcp(host, port) as app:
            await app.until("welcome")
            session = registry.sessions[0]
            session.channel.invoke(sdk.Call(1, "render", {"path": "a.png", "size": (2.0, 3.0)}, 30.0))
            session.channel.invoke(sdk.Call(2, "save"))
            session.channel.invoke(sdk.Call(3, "open"))
            await app.until("command", 3)
            calls = [event[1] for event in app.events if event[0] == "command"]
            assert calls[0].arguments == {"path": "a.png", "size": (2.0, 3.0)}
            assert calls[0].timeout == 30.0
            app.client.progress(calls[0].id, -1, "rendering")
            app.client.progress(calls[0].id, 0.5, "half")
            app.client.progress(calls[0].id, float("nan"))
            app.client.progress(calls[0].id, 7.0)
            app.client.result(calls[0].id, {"done": [True]})
            app.client.error(calls[1].id, "the disk is full")
            session.channel.cancel(3)
            assert (await app.until("cancel"))[1] == calls[2].id
            await eventually(lambda: session.results and session.failed)
            assert session.progressed == [(1, -1.0, "rendering"), (1, 0.5, "half"), (1, -1.0, ""), (1, 1.0, "")]
            assert session.results == [(1, {"done": [True]})]
            assert session.failed == [(2, "the disk is full")]


async def test_assets_go_both_ways(tmp_path: Path) -> None:
    registry, assets = RecordingRegistry(), MemoryAssets()
    data = bytes(range(256)) * 8000
    source, target = tmp_path / "in.bin", tmp_path / "out.bin"
    source.write_bytes(data)
    async with link_server(registry, assets=assets) as server, tcp_door(server) as (_, host, port):
        with App.tcp(host, port) as app:
            number = app.client.put_asset(str(source), "in.bin", "image/png")
            _kind, transfer, asset = await app.until("stored")
            assert (transfer, asset.size, asset.media_type) == (number, len(data), "image/png")
            assert assets.stored[asset.sha256][1] == data
            assert assets.origins == ["app:blender"]
            app.client.get_asset(asset.sha256, str(target))
            assert (await app.until("asset"))[2:] == (asset, None)
            assert target.read_bytes() == data
            app.client.get_asset(asset.sha256)
            assert (await app.until("asset", 2))[3] == data
            app.client.get_asset("0" * 64)
            assert "there is no asset" in (await app.until("asset_failed"))[2]
            app.client.put_asset(str(tmp_path / "absent"), "x", "x/x")
            assert "No such file" in (await app.until("asset_failed", 2))[2]
