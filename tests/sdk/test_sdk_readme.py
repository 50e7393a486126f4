"""The examples of plugins/README.md: taken out of the text, dropped into the folder, and put to work."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
from tests.support.gateway import house
from tests.support.plugins import NotingSink, record_of

from lightfast.gateway.calls import GenerateCall
from lightfast.host.plugins import PluginHost
from lightfast.host.records import PluginState
from lightfast.sdk import ContextChange, Provider, Simulator
from lightfast.sdk.osc import decode, encode
from lightfast.sdk.testing import check_bridge, check_embedder, check_operation, check_provider
from lightfast_link.value import Asset

README = Path(__file__).parents[2] / "plugins" / "README.md"
EXAMPLE = re.compile(r"<!-- try: (\w+\.py) -->\n```python\n(.*?)```", re.DOTALL)


def examples() -> dict[str, str]:
    found = dict(EXAMPLE.findall(README.read_text(encoding="utf-8")))
    assert sorted(found) == ["chart.py", "fade.py", "knob.py", "tones.py"]
    return found


async def dropped(folder: Path, name: str, config: dict[str, dict[str, object]]) -> tuple[PluginHost, NotingSink]:
    (folder / name).write_text(examples()[name])
    sink = NotingSink()
    host = PluginHost(config, folder, sink=sink, found=())
    await host.start()
    await host.settled()
    record = record_of(host, name.removesuffix(".py"))
    assert record.state is PluginState.READY, record.reason
    return host, sink


def test_the_provider_is_short() -> None:
    assert examples()["chart.py"].count("\n") <= 120


@pytest.mark.parametrize("isolated", [False, True])
async def test_the_provider_generates_through_the_daemon(tmp_path: Path, isolated: bool) -> None:
    folder = tmp_path / "plugins"
    folder.mkdir()
    host, sink = await dropped(folder, "chart.py", {"chart": {"title": "Mine", "isolated": isolated}})
    async with house(tmp_path) as rooms:
        rooms.gateway.register(sink.providers["chart"], "chart", sink.models["chart"])
        call = GenerateCall("chart/bars", prompt="3 1 4", settings={"palette": "cold"}, seed=5, target_path="/chart")
        assets = [
            step.kind async for step in rooms.gateway.generate(call, "client:test") if isinstance(step.kind, Asset)
        ]
        content = b"".join([part async for part in rooms.blobs.read(assets[0].sha256, 0, assets[0].size)])
        assert content.startswith(b'<svg xmlns="http://www.w3.org/2000/svg" width="640"')
        assert content.count(b"<rect") == 3
        assert b"<title>Mine</title>" in content
        entry = rooms.store.get("/chart")
        assert entry is not None
        assert entry.value == assets[0]
    await host.close()


async def test_the_provider_keeps_the_contract(tmp_path: Path) -> None:
    host, sink = await dropped(tmp_path, "chart.py", {})
    provider: Provider = sink.providers["chart"]
    steps = await check_provider(provider, prompts={"bars": "3 1 4"}, most_blocked=60.0)
    assert sorted(steps) == ["bars"]
    await host.close()


class KnobSimulator(Simulator):
    """The synthesizer of the example: answers with what it holds."""

    name = "knob"
    description = "a simulator of One Knob"
    default_listen = ("127.0.0.1", 7000)

    async def run(self, listen: tuple[str, int], reply_port: int, ready: Callable[[tuple[str, int]], None]) -> None:
        value = 440.0

        class Protocol(asyncio.DatagramProtocol):
            transport: asyncio.DatagramTransport

            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                self.transport = cast("asyncio.DatagramTransport", transport)

            def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
                nonlocal value
                for message in decode(data):
                    if message.address == "/cutoff":
                        value = float(message.args[0])
                    elif message.address == "/cutoff/get":
                        self.transport.sendto(encode("/cutoff", value), address)

        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Protocol, local_addr=listen)
        try:
            ready(transport.get_extra_info("sockname")[:2])
            await asyncio.get_running_loop().create_future()
        finally:
            transport.close()


async def test_the_bridge_keeps_the_contract(tmp_path: Path) -> None:
    host, sink = await dropped(tmp_path, "knob.py", {})
    session = await check_bridge(
        sink.bridges["knob"],
        config={"port": 9},
        simulator=KnobSimulator(),
        configure=lambda address, _: {"port": address[1]},
        wish=("filter/cutoff", 880.0),
    )
    assert session is not None
    assert session.values == {"filter/cutoff": 880.0}
    await host.close()


async def test_the_embedder_keeps_the_contract(tmp_path: Path) -> None:
    host, sink = await dropped(tmp_path, "tones.py", {})
    try:
        tones = sink.embedders["tones"]
        one, other, far = tones.embed(["C E G", "G, then E and C", "F# A#"])
        assert one == other
        assert one != far
        check_embedder(tones, ["a chord of C E G", "D", "no note at all", "F#"])
    finally:
        await host.close()
    assert sink.embedders == {}


async def test_the_operation_keeps_the_contract(tmp_path: Path) -> None:
    host, sink = await dropped(tmp_path, "fade.py", {})
    try:
        (fade,) = sink.operations.values()
        path = "/lights/front/level"
        (outcome,) = await check_operation(fade, [{"light": "front", "level": 0.5}], values={path: 0.25})
        assert outcome.value == 0.25
        assert outcome.changes == (ContextChange("set", path, 0.5),)
    finally:
        await host.close()
    assert sink.operations == {}
