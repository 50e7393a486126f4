"""One private daemon for the bench."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from types import TracebackType

from lightfast.api.v1 import context_pb2, types_pb2
from lightfast.app.cli.stage import Stage
from lightfast.client import AsyncClient


class World:
    """A daemon in a temporary folder; *grpc* and *token* open its TCP door."""

    def __init__(self, *settings: str) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="lightfast-bench-")
        self.home = Path(self._folder.name)
        self.stage = Stage(self.home)
        self.process = self.stage.daemon(*settings)
        self.endpoints = json.loads((self.home / "run" / "endpoints.json").read_text())
        self.grpc = str(self.endpoints["grpc"])
        self.token = Path(str(self.endpoints["token_file"])).read_text().strip()

    @property
    def pid(self) -> int:
        """The process."""
        return self.process.pid

    async def declare_signals(self, pattern: str) -> None:
        """Declare paths as signals."""
        async with AsyncClient(home=str(self.home)) as client:
            await client.declare(
                context_pb2.Declaration(pattern=pattern, entry_class=types_pb2.ENTRY_CLASS_SIGNAL, type="double")
            )

    def __enter__(self) -> World:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stage.close()
        self._folder.cleanup()
