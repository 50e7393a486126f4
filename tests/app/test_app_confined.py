"""The daemon does its work within what the system unit leaves it."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Self

import pytest
from tests.support import confine
from tests.support.daemon import READY_S, Daemon
from tests.support.files import modes

from lightfast.client import Client

UNIT = Path(__file__).parents[2] / "systemd/lightfast.service"
needs_filter = pytest.mark.skipif(bool(confine.why_not()), reason=confine.why_not() or "it is there")


class Confined(Daemon):
    """A daemon with the folders and the system-call filter of the system unit."""

    def command(self) -> list[str]:
        plain = [part for part in super().command() if part not in {"--home", str(self.home)}]
        return [sys.executable, str(confine.__file__), str(UNIT), *plain]

    def start(self, within: float = READY_S) -> Self:
        for name in ("state", "run"):
            (self.home / name).mkdir(parents=True, mode=0o750)
        self.environ |= {"STATE_DIRECTORY": str(self.home / "state"), "RUNTIME_DIRECTORY": str(self.home / "run")}
        return super().start(within)


def rights(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): mode for path, mode in modes(folder).items()}


@needs_filter
def test_it_works_within_the_filter_and_shares_what_it_should(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with Confined(home) as found:
        with Client(home=str(home)) as client:
            client.set("/desk/a", 1.5)
            assert client.get("/desk/a").value == 1.5
            assert [step for step in client.generate("image", "a red circle") if step.HasField("asset")]
        os.kill(found.pid, signal.SIGHUP)
        found.wait_log("settings reloaded")
        assert rights(home / "run") == {"endpoints.json": 0o640, "lock": 0o600} | dict.fromkeys(
            ("grpc.sock", "link.sock", "pub.sock"), 0o660
        )
        assert not {
            name: mode for name, mode in rights(home / "state").items() if mode & 0o027 and "assets" not in name
        }
        for secret in ("token", "link.key"):
            assert rights(home / "state")[secret] == 0o600
