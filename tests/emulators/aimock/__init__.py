"""aimock (MIT), an emulator of many AI services that others wrote and keep in step with the real ones.

    pytestmark = pytest.mark.real_app

    @pytest.fixture(scope="module")
    def server(tmp_path_factory):
        with aimock(tmp_path_factory.mktemp("aimock"), FIXTURES) as running:
            yield running

    running.url                       # http://127.0.0.1:PORT
    running.journal()                 # what was sent to it: method, path, headers, body

*FIXTURES* is a list of `{"match": {...}, "response": {...}}`; aimock's README says what they may hold. Text answers
`{"content": …, "usage": {...}}`, refusals `{"error": {...}, "status": 429, "retryAfter": 7}`; `match` by
`userMessage` (a part of it), `endpoint`, `model`. It is installed by `npm ci` in this folder; without it the tests
are skipped, which is a failure under LIGHTFAST_REQUIRE_APPS.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parent
CLI = FOLDER / "node_modules" / "@copilotkit" / "aimock" / "dist" / "cli.js"
START_S = 60.0
_LISTENING = re.compile(r"listening on (http://127\.0\.0\.1:\d+)")


@dataclass(frozen=True, slots=True)
class Running:
    """A running aimock."""

    url: str

    def journal(self) -> list[dict[str, Any]]:
        """Return what was asked, in order."""
        with urllib.request.urlopen(f"{self.url}/__aimock/journal", timeout=20) as answer:
            found = json.loads(answer.read())
        entries: list[dict[str, Any]] = found["entries"] if isinstance(found, dict) else found
        return entries


@contextmanager
def aimock(folder: Path, fixtures: Sequence[dict[str, Any]], *arguments: str) -> Iterator[Running]:
    """Start aimock with *fixtures*, on a free port of 127.0.0.1; it ends with the block."""
    node = shutil.which("node")
    if node is None or not CLI.exists():
        pytest.skip("aimock is not installed: run npm ci in tests/emulators/aimock")
    path = folder / "fixtures.json"
    path.write_text(json.dumps({"fixtures": list(fixtures)}), encoding="utf-8")
    command = [node, str(CLI), "-p", "0", "-f", str(path), "--validate-on-load", *arguments]
    log = folder / "aimock.log"
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, cwd=folder)
    try:
        deadline = time.monotonic() + START_S
        while (found := _LISTENING.search(log.read_text(encoding="utf-8"))) is None:
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"aimock did not start:\n{log.read_text(encoding='utf-8')}")
            time.sleep(0.02)
        yield Running(found[1])
    finally:
        process.kill()
        process.wait(20)
