"""A desk to make mistakes at: a real daemon, the command line, an application that never answers."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightfast.app.cli.stage import Stage
from lightfast.client import Client
from lightfast.core.errors import LightfastError
from lightfast_link.client import LinkClient
from lightfast_link.discover import transport

PORTS = [
    part for key in ("grpc.listen", "http.listen", "osc.listen", "link.tcp") for part in ("--set", f"{key}=127.0.0.1:0")
]


@dataclass(frozen=True)
class Told:
    """What somebody was told: *code* is an exit code, or the reason of a typed error."""

    code: int | str
    text: str


def matches(told: str, wanted: str, **known: object) -> bool:
    """Say whether *told* is *wanted*, in which `<name>` stands for a known text and `<…>` for any within a line."""
    pattern = re.escape(wanted)
    for name, value in known.items():
        pattern = pattern.replace(f"<{name}>", re.escape(str(value)))
    return re.fullmatch(pattern.replace("<…>", "[^\n]*?"), told) is not None


def clean_environ() -> dict[str, str]:
    """Return the environment without the tester's own settings."""
    return {name: value for name, value in os.environ.items() if not name.startswith("LIGHTFAST_")}


def run(
    *arguments: str | Path, seconds: float = 120, environ: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `lightfast` with these arguments."""
    return subprocess.run(
        [sys.executable, "-m", "lightfast", *map(str, arguments)],
        capture_output=True, text=True, timeout=seconds, check=False, stdin=subprocess.DEVNULL,
        env=clean_environ() | {"COLUMNS": "200"} | dict(environ or {}),
    )  # fmt: skip


def doctor(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the doctor; again where the machine was too busy for it to look at everything, as it says itself."""
    done = run("--home", home, *arguments)
    for _ in range(10):
        if "in time" not in done.stdout:
            break
        done = run("--home", home, *arguments)
    return done


def told(home: Path, *arguments: str | Path) -> Told:
    """Run `lightfast` on the daemon of *home*; return all it said, without the lines on how a command is used."""
    done = run("--home", home, *arguments)
    errors = done.stderr.partition("\n\n")[2] if done.stderr.startswith("Usage:") else done.stderr
    return Told(done.returncode, done.stdout + errors)


def serve(home: Path, *flags: str, environ: Mapping[str, str] | None = None) -> Told:
    """Start a daemon that is expected to refuse."""
    done = run("serve", "--home", home, *PORTS, *(part for flag in flags for part in ("--set", flag)), environ=environ)
    return Told(done.returncode, done.stderr)


class Desk:
    """One daemon on a folder of its own, for all mistakes that leave it as it was."""

    def __init__(self, folder: Path, *, dropins: dict[str, str] | None = None) -> None:
        self.home = folder
        self.stage = Stage(folder)
        plugins = folder / "config" / "plugins"
        plugins.mkdir(parents=True)
        for name, source in (dropins or {}).items():
            (plugins / f"{name}.py").write_text(source, encoding="utf-8")
        self.daemon = self.stage.daemon()
        self.client = Client(home=str(folder), timeout=60.0)
        self.client.job_types()  # it answers when the plugins are loaded

    def close(self) -> None:
        """End everything."""
        self.client.close()
        self.stage.close()

    @property
    def doors(self) -> dict[str, Any]:
        """The bound addresses."""
        found: dict[str, Any] = json.loads((self.home / "run" / "endpoints.json").read_text(encoding="utf-8"))
        return found

    def cli(self, *arguments: str | Path) -> Told:
        """Run a command that is expected to fail, and return what it said."""
        done = run("--home", self.home, *arguments)
        return Told(done.returncode, done.stderr)

    def away(self, token: str, *arguments: str) -> Told:
        """Run a command over TCP with a token."""
        done = run("--address", self.doors["grpc"], *arguments, environ={"LIGHTFAST_TOKEN": token})
        return Told(done.returncode, done.stderr)

    def sdk(self, call: Any) -> Told:
        """Make a call of the SDK that is expected to raise, and return what it said."""
        try:
            call(self.client)
        except LightfastError as error:
            more = "".join(
                f"\n{entry.path} is {entry.value.WhichOneof('kind')} at revision {entry.revision}"
                for entry in error.details
            )
            return Told(f"{type(error).__name__} {error.reason}", error.message + more)
        raise AssertionError("nothing was raised")

    def errors(self) -> list[str]:
        """Return the errors that the daemon wrote down, but that this machine stood still for a while."""
        whole = self.log().split("\n")[:-1]
        records = [json.loads(line) for line in whole if '"level": "error"' in line]
        return [record["event"] for record in records if record["event"] != "the watchdog is not fed"]

    def log(self) -> str:
        """Return what the daemon wrote down."""
        return self.stage.log("daemon").read_text(encoding="utf-8")

    def heard(self, event: str, after: int = 0, seconds: float = 60.0) -> dict[str, Any]:
        """Wait for an event in the daemon's log behind its first *after* characters, and return its record."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for line in self.log()[after:].splitlines():
                if f'"event": "{event}"' in line and line.endswith("}"):
                    found: dict[str, Any] = json.loads(line)
                    return found
            time.sleep(0.02)
        raise AssertionError(f"{event!r} was not logged within {seconds} s:\n{self.log()[after:]}")


class Guest:
    """An application that joins over the link."""

    def __init__(self, home: Path, *, key: bytes | None = None, **hello: Any) -> None:
        opened = transport(str(home))

        def choose() -> Any:
            found = opened()
            if key is not None:
                found.key = key
            return found

        said = {
            "app": "guest",
            "app_version": "1",
            "instance_id": "guest-1",
            "document_id": "d",
            "generation": 0,
            "pid": os.getpid(),
            "parameters": [],
            "commands": [],
            "capabilities": [],
            **hello,
        }
        self.client = LinkClient(choose, said).start()

    def __enter__(self) -> Guest:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close(2)

    def event(self, *kinds: str, seconds: float = 60.0) -> tuple[Any, ...]:
        """Wait for an event of one of these kinds."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.client.wait(0.1)
            for event in self.client.poll():
                if event[0] in kinds:
                    return event
        raise AssertionError(f"none of {kinds} within {seconds} s: {self.client.status()}")
