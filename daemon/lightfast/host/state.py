"""The plugins that are kept off at the next start, and why: one small JSON file."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import asdict, dataclass
from pathlib import Path

import structlog

log = structlog.get_logger("lightfast.host")


@dataclass(frozen=True, slots=True)
class Disabled:
    """Why a plugin is kept off; *digest* is the content of a drop-in that was at fault, *time* in ns."""

    reason: str
    stack: str = ""
    time: int = 0
    digest: str = ""


class StateFile:
    """Reads and writes the file; safe to use from any thread. Without a path nothing is kept."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._lock = threading.Lock()

    def disabled(self) -> dict[str, Disabled]:
        """Return the plugins kept off. A file that cannot be read is said and taken as empty."""
        with self._lock:
            return self._read()

    def disable(self, name: str, why: Disabled) -> None:
        """Keep *name* off from the next start on."""
        with self._lock:
            self._write({**self._read(), name: why})

    def enable(self, name: str) -> None:
        """Let *name* load again."""
        with self._lock:
            known = self._read()
            if known.pop(name, None) is not None:
                self._write(known)

    def _read(self) -> dict[str, Disabled]:
        if self._path is None:
            return {}
        try:
            data = json.loads(self._path.read_text(encoding="utf-8"))
            return {str(name): Disabled(**fields) for name, fields in data["disabled"].items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            log.warning("the file of disabled plugins cannot be read", path=str(self._path), reason=str(error))
            return {}

    def _write(self, known: dict[str, Disabled]) -> None:
        if self._path is None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        body = json.dumps({"disabled": {name: asdict(why) for name, why in known.items()}}, indent=1)
        temporary = self._path.with_suffix(".tmp")
        temporary.write_text(body + "\n", encoding="utf-8")
        os.replace(temporary, self._path)  # noqa: PTH105 — atomic on every system
