"""Whether a program has a UDP port."""

from __future__ import annotations

import errno
import socket
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest

from lightfast.sdk import ports


async def test_only_a_port_that_somebody_has_is_open() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        assert await ports.is_open(listener.getsockname())
        assert listener.recv(100) == ports.EMPTY
        remote = listener.getsockname()
    assert not await ports.is_open(remote)


@pytest.mark.parametrize(("number", "may_be"), [(errno.EMFILE, True), (errno.ENETUNREACH, False)])
async def test_a_machine_short_of_files_says_nothing_of_a_port(
    number: int, may_be: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a show would lose an application that runs."""

    def none_left(*_: Any) -> NoReturn:
        raise OSError(number, "none left")

    short = SimpleNamespace(socket=none_left, AF_INET=socket.AF_INET, SOCK_DGRAM=socket.SOCK_DGRAM)
    monkeypatch.setattr(ports, "socket", short)
    assert await ports.is_open(("127.0.0.1", 9)) is may_be
