"""Watches the drop-in folder and says which file changed, once it has come to rest."""

from __future__ import annotations

import asyncio
import contextlib
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
LOOK_S = 0.5
"""How often a folder that is gone is looked for, in seconds."""
_QUIET = ("opened", "closed_no_write")
_ENDED = ("deleted", "moved")


class DropinWatch:
    """Calls *changed* on the loop with the path of a file with one of *suffixes* that was written, moved or deleted.

    Of many events for one file only the last counts, so what waits is bounded by the number of files. No suffixes: all
    files. *what* is how the folder is called in the log.
    """

    def __init__(
        self,
        folder: Path,
        changed: Callable[[Path], None],
        *,
        debounce: float = DEBOUNCE,
        suffixes: tuple[str, ...] = (".py",),
        what: str = "drop-in folder",
    ) -> None:
        self._folder = folder
        self._changed = changed
        self._debounce = debounce
        self._suffixes = suffixes
        self._what = what
        self._observer: BaseObserver | None = None
        self._pending: dict[Path, asyncio.TimerHandle] = {}
        self._mending: asyncio.TimerHandle | None = None
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
                "a folder is not watched, since it is not there and cannot be made: make it, then restart the daemon",
                what=self._what,
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
                log.warning("a folder is polled: no file watch is left", what=self._what, reason=str(error))
                observer = PollingObserver()
                observer.schedule(Handler(), str(self._folder))
                observer.start()
            self._observer = observer

    def _happened(self, event: FileSystemEvent) -> None:
        # Runs in the observer's thread.
        if event.is_directory and event.event_type in _ENDED and _text(event.src_path) == str(self._folder):
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._gone)
            return
        if event.is_directory or event.event_type in _QUIET:
            return
        for name in {_text(event.src_path), _text(event.dest_path)}:
            path = Path(name)
            if name and path.parent == self._folder and (not self._suffixes or path.suffix in self._suffixes):
                try:
                    self._loop.call_soon_threadsafe(self._later, path)
                except RuntimeError:
                    return  # the loop is closed

    def _gone(self) -> None:
        """Wait for a folder that was deleted or moved away to be there again; what is in it then has changed."""
        if not self._closed and self._mending is None:
            log.warning("a folder that is watched is gone", what=self._what, folder=str(self._folder))
            self._mending = self._loop.call_later(LOOK_S, self._look)

    def _look(self) -> None:
        self._mending = None
        if self._closed:
            return
        if not self._folder.is_dir():
            self._mending = self._loop.call_later(LOOK_S, self._look)
            return
        self._loop.run_in_executor(None, self._again)

    def _again(self) -> None:
        # Runs in a thread.
        self._end()
        self.start()
        with contextlib.suppress(RuntimeError, OSError):  # the loop is closed, or the folder is gone once more
            for path in self._folder.iterdir():
                if not self._suffixes or path.suffix in self._suffixes:
                    self._loop.call_soon_threadsafe(self._later, path)
        log.info("a folder is watched again", what=self._what, folder=str(self._folder))

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
        for waiting in self._pending.values():
            waiting.cancel()
        self._pending.clear()
        if self._mending is not None:
            self._mending.cancel()
        self._end()

    def _end(self) -> None:
        with self._starting:
            observer, self._observer = self._observer, None
        if observer is not None:
            observer.stop()
            observer.join(2.0)


def _text(path: Any) -> str:
    return path.decode(errors="surrogateescape") if isinstance(path, bytes) else str(path or "")
