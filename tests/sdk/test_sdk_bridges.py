"""The bridges that come with Lightfast keep the contract, against their simulators where they have one."""

from __future__ import annotations

import socket

import pytest

from lightfast.host.plugins import PluginHost
from lightfast.sdk.testing import check_bridge

SHIPPED = PluginHost({})
SHIPPED.load_all()


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("bridge", SHIPPED.bridges(), ids=lambda bridge: bridge.kind)
async def test_it_keeps_its_shape_and_bears_absence(bridge: object) -> None:
    found = next(each for each in SHIPPED.bridges() if each is bridge)
    config = {} if found.link else {"remote": f"127.0.0.1:{free_port()}", "reply_port": free_port()}
    await check_bridge(found, config=config)


async def test_ableton_joins_its_simulator() -> None:
    bridge = next(each for each in SHIPPED.bridges() if each.kind == "ableton")
    simulator = next(each for each in SHIPPED.simulators() if each.name == "ableton")
    session = await check_bridge(
        bridge,
        config={"remote": f"127.0.0.1:{free_port()}", "reply_port": free_port()},
        simulator=simulator,
        configure=lambda address, reply: {"remote": f"{address[0]}:{address[1]}", "reply_port": reply},
        reply_port=free_port(),
        wish=("song/tempo", 97.5),
    )
    assert session is not None
    assert session.settled[7] in (None, pytest.approx(97.5))
    assert len(session.values) > 10
