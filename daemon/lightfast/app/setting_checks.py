"""Checks of single settings; each returns the value as it is kept, or raises `ValueError` with what was expected."""

from __future__ import annotations

from typing import Any

from lightfast.core.config import is_loopback, parse_address, split_address, texts
from lightfast_link.path import compile_pattern


def loopback(value: Any) -> str:
    """Check an address that may only be this machine's own."""
    address = parse_address(value)
    if address and not is_loopback(split_address(address)[0]):
        raise ValueError(
            'a loopback address such as "127.0.0.1:0": this door is not encrypted, so it opens to this '
            "machine only; to reach it from another one, forward the port through SSH"
        )
    return address


def patterns(value: Any) -> tuple[str, ...]:
    """Check a list of patterns of paths."""
    for one in texts(value):
        try:
            compile_pattern(one)
        except ValueError as error:
            raise ValueError(f"patterns of paths: {one!r}: {error}") from None
    return tuple(value)


def networks(value: Any) -> tuple[str, ...]:
    """Check a list of addresses and networks."""
    import ipaddress

    for one in texts(value):
        try:
            ipaddress.ip_network(one, strict=False)
        except ValueError:
            raise ValueError(f'addresses or networks such as "192.168.1.20" or "192.168.1.0/24", not {one!r}') from None
    return tuple(value)


def policies(value: Any) -> tuple[tuple[str, str], ...]:
    """Check conflict policies by pattern."""
    from lightfast.engine.apps.settings import check_policies

    check_policies(value)
    return tuple(value.items())


def targets(value: Any) -> tuple[str, ...]:
    """Check a list of addresses to send to."""
    for one in texts(value):
        if split_address(one)[1] == 0:
            raise ValueError(f"a port to send to, not {one!r}")
    return tuple(value)


def zmq_address(value: Any) -> str:
    """Check where a ZMQ socket goes: `auto`, or an address."""
    return value if value == "auto" else loopback(value)
