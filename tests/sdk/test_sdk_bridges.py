"""The bridges that come with Lightfast keep the contract, against their simulators where they have one."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.support.ports import free_port

from lightfast.host.plugins import PluginHost
from lightfast.sdk import Bridge
from lightfast.sdk.testing import check_bridge

SHIPPED = PluginHost({})
SHIPPED.load_all()


def nobody(kind: socket.SocketKind = socket.SOCK_DGRAM) -> str:
    """Return an address of this machine that nobody listens on."""
    return f"127.0.0.1:{free_port(kind)}"


def osc_pair(_: Path) -> Mapping[str, Any]:
    return {"remote": nobody(), "reply_port": free_port()}


ABSENT: Mapping[str, Callable[[Path], Mapping[str, Any]]] = {
    "ableton": osc_pair,
    "abletonlink": lambda _: {},  # it joins nobody until join = true
    "ardour": osc_pair,
    "hydrogen": lambda _: {"remote": nobody()},
    "mcp": lambda _: {"name": "nobody", "url": f"http://{nobody(socket.SOCK_STREAM)}/mcp"},
    "midi": lambda _: {},  # it opens no port until one is named
    "obs": lambda _: {"url": f"ws://{nobody(socket.SOCK_STREAM)}"},
    "osc": lambda folder: {"folder": str(folder)},
    "oscquery": lambda _: {"server": f"http://{nobody(socket.SOCK_STREAM)}"},
    "puredata": lambda _: {"listen": nobody()},
    "reaper": osc_pair,
    "supercollider": lambda _: {"remote": nobody()},
}
"""For each bridge that runs by itself, the table with which it finds nobody, and disturbs nobody."""


def test_every_bridge_that_runs_has_a_table() -> None:
    running = {bridge.kind for bridge in SHIPPED.bridges() if not bridge.link}
    assert running <= set(ABSENT), f"no table leads to nowhere for {running - set(ABSENT)}"


@pytest.mark.parametrize("bridge", SHIPPED.bridges(), ids=lambda bridge: bridge.kind)
async def test_it_keeps_its_shape_and_bears_absence(bridge: Bridge, tmp_path: Path) -> None:
    found = next(each for each in SHIPPED.bridges() if each is bridge)
    await check_bridge(found, config={} if found.link else ABSENT[found.kind](tmp_path))


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
