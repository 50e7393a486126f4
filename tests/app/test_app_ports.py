"""Taken ports and foreign addresses, told with what to do."""

from __future__ import annotations

import os
import socket

import pytest

from lightfast.app.ports import ensure_free
from lightfast.core.errors import FailedPrecondition


def test_a_free_port_and_a_closed_door_are_fine() -> None:
    ensure_free("127.0.0.1:0", "grpc.listen")
    ensure_free("[::1]:0", "grpc.listen")
    ensure_free("", "grpc.listen")
    ensure_free("127.0.0.1:0", "osc.listen", "udp")


@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_a_taken_port_is_told(kind: str) -> None:
    flavor = socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET, flavor) as holder:
        holder.bind(("127.0.0.1", 0))
        if kind == "tcp":
            holder.listen()
        port = holder.getsockname()[1]
        with pytest.raises(FailedPrecondition) as caught:
            ensure_free(f"127.0.0.1:{port}", "some.key", kind)  # type: ignore[arg-type]
    assert caught.value.reason == "PORT_TAKEN"
    assert f"the {kind.upper()} port {port} on 127.0.0.1 is taken by " in caught.value.message
    assert f"(process {os.getpid()})" in caught.value.message
    assert caught.value.message.endswith(
        "set some.key to another address, for example --set some.key=127.0.0.1:0 for any free port"
    )


def test_an_outgoing_connection_on_our_port_is_told_apart() -> None:
    with socket.socket() as server, socket.socket() as client:
        server.bind(("127.0.0.1", 0))
        server.listen()
        client.connect(server.getsockname())
        port = client.getsockname()[1]
        with pytest.raises(FailedPrecondition, match="by an outgoing connection, which goes away by itself"):
            ensure_free(f"127.0.0.1:{port}", "some.key")


def test_an_address_of_another_machine_is_told() -> None:
    with pytest.raises(FailedPrecondition, match=r"192\.0\.2\.7 is no address of this machine: set some.key"):
        ensure_free("192.0.2.7:0", "some.key")
