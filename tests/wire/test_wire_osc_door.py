"""The OSC door over real UDP: what gets in, what is refused, and under which count."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Any

import pytest
from tests.support.osc_live import until

from lightfast.context.entry import Declaration, Entry, Mutation, Set
from lightfast.context.records import Published
from lightfast.core.clock import SYSTEM, StillClock
from lightfast.core.errors import Exhausted, FailedPrecondition, InvalidArgument, NotFound
from lightfast.core.osc_build import encode
from lightfast.wire.osc.admission import Buckets, Sources
from lightfast.wire.osc.door import MAX_DATAGRAM, OscDoor
from lightfast.wire.osc.socket import UdpSocket
from lightfast_link.path import compile_pattern, is_under


class FakeStore:
    """Declares, publishes and commits; `hold` keeps commits waiting."""

    def __init__(self, *declarations: Declaration) -> None:
        self.declarations = declarations
        self.published: list[tuple[str, Set]] = []
        self.commits: list[tuple[str, list[Set]]] = []
        self.hold = asyncio.Event()
        self.hold.set()
        self.fail: Exception | None = None
        self.bad: set[str] = set()

    def declaration(self, path: str) -> Declaration | None:
        return next((one for one in self.declarations if compile_pattern(one.pattern).matches(path)), None)

    def mount_of(self, path: str) -> str:
        return "/app" if is_under(path, "/app") else ""

    def get(self, path: str) -> Entry | None:
        return None

    def publish(self, mutations: Sequence[Mutation], *, origin: str) -> Published:
        self.published += [(origin, one) for one in mutations if isinstance(one, Set)]
        return Published(len(mutations), 0)

    async def apply(self, mutations: Sequence[Mutation], *, origin: str) -> None:
        await self.hold.wait()
        writes = [one for one in mutations if isinstance(one, Set)]
        if self.fail is not None:
            raise self.fail
        if bad := [one.path for one in writes if one.path in self.bad]:
            raise NotFound(f"no {bad[0]}")
        self.commits.append((origin, writes))

    @property
    def written(self) -> dict[str, Any]:
        return {one.path: one.value for _, writes in self.commits for one in writes}


class Client:
    """Sends datagrams to the door from a real socket."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._to = (host, int(port))
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def send(self, address: str, *arguments: Any) -> None:
        self.raw(encode(address, *arguments))

    def raw(self, data: bytes) -> None:
        self._socket.sendto(data, self._to)

    def close(self) -> None:
        self._socket.close()


@contextlib.asynccontextmanager
async def opened(store: FakeStore, **options: Any) -> AsyncIterator[tuple[OscDoor, Client]]:
    options.setdefault("grants", ["/osc//", "/app//"])
    door = OscDoor(store, listen="127.0.0.1:0", **options)
    client = Client(await door.start())
    try:
        yield door, client
    finally:
        client.close()
        await door.stop()


