"""Silence is counted for as long as somebody could have been heard."""

from __future__ import annotations

import asyncio

import pytest

from lightfast.sdk.silence import Silence


async def test_a_standstill_of_our_own_is_no_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    with monkeypatch.context() as patched:  # nothing is awaited meanwhile
        patched.setattr(asyncio.get_running_loop(), "time", lambda: now[0])
        silence = Silence()

        def look(after: float, pause: float = 2.0) -> float:
            now[0] += after
            return silence.look(pause)

        now[0] += 30.0
        silence.heard()
        silence.begin()
        assert [look(2.0), look(2.5)] == [2.0, 4.5], "a look that is a little late is just late"
        assert look(60.0) == 6.5
        assert look(2.0) == 8.5, "who says nothing then is silent"
        assert [look(60.0), look(60.0)] == [10.5, 12.5], "and who is gone is missed, however often we stand still"
        now[0] += 50.0
        silence.heard()  # what waited is read before the look
        assert look(0.1) == 0.0
        assert look(2.0) == 2.0
