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
    await asyncio.wait_for(cancelled.wait(), 5.0)
    loading.cancel()
    await asyncio.wait({loading}, timeout=5.0)
    assert loading.cancelled()
    await asyncio.wait({task}, timeout=5.0)
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
        await host.until(lambda: tries > 3, "several tries", 10.0)
        task.cancel()
        await asyncio.wait({task}, timeout=5.0)
    assert [line["event"] for line in logs].count("a device failed") == 1