async def test_arguments_become_values() -> None:
    store = FakeStore()
    async with opened(store) as (_, client):
        client.send("/osc/scalar", 0.5)
        client.send("/osc/int", 7)
        client.send("/osc/big", 1 << 40)
        client.send("/osc/text", "grün")
        client.send("/osc/flag", True)
        client.send("/osc/blob", b"\1\2")
        client.send("/osc/vector", 1, 2.5, ("d", 0.1))
        client.send("/osc/list", 1, "x", True)
        client.send("/osc/array", [1.0, 2.0])
        client.send("/osc/midi", ("m", (0, 144, 60, 100)))
        client.send("/osc/caf%C3%A9", 1)
        await until(lambda: len(store.written) == 11)
        assert store.written == {
            "/osc/scalar": 0.5, "/osc/int": 7, "/osc/big": 1 << 40, "/osc/text": "grün", "/osc/flag": True,
            "/osc/blob": b"\1\2", "/osc/vector": (1.0, 2.5, 0.1), "/osc/list": [1, "x", True],
            "/osc/array": (1.0, 2.0), "/osc/midi": bytes((0, 144, 60, 100)), "/osc/café": 1,
        }  # fmt: skip
        assert {origin for origin, _ in store.commits} == {"osc:127.0.0.1"}
        assert store.written["/osc/flag"] is True


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (("/other/x", 1), "not_granted"),
        (("/osc/x*", 1), "address"),
        (("/osc/", 1), "address"),
        (("/osc//x", 1), "address"),
        (("#reply", 1), "address"),
        (("/osc/x",), "empty"),
        (("/osc/x", None), "nil"),
        (("/osc/x", 1, None), "nil"),
        (("/osc/read", 1.0), "read_only"),
        (("/osc/level", "loud"), "kind"),
        (("/osc/level", float("nan")), "not_a_number"),
        (("/osc/x", float("nan")), "not_a_number"),
        (("/osc/x", 1.0, float("nan")), "not_a_number"),
        (("/osc/mode", "slow"), "choice"),
        (("/app/unknown", 1), "undeclared"),
    ],
)
async def test_refused_and_counted(message: tuple[Any, ...], reason: str) -> None:
    store = FakeStore(
        Declaration("/osc/read", access="r"),
        Declaration("/osc/level", kind="double", minimum=0.0, maximum=1.0),
        Declaration("/osc/mode", kind="string", choices=("fast",)),
    )
    async with opened(store) as (door, client):
        client.send(*message)
        client.send("/osc/end", 1)
        await until(lambda: "/osc/end" in store.written)
        assert door.counts[reason] == 1
        assert store.written == {"/osc/end": 1}


async def test_no_grant_opens_what_the_daemon_says_of_itself() -> None:
    store = FakeStore()
    async with opened(store, grants=["//", "/lightfast//"]) as (door, client):
        client.send("/lightfast/apps/blender/state", "live")
        client.send("/osc/end", 1)
        await until(lambda: "/osc/end" in store.written)
        assert door.counts["reserved"] == 1
        assert store.written == {"/osc/end": 1}


async def test_values_are_fitted_to_what_is_declared() -> None:
    store = FakeStore(
        Declaration("/app/level", kind="double", minimum=0.0, maximum=1.0),
        Declaration("/app/count", kind="int", minimum=0.0, maximum=9.5),
        Declaration("/app/mute", kind="bool"),
        Declaration("/app/color", kind="vector", minimum=0.0, maximum=1.0),
        Declaration("/app/tags", kind="list"),
    )
    async with opened(store) as (door, client):
        client.send("/app/level", 1)
        await until(lambda: store.written.get("/app/level") == 1.0)
        assert type(store.written["/app/level"]) is float
        client.send("/app/level", 7.5)
        client.send("/app/count", 20)
        client.send("/app/mute", 1.0)
        client.send("/app/color", 0.5, -3.0, 2.0)
        client.send("/app/tags", "one")
        await until(lambda: len(store.written) == 5)
        assert store.written == {
            "/app/level": 1.0, "/app/count": 9, "/app/mute": True, "/app/color": (0.5, 0.0, 1.0), "/app/tags": ["one"],
        }  # fmt: skip
        assert door.counts["clamped"] == 3
        client.send("/app/count", 3.0)
        await until(lambda: store.written["/app/count"] == 3)
        assert type(store.written["/app/count"]) is int


async def test_signals_are_published_at_once() -> None:
    store = FakeStore(Declaration("/osc/meter", signal=True, kind="double"))
    store.hold.clear()  # commits would wait
    async with opened(store) as (door, client):
        client.send("/osc/meter", 0.25)
        await until(lambda: store.published)
        assert store.published == [("osc:127.0.0.1", Set("/osc/meter", 0.25))]
        assert store.commits == []
        assert door.counts["accepted"] == 1


