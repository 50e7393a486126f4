"""The end of a process that works for the daemon, cut short: whoever closes has a deadline."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest
from tests.host.test_host_apart import collect, gone, order, pid_in, smithy
from tests.support.plugins import until

from lightfast.host import process
from lightfast.host.apart import ApartProvider


async def test_an_end_that_is_cut_short_leaves_no_process_and_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "LOAD_TIMEOUT", 120.0)
    monkeypatch.setattr(process, "HANGUP_TIMEOUT", 600.0)
    monkeypatch.setattr(process, "process_steps_back", lambda _: None)
    async with smithy(tmp_path) as (_, provider):
        assert isinstance(provider, ApartProvider)
        pid = pid_in((await collect(provider, order("hello")))[0])
        (child,) = provider._workshop._all
        assert child._process is not None
        stdin = child._process.stdin
        assert stdin is not None
        os.kill(pid, signal.SIGSTOP)  # it cannot end by itself
        ending = asyncio.ensure_future(child.kill())
        await until(stdin.is_closing, "the beginning of the end")
        ending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await ending
        await until(lambda: gone(pid), "the end of the process")
        assert child._spool is not None
        assert child._spool._closed
