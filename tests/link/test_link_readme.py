"""The example of the README, run as it stands, by the Python of the oldest host where there is one."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.link import KEY, RecordingRegistry, eventually, link_server, tcp_door

import lightfast_link
from lightfast import sdk
from lightfast_link.frame import MAX_FRAME, MAX_HEADER, MAX_PARTS, VERSION
from lightfast_link.inbox import MAX_CALLS, MAX_WISHES
from lightfast_link.outbox import MAX_ANSWERS, MAX_REPORTS
from lightfast_link.session import Session

FOLDER = Path(lightfast_link.__file__).parent
README = (FOLDER / "README.md").read_text(encoding="utf-8")


def oldest_python() -> str:
    """Return a Python 3.10 that runs, else this one."""
    found = shutil.which("python3.10")
    if found and subprocess.run([found, "-c", ""], check=False, capture_output=True).returncode == 0:
        return found
    return sys.executable


async def test_the_example_works_as_it_stands(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    registry = RecordingRegistry()
    run = tmp_path / "run"
    run.mkdir(mode=0o700)
    (tmp_path / "link.key").write_text(KEY.hex())
    with (run / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        async with link_server(registry) as server, tcp_door(server) as (_, host, port):
            doors = {"pid": os.getpid(), "link_tcp": f"{host}:{port}", "link_key_file": str(tmp_path / "link.key")}
            (run / "endpoints.json").write_text(json.dumps(doors))
            (run / "endpoints.json").chmod(0o600)
            environment = {**os.environ, "LIGHTFAST_HOME": str(tmp_path), "PYTHONPATH": str(FOLDER.parent)}
            process = subprocess.Popen([oldest_python(), "-c", code], env=environment)
            try:
                await eventually(lambda: registry.sessions and registry.sessions[0].synced_count)
                session = registry.sessions[0]
                assert (session.hello.kind, session.changes) == ("myapp", [sdk.Change("level", 0.5)])
                session.channel.apply([sdk.Wish(1, "level", 0.75, 3)])
                await eventually(lambda: session.settled == [(1, 0.75)])
            finally:
                process.kill()
                process.wait()


def test_every_frame_that_is_handled_is_in_the_table() -> None:
    from lightfast.engine.apps.link_peer import LinkPeer

    for kind in {*Session._HANDLERS, *LinkPeer._HANDLERS}:
        assert f"`{kind}`" in README, kind


def test_the_bounds_in_the_tables_are_those_of_the_code() -> None:
    from lightfast.engine.apps.link_outbox import MAX_QUEUED, MAX_WAITING, WINDOW
    from lightfast.engine.apps.link_peer import CREDIT, MAX_BAD

    for number in (MAX_REPORTS, MAX_ANSWERS, MAX_WISHES, MAX_CALLS, WINDOW, MAX_WAITING, MAX_BAD):
        assert f"{number:,}" in README, number
    assert f"at most {MAX_PARTS} parts and {MAX_FRAME >> 20} MiB" in README
    assert f"the header at most {MAX_HEADER >> 20} MiB" in README
    assert f"the credit, {CREDIT} frames" in README
    assert f"{MAX_QUEUED >> 20} MiB" in README
    assert f"version {VERSION}," in README