async def test_state_waits_by_path_while_a_commit_is_under_way() -> None:
    store = FakeStore()
    store.hold.clear()
    async with opened(store) as (door, client):
        client.send("/osc/first", 0)
        await until(lambda: door.counts["messages"] == 1)
        for number in range(100):
            client.send("/osc/fader", number)
        await until(lambda: door.counts["messages"] == 101)
        store.hold.set()
        await until(lambda: store.written.get("/osc/fader") == 99)
        assert len(store.commits) == 2
        assert door.counts["conflated"] == 99


async def test_one_refused_write_does_not_take_the_others_along() -> None:
    store = FakeStore()
    store.bad = {"/osc/5", "/osc/17"}
    store.hold.clear()
    async with opened(store) as (door, client):
        for number in range(32):
            client.send(f"/osc/{number}", number)
        await until(lambda: door.counts["messages"] == 32)
        store.hold.set()
        await until(lambda: len(store.written) == 30)
        await until(lambda: door.counts["refused"] == 2)
        assert store.bad.isdisjoint(store.written)


async def test_full_disk_is_counted_and_the_door_goes_on() -> None:
    store = FakeStore()
    store.fail = Exhausted("the disk is full", reason="DISK_FULL")
    async with opened(store) as (door, client):
        client.send("/osc/a", 1)
        await until(lambda: door.counts["failed"] == 1)
        store.fail = None
        client.send("/osc/b", 2)
        await until(lambda: store.written == {"/osc/b": 2})


async def test_bundle_time_is_the_event_time() -> None:
    store = FakeStore()
    now = SYSTEM.now_ns()
    seconds = now // 1_000_000_000 + 2_208_988_800
    inner = encode("/osc/timed", 1)
    far = encode("/osc/far", 1)
    bundle = b"#bundle\0" + struct.pack(">II", seconds, 0) + struct.pack(">i", len(inner)) + inner
    late = b"#bundle\0" + struct.pack(">II", seconds + 90_000, 0) + struct.pack(">i", len(far)) + far
    async with opened(store) as (_, client):
        client.raw(bundle)
        client.raw(late)
        await until(lambda: len(store.written) == 2)
        times = {one.path: one.event_time for _, writes in store.commits for one in writes}
        assert abs(times["/osc/timed"] - now) < 2_000_000_000
        assert times["/osc/far"] == 0


async def test_rate_is_limited_per_source() -> None:
    clock = StillClock()
    buckets = Buckets(rate=10, burst=5, clock=clock)
    assert [buckets.take("a", 4), buckets.take("a", 4), buckets.take("b", 9)] == [4, 1, 5]
    clock.advance(0.35)
    assert buckets.take("a", 100) == 3
    clock.advance(100)
    assert buckets.take("a", 100) == 5

    store = FakeStore()
    async with opened(store, rate=0.001, burst=10) as (door, client):
        for number in range(30):
            client.send(f"/osc/{number}", number)
        await until(lambda: door.counts["rate"] == 20)
        await until(lambda: len(store.written) == 10)


def test_sources() -> None:
    sources = Sources(["192.168.1.0/24", "10.0.0.7", "fd00::/8"])
    allowed = ["127.0.0.1", "::1", "192.168.1.77", "10.0.0.7", "fd00::1", "::ffff:192.168.1.5", "127.8.8.8"]
    refused = ["192.168.2.1", "10.0.0.8", "8.8.8.8", "fe80::1%eth0", "nonsense", ""]
    for _ in range(2):
        assert [host for host in allowed if not sources.allows(host)] == []
        assert [host for host in refused if sources.allows(host)] == []
    with pytest.raises(InvalidArgument, match="'lan' is no address"):
        Sources(["lan"])


async def test_reachable_listener_needs_an_allow_list() -> None:
    with pytest.raises(FailedPrecondition, match=r"osc\.allow") as caught:
        OscDoor(FakeStore(), listen="0.0.0.0:0")
    assert caught.value.reason == "OSC_ALLOW_MISSING"
    door = OscDoor(FakeStore(), listen="0.0.0.0:0", allow=["192.168.1.0/24"])
    await door.start()
    await door.stop()


