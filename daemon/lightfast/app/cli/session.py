"""What every command shares: the options before it, the client, the output, the exit codes."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from unicodedata import combining, east_asian_width

from lightfast.core.errors import LightfastError

if TYPE_CHECKING:
    from lightfast.client import Client

NEGATIVE = {"ignore_unknown_options": True}
"""For commands that take a value: `-5` is a number, not an option."""

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_NO_DAEMON = 3
EXIT_NOT_FOUND = 4
EXIT_CONFLICT = 5
EXIT_DENIED = 6
EXIT_DEADLINE = 7

_BY_STATUS = {
    "INVALID_ARGUMENT": EXIT_USAGE,
    "NOT_FOUND": EXIT_NOT_FOUND,
    "ABORTED": EXIT_CONFLICT,
    "ALREADY_EXISTS": EXIT_CONFLICT,
    "UNAUTHENTICATED": EXIT_DENIED,
    "PERMISSION_DENIED": EXIT_DENIED,
    "DEADLINE_EXCEEDED": EXIT_DEADLINE,
}


def exit_code(error: LightfastError) -> int:
    """Return the exit code of an error (DESIGN: 1 failed … 7 deadline)."""
    if error.reason == "NO_DAEMON":
        return EXIT_NO_DAEMON
    return _BY_STATUS.get(error.status, EXIT_FAILED)


@dataclass(slots=True)
class Session:
    """The options given before the command."""

    home: str | None = None
    address: str | None = None
    token: str = ""
    as_json: bool = False

    def client(self, timeout: float = 10.0) -> Client:
        """Open a blocking client; raises `DaemonGone` where no daemon runs."""
        from lightfast.client import Client

        return Client(self.address, token=self.token, home=self.home, timeout=timeout)

    def show(self, message: dict[str, Any], render: Callable[[dict[str, Any]], None]) -> None:
        """Print *message*: as one line of JSON if asked, else by *render*."""
        if self.as_json:
            print(json.dumps(message, ensure_ascii=False).translate(_UNSEEN_JSON), flush=True)
        else:
            render(message)

    def call(
        self,
        name: str,
        fields: dict[str, Any],
        render: Callable[[dict[str, Any]], None],
        timeout: float | None = None,
    ) -> dict[str, Any]:
        """Make one unary call and show the answer."""
        with self.client() as client:
            message = client.call_json(name, fields, timeout)
        self.show(message, render)
        return message


CURRENT = Session()
"""Filled in by the main callback before a command runs."""


@contextmanager
def arguments_told() -> Iterator[None]:
    """Turn the `ValueError` of an argument that cannot be read into a message about the usage."""
    import typer

    try:
        yield
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


_UNSEEN = {
    code: f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
    for code in (*range(9), *range(11, 32), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A))
}
"""Characters that command a terminal, or turn the order of what it shows: a text of others must do neither."""

_UNSEEN_JSON = {code: f"\\u{code:04x}" for code in _UNSEEN if code > 31}
"""The same in JSON, which spells out the others itself."""


def say(text: str) -> None:
    """Print a line for a person; what would command their terminal is spelled out."""
    print(text.translate(_UNSEEN), flush=True)


def fail(text: str) -> None:
    """Print a line of trouble; what would command the terminal is spelled out."""
    print(text.translate(_UNSEEN), file=sys.stderr, flush=True)


def hush() -> None:
    """Show what the rooms below log only when something is broken: a command prints its own answer."""
    import logging

    from lightfast.core import log  # noqa: F401  # first: it keeps what a command does not need from being loaded

    # isort: split
    import structlog

    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


_WIDEST = 60


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], empty: str) -> None:
    """Print a table, one line a row whatever its length, or *empty* where there are no rows."""
    listed = [[str(cell).replace("\n", "\\n") for cell in row] for row in rows]
    if not listed:
        say(empty)
        return
    # A few long cells may stick out; they do not push all others to the right.
    widths = [
        max([len(column), *(_width(row[i]) for row in listed if _width(row[i]) <= _WIDEST)])
        for i, column in enumerate(columns)
    ]
    bold = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    head = _line(columns, widths)
    print(f"\x1b[1m{head}\x1b[0m" if bold else head, flush=True)
    for row in listed:
        say(_line(row, widths))


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = (cell + " " * (width - _width(cell)) for cell, width in zip(cells, widths, strict=True))
    return "  ".join(padded).rstrip()


def _width(text: str) -> int:
    """Return how many columns a text takes: wide characters take two, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(0 if combining(char) else 2 if east_asian_width(char) in "WF" else 1 for char in text)


def asks_for_percent(done: float) -> str:
    """Return a fraction as percent, or dots where it is not known."""
    return "…" if done < 0 else f"{done:4.0%}"
