"""Who may enter over TCP: keys, versions, bounds, and the exact words on both sides."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from typing import Any

import pytest
from structlog.testing import capture_logs
from tests.support.link import OTHER_KEY, App, RecordingRegistry, eventually, hello, link_server, tcp_door
from tests.support.link_raw import Raw

from lightfast.core.clock import SYSTEM, StillClock
from lightfast.core.errors import FailedPrecondition, Unavailable
from lightfast.sdk.errors import BridgeError
from lightfast.wire.tcp import server as tcp_server
from lightfast.wire.tcp.backoff import FREE, LONGEST, Backoff
from lightfast_link import session as client_session
from lightfast_link.frame import Frame, Splitter, decode, encode, pack
from lightfast_link.messages import Change
from lightfast_link.session import fingerprint


async def test_a_wrong_key_is_clear_on_both_sides_and_never_travels() -> None:
    registry = RecordingRegistry()
    async with link_server(registry) as server, tcp_door(server) as (_, host, port):
        with capture_logs() as logs, App.tcp(host, port, key=OTHER_KEY) as app:
            _, reason, message = await app.until("refused")
            await eventually(lambda: server.counters["wrong_keys"])
            assert app.client.state == "refused"
    assert reason == "LINK_KEY"
    assert message == (
        f"the daemon at tcp://{host}:{port} does not hold our link key (fingerprint {fingerprint(OTHER_KEY)}): the key "
        "file is not of this daemon; read link_key_file in its endpoints.json, or stop the program that holds its port"
    )
    refusals = [entry for entry in logs if entry["event"] == "link key refused"]
    assert refusals[0]["remedy"] == "an application was given another link key than ours, and refused us"
    assert refusals[0]["source"] == "127.0.0.1"
    assert not registry.sessions
    assert OTHER_KEY.hex() not in message


async def test_a_wrong_proof_is_refused_with_the_remedy() -> None:
    async with link_server() as server, tcp_door(server) as (_, host, port):
        with capture_logs() as logs:
            raw = await Raw.open(host, port)
            raw.send("auth_start", {"nonce": "00" * 32})
            await raw.frame("auth_challenge")
            raw.send("auth_proof", {"proof": "00" * 32})
            error = await raw.frame("error")
            assert await raw.ended()
            raw.close()
    assert error.header["reason"] == "LINK_KEY"
    assert error.header["message"] == (
        "the link key is not the one of this daemon: read the file that link_key_file names in the daemon's endpoints.json"
    )
    assert [entry["remedy"] for entry in logs if entry["event"] == "link key refused"] == [error.header["message"]]


async def test_nothing_is_done_for_one_who_has_not_proved_the_key() -> None:
    registry = RecordingRegistry()
    for kind, header in (
        ("hello", {**hello(), "versions": [1]}),
        ("state", {"sequence": 1, "changes": []}),
        ("asset_get", {"id": 1, "sha256": "0" * 64}),
    ):
        async with link_server(registry) as server, tcp_door(server) as (_, host, port):
            raw = await Raw.open(host, port)
            raw.send(kind, header)
            error = await raw.frame("error")
            assert error.header == {
                "reason": "LINK_ORDER",
                "message": f"{kind} does not belong here: prove that you hold the key first",
            }
            assert await raw.ended()
            raw.close()
    assert not registry.sessions


async def test_a_squatter_learns_nothing() -> None:
    heard: list[Frame] = []
    answers = {"auth_start": ("auth_challenge", {"nonce": "11" * 32, "proof": "22" * 32})}

    async def squat(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        splitter = Splitter()
        while data := await reader.read(65536):
            for parts in splitter.feed(data):
                heard.append(decode(parts))
                if heard[-1].type in answers:
                    writer.write(pack(encode(Frame(*answers[heard[-1].type]))))
        writer.close()

    server = await asyncio.start_server(squat, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with App.tcp("127.0.0.1", port) as app:
        assert (await app.until("refused"))[1] == "LINK_KEY"
        await eventually(lambda: any(frame.type == "error" for frame in heard))
        app.client.report([Change("secret", "value")])
    assert [frame.type for frame in heard] == ["auth_start", "error"]
    assert set(heard[0].header) == {"nonce"}
    assert heard[1].header == {"reason": "LINK_KEY", "message": "your link key is not the one I was given"}
    heard.clear()
    answers["auth_start"] = ("auth_ok", {})  # one that would rather not prove anything
    with App.tcp("127.0.0.1", port) as app:
        _, reason, message = await app.until("refused")
        assert (reason, message) == (
            "LINK_KEY",
            f"the daemon at tcp://127.0.0.1:{port} skipped its proof: it is an impostor",
        )
    assert [frame.type for frame in heard] == ["auth_start"]
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize(
    ("spoken", "message"),
    [
        (
            (0,),
            (
                "the application speaks version 0 of the link protocol, the daemon 1: the application is older, "
                "update Lightfast inside the application: 'lightfast pack blender'"
            ),
        ),
        (
            (2, 3),
            (
                "the application speaks version 2, 3 of the link protocol, the daemon 1: the daemon is older, "
                "update the daemon ('pip install -U lightfast') and restart it"
            ),
        ),
    ],
)
async def test_another_version_is_a_clear_message_on_both_sides(
    monkeypatch: pytest.MonkeyPatch, spoken: tuple[int, ...], message: str
) -> None:
    monkeypatch.setattr(client_session, "VERSIONS", spoken)
    registry = RecordingRegistry()
    async with link_server(registry) as server, tcp_door(server) as (_, host, port):
        with capture_logs() as logs, App.tcp(host, port) as app:
            assert await app.until("refused") == ("refused", "LINK_VERSION", message)  # not that nobody answered
    assert [entry["reason"] for entry in logs if entry["event"] == "link version refused"] == [message]
    assert not registry.sessions


async def test_one_version_in_common_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_session, "VERSIONS", (1, 2))
    async with link_server() as server, tcp_door(server) as (_, host, port):
        with App.tcp(host, port) as app:
            assert (await app.until("welcome"))[1]["version"] == 1


@pytest.mark.parametrize(
    ("refusal", "reason", "message"),
    [
        (BridgeError("the mount is taken"), "LINK_REFUSED", "hello: the mount is taken"),
        (Unavailable("the store is away", reason="STORE_IO"), "STORE_IO", "hello: the store is away"),
    ],
)
async def test_a_refusal_of_the_registry_reaches_the_application(refusal: Exception, reason: str, message: str) -> None:
    async with link_server(RecordingRegistry(refusal=refusal)) as server, tcp_door(server) as (_, host, port):
        with App.tcp(host, port) as app:
            assert await app.until("refused") == ("refused", reason, message)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"app": "Blender 5"}, "hello: app 'Blender 5' must be a word like 'blender'"),
        ({"instance_id": ""}, "hello: instance_id is empty: give each running instance an id of its own"),
        ({"pid": "many"}, "Expected `int`, got `str` - at `$.pid`"),
        (
            {"parameters": [{"pattern": "/ableton/song/tempo"}]},
            "is absolute: paths of a link are relative to its mount",
        ),
        ({"parameters": [{"pattern": "objects/[a"}]}, "has '[' at position 9 without ']'"),
        ({"parameters": [{"pattern": "x", "access": "all"}]}, "access of x is 'all': use rw, r or w"),
        ({"commands": [{"description": "no name"}]}, "missing required field `name` - at `$.commands[0]`"),
    ],
)
async def test_a_malformed_hello_is_told_what_is_wrong(changes: dict[str, Any], message: str) -> None:
    async with link_server() as server, tcp_door(server) as (_, host, port):
        with App.tcp(host, port, **changes) as app:
            _, reason, told = await app.until("refused")
            assert reason == "LINK_FRAME"
            assert message in told


async def test_a_link_speaks_only_of_its_own_mount() -> None:
    registry = RecordingRegistry()
    async with link_server(registry) as server, tcp_door(server) as (_, host, port):
        raw = await Raw.open(host, port)
        await raw.join()
        bad = [
            "/ableton/song/tempo",
            "../ableton/song/tempo",
            "objects/../../ableton",
            "objects//x",
            ".",
            "",
            "a/./b",
            "objects/*",
            7,
            "x" * 2000,
        ]
        changes: list[dict[str, Any]] = [{"path": path, "value": 1} for path in bad]
        changes += [{"path": "ok", "moved_from": "../ableton"}, {"path": "fine", "value": 1}]
        raw.send("state", {"sequence": 1, "changes": changes})
        errors = [(await raw.frame("error")).header for _ in range(len(bad) + 1)]
        assert (await raw.frame("state_ack")).header == {"sequence": 1, "credit": 8}
        assert {error["reason"] for error in errors} == {"LINK_VALUE"}
        assert "is absolute: paths of a link are relative to its mount" in errors[0]["message"]
        assert "has the segment '..', which leads out of the mount" in errors[1]["message"]
        assert [change.path for change in registry.changes] == ["fine"]
        raw.close()


async def test_malformed_frames_are_answered_and_the_connection_goes_on() -> None:
    registry = RecordingRegistry()
    async with link_server(registry) as server, tcp_door(server) as (_, host, port):
        raw = await Raw.open(host, port)
        await raw.join()
        bad: list[tuple[str, dict[str, Any], str]] = [
            ("nonsense", {}, "there is no frame 'nonsense' in version 1"),
            ("state", {}, "state: 'sequence' is missing"),
            ("state", {"sequence": -1, "changes": []}, "sequence must be a positive number"),
            ("state", {"sequence": True, "changes": []}, "sequence must be a positive number"),
            ("applied", {"wishes": 7}, "applied: 'int' object is not iterable"),
            ("progress", {"id": [], "fraction": 1}, "progress: "),
            ("hello", {**hello(), "versions": [1]}, "hello was said already: say bye first"),
            ("asset_get", {"id": "x"}, "id must be a whole number"),
            ("auth_start", {}, "auth_start does not belong here"),
        ]
        for kind, header, message in bad:
            raw.send(kind, header)
            assert message in (await raw.frame("error")).header["message"]
        raw.writer.write(pack([b"state", b"{nonsense"]))
        assert "the header of 'state' is not JSON" in (await raw.frame("error")).header["message"]
        raw.send(
            "state",
            {"sequence": 1, "changes": [{"path": "a", "value": {"$v": [1, "nan"]}}, {"path": "b", "value": {"x": 1}}]},
        )
        assert "b: {'x': 1} is no value" in (await raw.frame("error")).header["message"]
        await raw.frame("state_ack")
        assert [change.path for change in registry.changes] == ["a"]
        assert server.counters["bad_frames"] == len(bad) + 2
        raw.close()


async def test_bytes_that_are_no_frames_end_with_a_word() -> None:
    async with link_server() as server, tcp_door(server) as (_, host, port):
        raw = await Raw.open(host, port)
        raw.writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        error = await raw.frame("error")
        assert error.header["reason"] == "LINK_FRAME"
        assert "this is not the link protocol" in error.header["message"]
        assert await raw.ended()
        raw.close()
        raw = await Raw.open(host, port)
        raw.writer.write((2).to_bytes(4, "big") + (4).to_bytes(4, "big") + (100_000).to_bytes(4, "big"))
        assert "the most here is 65536" in (await raw.frame("error")).header["message"]
        assert await raw.ended()
        raw.close()
        await eventually(lambda: server.peers == 0)


async def test_silence_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightfast.engine.apps.link_pulse.GREETING", 0.3)
    async with link_server() as server, tcp_door(server) as (_, host, port):
        raw = await Raw.open(host, port)
        error = await raw.frame("error")
        assert error.header == {"reason": "LINK_TIMEOUT", "message": "no hello within 0.3 s"}
        assert await raw.ended()
        raw.close()


async def test_no_more_connections_than_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp_server, "MAX_CONNECTIONS", 2)
    async with link_server() as server, tcp_door(server) as (door, host, port):
        first, second = await Raw.open(host, port), await Raw.open(host, port)
        await first.prove()
        await second.prove()
        third = await Raw.open(host, port)
        assert (await third.frame("error")).header["reason"] == "LINK_BUSY"
        assert await third.ended()
        first.close()
        await eventually(lambda: len(door.connections) == 1)
        fourth = await Raw.open(host, port)
        await fourth.prove()
        for raw in (second, third, fourth):
            raw.close()


async def test_wrong_keys_make_the_next_wait_and_honest_ones_still_enter() -> None:
    async with link_server() as server, tcp_door(server) as (door, host, port):
        for _ in range(FREE + 1):
            raw = await Raw.open(host, port)
            raw.send("auth_start", {"nonce": "00" * 32})
            await raw.frame("auth_challenge")
            raw.send("auth_proof", {"proof": "00" * 32})
            await raw.frame("error")
            raw.close()
        await eventually(lambda: door.backoff.delay("127.0.0.1") >= 0.2)
        begin = time.monotonic()
        with App.tcp(host, port) as app:
            await app.until("welcome")
        assert time.monotonic() - begin >= 0.2


def test_patience_has_a_bound_and_ends() -> None:
    clock = StillClock()
    backoff = Backoff(clock)
    delays = []
    for _ in range(40):
        backoff.failed("10.0.0.1")
        delays.append(backoff.delay("10.0.0.1"))
    assert delays[: FREE - 1] == [0.0] * (FREE - 1)
    assert delays == sorted(delays)
    assert delays[-1] == LONGEST
    assert backoff.delay("10.0.0.2") == 0.0
    clock.advance(31)
    assert backoff.delay("10.0.0.1") == 0.0


async def test_off_loopback_it_does_not_open() -> None:
    async with link_server() as server:
        for listen in ("0.0.0.0:0", "[::]:0", "192.0.2.1:0", "example.org:0"):
            door = tcp_server.TcpDoor(server, listen, clock=SYSTEM)
            with pytest.raises(FailedPrecondition) as caught:
                await door.start()
            assert caught.value.reason == "LISTEN_UNPROTECTED"


async def test_a_taken_port_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        async with link_server() as server:
            with pytest.raises(FailedPrecondition) as caught:
                await tcp_server.TcpDoor(server, f"127.0.0.1:{port}", clock=SYSTEM).start()
    assert caught.value.reason == "PORT_TAKEN"
    assert f"127.0.0.1:{port}" in caught.value.message


async def test_frames_that_come_byte_by_byte_are_one_frame() -> None:
    async with link_server() as server, tcp_door(server) as (_, host, port):
        raw = await Raw.open(host, port)
        for byte in pack(encode(Frame("auth_start", {"nonce": "00" * 32}))):
            raw.writer.write(bytes([byte]))
            await raw.writer.drain()
        assert (await raw.frame("auth_challenge")).header["nonce"]
        assert json.dumps(raw.frames) == "[]"
        raw.close()