async def test_allow_and_grants_can_change_while_it_is_open() -> None:
    store = FakeStore()
    async with opened(store) as (door, client):
        client.send("/osc/a", 1)
        await until(lambda: store.written == {"/osc/a": 1})
        door.admit(allow=[], grants=["/other//"])
        client.send("/osc/b", 1)
        client.send("/other/c", 1)
        await until(lambda: "/other/c" in store.written)
        assert "/osc/b" not in store.written
        with pytest.raises(InvalidArgument):
            door.admit(allow=["x"], grants=["//"])
        client.send("/osc/b", 1)
        await until(lambda: door.counts["not_granted"] == 2)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"listen": "nowhere"}, "osc.listen is 'nowhere'"),
        ({"grants": ["osc//"]}, "osc.grants: .* does not begin with '/'"),
        ({"decoder": "liblo"}, "lightfast, python-osc"),
    ],
)
async def test_wrong_option_is_named(options: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidArgument, match=text):
        OscDoor(FakeStore(), **options)


async def test_taken_port_is_explained() -> None:
    store = FakeStore()
    async with opened(store) as (door, _):
        with pytest.raises(FailedPrecondition, match=r"is taken by .*choose another port") as caught:
            await OscDoor(store, listen=door.address).start()
        assert caught.value.reason == "PORT_TAKEN"


@pytest.mark.parametrize("decoder", ["lightfast", "python-osc"])
async def test_random_datagrams_never_stop_the_door(decoder: str) -> None:
    store = FakeStore(Declaration("/osc/v", kind="double", minimum=0.0, maximum=1.0))
    chance = random.Random(7)
    whole = encode("/osc/v", 1.0) + encode("/osc/list", 1, "x", [True])
    async with opened(store, decoder=decoder, grants=["//"]) as (door, client):
        for number in range(1, 1501):
            data = bytearray(chance.choice((whole, b"#bundle\0\0\0\0\0\0\0\0\1", b"/osc/v\0\0,")))
            for _ in range(chance.randrange(12)):
                data.insert(chance.randrange(len(data) + 1), chance.randrange(256))
            client.raw(bytes(data[: chance.randrange(1, len(data) + 1)]))
            if number % 100 == 0:  # loopback loses nothing that fits the buffer
                await until(partial(received, door, number))
        client.raw(b"\xff" * (MAX_DATAGRAM + 1))
        client.raw(b"")
        client.send("/osc/v", 0.5)
        await until(lambda: store.written.get("/osc/v") == 0.5)
        assert door.counts["oversize"] == 1
        assert door.counts["malformed"] > 100


def received(door: OscDoor, number: int) -> bool:
    return door.stats()["received"] >= number


async def test_no_loss_in_a_burst() -> None:
    store = FakeStore(Declaration("/osc/meter", signal=True))
    async with opened(store) as (door, client):
        datagram = encode("/osc/meter", 0.5)
        for _ in range(20):
            for _ in range(200):
                client.raw(datagram)
            await asyncio.sleep(0)
        await until(lambda: len(store.published) == 4000)
        assert door.stats().get("kernel_drops", 0) == 0
        assert door.stats()["received"] == 4000


async def test_without_add_reader_asyncio_transport_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise NotImplementedError

    taken: list[tuple[bytes, tuple[str, int]]] = []
    loop = asyncio.get_running_loop()
    with monkeypatch.context() as patch:
        # what the proactor loop of Windows does; asyncio's own transport uses _add_reader
        patch.setattr(type(loop), "add_reader", refuse)
        first = await UdpSocket.open(("127.0.0.1", 0), taken.extend)
    second = await UdpSocket.open(("127.0.0.1", 0), lambda _: None)
    assert second.send(b"one", first.address)
    assert second.send(b"two", first.address)
    await until(lambda: [data for data, _ in taken] == [b"one", b"two"])
    assert taken[0][1] == second.address
    assert first.send(b"back", second.address)
    await until(lambda: second.counts.received == 1)
    first.close()
    second.close()
    assert not first.send(b"late", second.address)
