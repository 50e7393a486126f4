"""The rack of devices: it ends when it is told to, whatever a device is doing."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from lightfast.sdk.oscmap import read
from lightfast.sdk.testing import FakeBridgeHost
from lightfast_bridges.osc.bridge import Rack
from lightfast_bridges.osc.device import Device
from lightfast_bridges.osc.folder import FolderWatch

MAP = "kind: lamp\nremote: 127.0.0.1:9\nalive: {assumed: true}\nparameters: {on: {send: /on, type: T}}\n"


async def test_a_device_that_is_slow_to_leave_does_not_swallow_the_end(tmp_path: Path) -> None:
    host = FakeBridgeHost({}, str(tmp_path))
    rack = Rack(host, tmp_path)
    cancelled = asyncio.Event()

    async def slow() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
            await asyncio.sleep(1.0)

    device = Device(host, read(MAP, "lamp.yaml"))
    task = asyncio.ensure_future(slow())
    await asyncio.sleep(0)
    rack._devices["lamp.yaml"] = (device, task)
    loading = asyncio.ensure_future(rack.load(["lamp.yaml"]))  # its file is not there: it is taken out
    await asyncio.wait_for(cancelled.wait(), 60.0)
    loading.cancel()
    await asyncio.wait({loading}, timeout=60.0)
    assert loading.cancelled()
    await asyncio.wait({task}, timeout=60.0)
    host.close()


async def test_a_device_that_fails_the_same_way_again_is_logged_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lightfast_bridges.osc.device.BACKOFF", (0.01,))
    tries = 0

    async def fail(_: Device) -> None:
        nonlocal tries
        tries += 1
        raise RuntimeError("a bug")

    monkeypatch.setattr(Device, "_open", fail)
    host = FakeBridgeHost({}, str(tmp_path))
    with capture_logs() as logs:
        task = asyncio.ensure_future(Device(host, read(MAP, "lamp.yaml")).run())
        await host.until(lambda: tries > 3, "several tries")
        task.cancel()
        await asyncio.wait({task}, timeout=60.0)
    assert [line["event"] for line in logs].count("a device failed") == 1


async def test_a_watch_that_was_ended_before_it_began_does_not_begin(tmp_path: Path) -> None:
    """It begins in a thread, and the bridge may be told to stop meanwhile."""
    watch = FolderWatch(tmp_path)
    watch.close()
    watch.start()
    assert watch._observer is None
