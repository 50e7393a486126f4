"""Bridges' OSC sockets, and the second decoder."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs
from tests.support.osc_live import until
from tests.support.ports import free_port

from lightfast.core.errors import InvalidArgument
from lightfast.core.osc import OscError, decode_timed
from lightfast.core.osc_build import encode
from lightfast.sdk import BridgeError
from lightfast.wire.osc.decoders import decode_with_python_osc, decoder_named
from lightfast.wire.osc.port import OscPort
from lightfast.wire.osc.socket import UdpSocket


def udp() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    sock.settimeout(5)
    return sock


@pytest.mark.parametrize("decoder", ["lightfast", "python-osc"])
async def test_messages_out_and_in(decoder: str) -> None:
    peer = udp()
    heard: list[Any] = []
    port = OscPort(decoder)
    sender = await port.open_osc(peer.getsockname(), ("127.0.0.1", 0), heard.extend)
    sender.send("/live/track/set/volume", 2, 0.5)
    data, source = await asyncio.to_thread(peer.recvfrom, 1000)
    assert source == sender.address
    assert decode_timed(data)[0][1] == ("/live/track/set/volume", "if", (2, 0.5))
    peer.sendto(encode("/live/track/get/mute", 2, False), sender.address)
    peer.sendto(b"garbage", sender.address)
    peer.sendto(encode("/live/test", "ok"), sender.address)
    await until(lambda: len(heard) == 2)
    assert heard == [("/live/track/get/mute", "iF", (2, False)), ("/live/test", "s", ("ok",))]
    assert port.stats()[0]["malformed"] == 1
    assert port.stats()[0]["sent"] == 1
    port.close()
    assert port.stats() == []
    peer.close()


async def test_a_wake_up_is_one_batch() -> None:
    peer = udp()
    batches: list[int] = []
    port = OscPort()
    sender = await port.open_osc(peer.getsockname(), ("127.0.0.1", 0), lambda batch: batches.append(len(batch)))
    for number in range(100):
        peer.sendto(encode("/a", number), sender.address)
    await until(lambda: sum(batches) == 100)
    assert len(batches) == 1
    port.close()
    peer.close()


async def test_other_hosts_are_not_heard() -> None:
    peer, other = udp(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    other.bind(("127.0.0.2", 0))
    heard: list[Any] = []
    port = OscPort()
    sender = await port.open_osc(peer.getsockname(), ("127.0.0.1", 0), heard.extend)
    other.sendto(encode("/evil", 1), sender.address)
    peer.sendto(encode("/good", 1), sender.address)
    await until(lambda: heard)
    assert heard == [("/good", "i", (1,))]
    assert sender.foreign == 1
    port.close()
    peer.close()
    other.close()


async def test_errors_are_the_bridge_s() -> None:
    port = OscPort()
    local = free_port()
    first = await port.open_osc(("localhost", 9), ("127.0.0.1", local), lambda _: None)
    with pytest.raises(BridgeError, match=f"{local} is taken by"):
        await port.open_osc(("127.0.0.1", 9), ("127.0.0.1", local), lambda _: None)
    with pytest.raises(BridgeError, match="cannot listen on UDP 203"):
        await port.open_osc(("127.0.0.1", 9), ("203.0.113.1", 0), lambda _: None)
    with pytest.raises(BridgeError, match="is not known"):
        await port.open_osc(("no-such-host.invalid", 9), ("127.0.0.1", 0), lambda _: None)
    with pytest.raises(BridgeError, match="NUL"):
        first.send("/a", "x\0y")
    first.close()
    again = await port.open_osc(("127.0.0.1", 9), ("127.0.0.1", local), lambda _: None)
    again.close()
    again.close()


def test_unknown_decoder_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="use one of lightfast, python-osc"):
        OscPort("liblo")


# ---------------------------------------------------------------------- the second decoder

_ARGUMENT = st.one_of(
    st.integers(-(1 << 63), (1 << 63) - 1),
    st.floats(width=32, allow_nan=False),
    st.floats(allow_nan=False).map(lambda value: ("d", value)),
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=9),
    st.binary(min_size=1, max_size=9),
    st.booleans(),
    st.none(),
    st.lists(st.integers(0, 9), min_size=1, max_size=3),
)


@given(st.lists(st.lists(_ARGUMENT, max_size=5), min_size=1, max_size=4), st.integers(0, (1 << 64) - 1), st.booleans())
@settings(max_examples=200, deadline=None)
def test_both_decoders_agree_on_legal_traffic(messages: list[list[Any]], time: int, nested: bool) -> None:
    single = encode("/a", *messages[0])
    assert decode_with_python_osc(single) == decode_timed(single)
    elements = [encode(f"/a/{index}", *one) for index, one in enumerate(messages)]
    bundle = b"#bundle\0" + struct.pack(">Q", time)
    bundle += b"".join(struct.pack(">i", len(one)) + one for one in elements)
    if nested:
        bundle = b"#bundle\0" + struct.pack(">Qi", 1, len(bundle)) + bundle
    assert decode_with_python_osc(bundle) == decode_timed(bundle)


@given(st.integers(0, (1 << 64) - 1))
def test_both_decoders_agree_on_time_tags(tag: int) -> None:
    datagram = b"/a\0\0,t\0\0" + struct.pack(">Q", tag)
    assert decode_with_python_osc(datagram) == decode_timed(datagram)


@pytest.mark.parametrize(
    "datagram",
    [
        b"#reply\0\0,\0\0\0",
        b"/a\0\0,ci\0\0\0\0A\0\0\0\7",
        b"/a\0\0,I\0\0",
        b"/a\0\0,s\0\0gr\xfc\0",
        b"/a\0\0,z\0\0",
        b"/a\0\0,[\0\0",
        b"#bundle\0" + struct.pack(">Qi", 1, -4),  # python-osc alone would never return
        b"#bundle\0\0",
        b"/a\0\0," + b"[" * 5000 + b"]" * 5000 + b"\0" * 3,
        b"",
    ],
)
def test_what_python_osc_cannot_read_is_an_error_and_no_more(datagram: bytes) -> None:
    with pytest.raises(OscError):
        decode_with_python_osc(datagram)


@given(st.binary(max_size=120), st.sampled_from([b"", b"/a\0\0,", b"#bundle\0\0\0\0\0\0\0\0\1\0\0\0\x08"]))
@settings(max_examples=400, deadline=None)
def test_random_bytes_are_contained(data: bytes, head: bytes) -> None:
    for name in ("lightfast", "python-osc"):
        try:
            decoder_named(name)(head + data)
        except OscError:
            continue


async def test_what_cannot_be_sent_is_logged_once_until_it_can() -> None:
    """A bridge asks again every second or two: with the network down, that is not a line each."""
    opened = await UdpSocket.open(("127.0.0.1", 0), lambda _: None)
    remote = ("127.0.0.1", opened.address[1])
    try:
        with capture_logs() as logs:
            for _ in range(5):
                assert not opened.send(bytes(70_000), remote)
            assert opened.send(b"/x\0\0,\0\0\0", remote)
            assert not opened.send(bytes(70_000), remote)
    finally:
        opened.close()
    assert [line["event"] for line in logs] == ["osc message not sent"] * 2
    assert opened.counts.dropped_sending == 6
