"""The signals of the process, as events."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from lightfast.app.ending import stop_within_budgets


class Signals:
    """While entered, SIGTERM and SIGINT set `stop`, and SIGHUP sets `reload`.

    *again* is called for each further wish to stop, *first* for the first, which may come during the start, too.
    """

    def __init__(self, again: Callable[[], None], first: Callable[[], None] = stop_within_budgets) -> None:
        self.stop = asyncio.Event()
        self.reload = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._again = again
        self._first = first
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        wanted = {"SIGTERM": self._end, "SIGINT": self._end, "SIGBREAK": self._end, "SIGHUP": self.reload.set}
        for name, action in wanted.items():
            number = getattr(signal, name, None)
            if number is not None:
                self._before[number] = signal.getsignal(number)
                self._handle(number, action)
        return self

    def _handle(self, number: int, action: Callable[[], None]) -> None:
        try:
            self._loop.add_signal_handler(number, action)
        except NotImplementedError:  # Windows
            signal.signal(number, lambda *_: self._loop.call_soon_threadsafe(action))

    def _end(self) -> None:
        if self.stop.is_set():
            self._again()
        else:
            self._first()
        self.stop.set()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            with contextlib.suppress(NotImplementedError):
                self._loop.remove_signal_handler(number)
            signal.signal(number, handler)
