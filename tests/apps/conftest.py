"""What holds in every test of an application: what a bridge reports is what it declares."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from lightfast.sdk.testing import FakeAppSession, FakeBridgeHost
from lightfast.sdk.testing.bridges import misdeclared

TOLD = frozenset(("ableton", "midi", "reaper"))
"""Kinds whose values are checked by tests of their own."""


@pytest.fixture(autouse=True)
def reports_are_as_declared(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Check every report of every application that joined a stand-in of the daemon."""
    sessions: list[FakeAppSession] = []
    hello = FakeBridgeHost.hello

    def noting(self: FakeBridgeHost, *said: Any) -> FakeAppSession:
        sessions.append(hello(self, *said))
        return sessions[-1]

    monkeypatch.setattr(FakeBridgeHost, "hello", noting)
    yield
    for session in sessions:
        if session.hello.kind not in TOLD:
            assert misdeclared(session, ranges=True) == []
