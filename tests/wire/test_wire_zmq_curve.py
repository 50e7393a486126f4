"""ZMQ on TCP: CURVE, with an authenticator that is proved to turn strangers away."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import zmq
from structlog.testing import capture_logs
from tests.support.link import App, RecordingRegistry, eventually, link_server, zmq_door

from lightfast.core.errors import FailedPrecondition
from lightfast.wire.zmq import door as zmq_door_module
from lightfast.wire.zmq.curve import CurveKeys, new_pair
from lightfast.wire.zmq.door import ZmqDoor
from lightfast_link.zmq_transport import ZmqTransport, load_keypair

TCP = {"router": "tcp://127.0.0.1:*", "pub": "tcp://127.0.0.1:*"}


def transport(found: dict[str, str], public: bytes, secret: bytes, server_key: bytes = b"") -> ZmqTransport:
    server_key = server_key or found["zmq_server_key"].encode()
    return ZmqTransport(zmq, found["zmq_router"], server_key=server_key, public_key=public, secret_key=secret)


async def test_our_own_key_and_a_paired_one_enter_until_they_are_taken_away(tmp_path: Path) -> None:
    keys, paired = CurveKeys(tmp_path / "curve"), new_pair()
    (tmp_path / "curve" / "allowed").mkdir()
    note = tmp_path / "curve" / "allowed" / "laptop.pub"
    note.write_text(f'public-key = "{paired.public.decode()}"\n')
    async with link_server() as server, zmq_door(server, tmp_path, keys=keys, **TCP) as (_, found, _bus):
        assert found["zmq_router"].startswith("tcp://127.0.0.1:")
        own = load_keypair(str(tmp_path / "curve" / "client.curve"))
        with App(transport(found, *own), key=None) as app:
            await app.until("welcome")
        with App(transport(found, paired.public, paired.secret), key=None, name="laptop") as app:
            assert (await app.until("welcome"))[1]["mount"] == "/laptop"
        note.unlink()
        with App(transport(found, paired.public, paired.secret), key=None) as app:
            assert (await app.until("refused"))[1] == "LINK_KEY"


async def test_a_stranger_is_refused_with_a_clear_word_on_both_sides(tmp_path: Path) -> None:
    keys, registry, stranger = CurveKeys(tmp_path / "curve"), RecordingRegistry(), new_pair()
    with capture_logs() as logs:
        async with link_server(registry) as server, zmq_door(server, tmp_path, keys=keys, **TCP) as (door, found, _bus):
            with App(transport(found, stranger.public, stranger.secret), key=None) as app:
                assert await app.until("refused") == (
                    "refused",
                    "LINK_KEY",
                    "the daemon does not know our CURVE key: pair this machine with it again",
                )
            assert door._authenticator.refused >= 3  # two of the proof at the start, and the stranger
    refused = [entry["key"] for entry in logs if entry["event"] == "CURVE key refused"]
    assert stranger.public.decode() in refused
    assert not registry.sessions


async def test_a_daemon_with_another_key_is_not_believed(tmp_path: Path) -> None:
    keys = CurveKeys(tmp_path / "curve")
    async with link_server() as server, zmq_door(server, tmp_path, keys=keys, **TCP) as (_, found, _bus):
        wrong = transport(found, keys.client.public, keys.client.secret, server_key=new_pair().public)
        with App(wrong, key=None) as app:
            await eventually(lambda: app.client.status()["lost"])
            assert app.client.state != "live"
            assert server.peers == 0


async def test_a_door_that_lets_a_stranger_in_does_not_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class NoAuthenticator:
        def close(self) -> None:
            pass

    monkeypatch.setattr(ZmqDoor, "_make_authenticator", lambda self, context, keys: NoAuthenticator())
    async with link_server() as server:
        with pytest.raises(FailedPrecondition) as caught:
            async with zmq_door(server, tmp_path, keys=CurveKeys(tmp_path / "curve"), **TCP):
                pass
    assert caught.value.reason == "CURVE_OPEN"
    assert "did not turn an unknown key away, so it stays shut" in caught.value.message


async def test_a_door_that_lets_nobody_in_does_not_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = CurveKeys(tmp_path / "curve")
    monkeypatch.setattr(CurveKeys, "allows", lambda self, public: False)
    async with link_server() as server:
        with pytest.raises(FailedPrecondition) as caught:
            async with zmq_door(server, tmp_path, keys=keys, **TCP):
                pass
    assert caught.value.reason == "CURVE_SHUT"


@pytest.mark.parametrize("endpoint", ["tcp://0.0.0.0:*", "tcp://127.0.0.1:*", "tcp://*:*"])
async def test_tcp_without_curve_does_not_open(tmp_path: Path, endpoint: str) -> None:
    async with link_server() as server:
        with pytest.raises(FailedPrecondition) as caught:
            async with zmq_door(server, tmp_path, router=endpoint):
                pass
    assert caught.value.reason == "LISTEN_UNPROTECTED"


async def test_a_taken_port_is_named(tmp_path: Path) -> None:
    keys = CurveKeys(tmp_path / "curve")
    async with link_server() as server, zmq_door(server, tmp_path, keys=keys, **TCP) as (_, found, _bus):
        with pytest.raises(FailedPrecondition) as caught:
            async with zmq_door(server, tmp_path, keys=keys, router=found["zmq_router"], pub="tcp://127.0.0.1:*"):
                pass
    assert caught.value.reason == "PORT_TAKEN"
    assert found["zmq_router"] in caught.value.message


async def test_a_plain_client_gets_nowhere_on_a_curve_door(tmp_path: Path) -> None:
    keys, registry = CurveKeys(tmp_path / "curve"), RecordingRegistry()
    async with link_server(registry) as server, zmq_door(server, tmp_path, keys=keys, **TCP) as (_, found, _bus):
        with zmq.Context() as context, context.socket(zmq.DEALER) as sock:
            sock.setsockopt(zmq.LINGER, 0)
            monitor = sock.get_monitor_socket(zmq.EVENT_DISCONNECTED | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL)
            sock.connect(found["zmq_router"])
            sock.send_multipart([b"hello", b'{"versions": [1], "app": "blender", "instance_id": "i"}'])
            assert await asyncio.to_thread(monitor.poll, 60_000)
            sock.disable_monitor()
            monitor.close()
        assert not registry.sessions


def test_keys_are_private_and_kept(tmp_path: Path) -> None:
    first, second = CurveKeys(tmp_path / "curve"), CurveKeys(tmp_path / "curve")
    assert first.server == second.server
    assert first.client == second.client != first.server
    assert (tmp_path / "curve" / "server.curve").stat().st_mode & 0o777 == 0o600
    (tmp_path / "curve" / "server.curve").write_text("nonsense")
    with pytest.raises(FailedPrecondition) as caught:
        CurveKeys(tmp_path / "curve")
    assert caught.value.reason == "KEY_FILE"


def test_ipc_is_taken_where_it_is_to_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    assert zmq_door_module.ipc_works()
    monkeypatch.setattr("sys.platform", "win32")
    assert not zmq_door_module.ipc_works()
