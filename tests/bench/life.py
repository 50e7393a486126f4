"""Start, memory and idleness of the daemon process."""

from __future__ import annotations

import asyncio
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
from tests.bench.measure import Row, Watch, single
from tests.bench.world import World

FREE = [f"--set={key}=127.0.0.1:0" for key in ("grpc.listen", "http.listen", "osc.listen", "link.tcp")]


def ready_time(home: Path, *settings: str) -> float:
    """Return the seconds from spawn to READY=1 on a real notify socket, with *settings* beside those of the bench."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        path = str(home / "notify")
        notify.bind(path)
        notify.settimeout(20)
        began = time.perf_counter()
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "lightfast",
                "serve",
                "--home",
                str(home),
                *FREE,
                *(f"--set={each}" for each in settings),
            ],
            # With PYTHONDONTWRITEBYTECODE every start would compile the daemon anew, which no user's does.
            env={k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"} | {"NOTIFY_SOCKET": path},
            stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        try:
            while b"READY=1" not in notify.recv(4096):
                pass
            return time.perf_counter() - began
        finally:
            process.terminate()
            process.wait(20)
            Path(path).unlink()


async def run(world: World, pairs: int) -> list[Row]:
    """Measure a start on a new folder and on an existing one, then the idle daemon."""
    times = []
    with tempfile.TemporaryDirectory(prefix="lightfast-bench-") as folder:
        for _ in range(pairs + 1):
            times.append(await asyncio.to_thread(ready_time, Path(folder)))
    bare = []
    for _ in range(pairs):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", "import grpc.aio"], check=True)
        bare.append(time.perf_counter() - began)
    rows = [
        single(
            "ready (spawn to READY=1), median",
            statistics.median(times[1:]) * 1000,
            "ms",
            most=300,
            note=f"first start of a folder {times[0] * 1000:.0f} ms; a bare 'import grpc.aio' takes "
            f"{statistics.median(bare) * 1000:.0f} ms here",
        )
    ]
    await asyncio.sleep(5)  # let the start settle: plugins, HTTP
    memory = psutil.Process(world.pid).memory_info().rss
    watch = Watch(world.pid)
    await asyncio.sleep(10)
    rows.append(single("idle RSS", memory / 1e6, "MB", most=80))
    rows.append(single("idle CPU over 10 s", watch.cpu_used() / watch.elapsed() * 100, "%", most=1))
    return rows
