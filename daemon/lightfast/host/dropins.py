"""Watches the drop-in folder and says which file changed, once it has come to rest."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

if TYPE_CHECKING:
    from watchdog.events import FileSystemEvent
    from watchdog.observers.api import BaseObserver

log = structlog.get_logger("lightfast.host")

DEBOUNCE = 0.2
"""An editor writes a file several times; this long after the last time it is looked at, in seconds."""
_QUIET = ("opened", "closed_no_write")


class DropinWatch:
    """Calls *changed* on the loop with the path of a `*.py` that was written, moved or deleted.

    Of many events for one file only the last counts, so what waits is bounded by the number of files.
    """

    def __init__(self, folder: Path, changed: Callable[[Path], None], *, debounce: float = DEBOUNCE) -> None:
        self._folder = folder
        self._changed = changed
        self._debounce = debounce
        self._observer: BaseObserver | None = None
        self._pending: dict[Path, asyncio.TimerHandle] = {}
        self._loop = asyncio.get_running_loop()
        self._starting = threading.Lock()
        self._closed = False

    def start(self) -> None:
        """Begin; where the system has no watches left, the folder is polled instead, and it is said.

        A folder that is not there and cannot be made, as below `/etc`, is not watched.
        """
        from watchdog.events import FileSystemEventHandler
        from watchdog.observers import Observer
        from watchdog.observers.polling import PollingObserver

        watch = self

        class Handler(FileSystemEventHandler):
            def on_any_event(self, event: FileSystemEvent) -> None:
                watch._happened(event)

        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            log.info(
                "there is no drop-in folder, and it cannot be made: make it, then restart the daemon",
                folder=str(self._folder),
                reason=error.strerror,
            )
            return
        with self._starting:  # it runs in a thread, and the daemon may be told to stop meanwhile
            if self._closed:
                return
            observer: BaseObserver = Observer()
            try:
                observer.schedule(Handler(), str(self._folder))
                observer.start()
            except OSError as error:
                log.warning("the drop-in folder is polled: no file watch is left", reason=str(error))
                observer = PollingObserver()
                observer.schedule(Handler(), str(self._folder))
                observer.start()
            self._observer = observer

    def _happened(self, event: FileSystemEvent) -> None:
        # Runs in the observer's thread.
        if event.is_directory or event.event_type in _QUIET:
            return
        for name in {_text(event.src_path), _text(event.dest_path)}:
            path = Path(name)
            if name and path.suffix == ".py" and path.parent == self._folder:
                try:
                    self._loop.call_soon_threadsafe(self._later, path)
                except RuntimeError:
                    return  # the loop is closed

    def _later(self, path: Path) -> None:
        if (waiting := self._pending.pop(path, None)) is not None:
            waiting.cancel()
        if not self._closed:
            self._pending[path] = self._loop.call_later(self._debounce, self._settle, path)

    def _settle(self, path: Path) -> None:
        del self._pending[path]
        self._changed(path)

    def close(self) -> None:
        """End."""
        with self._starting:
            self._closed = True
            observer, self._observer = self._observer, None
        for waiting in self._pending.values():
            waiting.cancel()
        self._pending.clear()
        if observer is not None:
            observer.stop()
            observer.join(2.0)


def _text(path: Any) -> str:
    return path.decode(errors="surrogateescape") if isinstance(path, bytes) else str(path or "")
