"""The folder of maps: what lies in it, and word of each change once it has come to rest."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import structlog

log = structlog.get_logger("lightfast.bridges.osc")

DEBOUNCE = 0.2
"""An editor writes a file several times; this long after the last time it is looked at, in seconds."""
MAX_MAPS = 32
"""The most maps that are used at once."""
_QUIET = ("opened", "closed_no_write")


def maps_in(folder: Path) -> list[Path]:
    """Return the map files in *folder*, by name."""
    try:
        return sorted(path for path in folder.iterdir() if is_map(path) and path.is_file())
    except OSError:
        return []


def is_map(path: Path) -> bool:
    """Say whether *path* is named like a map."""
    return path.suffix in (".yaml", ".yml") and not path.name.startswith((".", "_"))


class FolderWatch:
    """Gathers the names of the files that changed; `changed` waits for them.

    Each name is kept once, so what waits is bounded by the number of files.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._loop = asyncio.get_running_loop()
        self._names: set[str] = set()
        self._news = asyncio.Event()
        self._observer: Any = None
        self._starting = threading.Lock()
        self._closed = False

    def start(self) -> None:
        """Begin, in a thread; where the system has no file watches left, the folder is polled."""
        from watchdog.events import FileSystemEvent, FileSystemEventHandler
        from watchdog.observers import Observer
        from watchdog.observers.polling import PollingObserver

        watch = self

        class Handler(FileSystemEventHandler):
            def on_any_event(self, event: FileSystemEvent) -> None:
                watch._happened(event)

        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._starting:  # it runs in a thread, and the bridge may be told to stop meanwhile
            for observer in () if self._closed else (Observer(), PollingObserver()):
                try:
                    observer.schedule(Handler(), str(self._folder))
                    observer.start()
                except OSError as error:
                    log.warning("the folder of maps is polled: no file watch is left", reason=str(error))
                    continue
                self._observer = observer
                return

    def _happened(self, event: Any) -> None:
        # Runs in the observer's thread.
        if event.is_directory or event.event_type in _QUIET:
            return
        for text in (event.src_path, event.dest_path):
            path = Path(text.decode(errors="surrogateescape") if isinstance(text, bytes) else text or "")
            if path.parent == self._folder and is_map(path):
                try:
                    self._loop.call_soon_threadsafe(self._note, path.name)
                except RuntimeError:
                    return  # the loop is closed

    def _note(self, name: str) -> None:
        self._names.add(name)
        self._news.set()

    async def changed(self) -> set[str]:
        """Wait for a change, and until the files have come to rest; return their names."""
        await self._news.wait()
        quiet = False
        while not quiet:
            self._news.clear()
            try:
                async with asyncio.timeout(DEBOUNCE):
                    await self._news.wait()
            except TimeoutError:
                quiet = True
        names, self._names = self._names, set()
        return names

    def close(self) -> None:
        """End."""
        with self._starting:
            self._closed = True
            observer, self._observer = self._observer, None
        if observer is not None:
            observer.stop()
            observer.join(2.0)
