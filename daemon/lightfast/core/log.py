"""Logging: structlog to a console, to JSON lines, or to the journal with native fields.

Importing this module first keeps `rich` out: structlog would load it for tracebacks that a daemon
does not print, at a tenth of the start-up time.
"""

from __future__ import annotations

import logging
import math
import os
import sys
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, TextIO

from lightfast.core import redaction
from lightfast.core.ring import ErrorRing


def _import_structlog_without_rich() -> None:
    if "structlog" in sys.modules or "rich" in sys.modules:
        return
    sys.modules["rich"] = None  # type: ignore[assignment]  # makes `import rich` fail
    try:
        import structlog  # noqa: F401
    finally:
        del sys.modules["rich"]


_import_structlog_without_rich()

import structlog  # noqa: E402

from lightfast.core.journal import JournalWriter  # noqa: E402

Event = MutableMapping[str, Any]
LEVELS = ("debug", "info", "warning", "error")
_SECRET_KEYS = ("token", "secret", "password", "authorization", "cookie", "api_key", "link_key", "private_key")
_NOT_SECRET = ("token_id", "token_file", "page_token", "link_key_file", "tokens")


errors = ErrorRing(200, hide=redaction.hide)
"""The newest errors of this process, for `ListErrors`."""
_journals: list[JournalWriter] = []
"""The writer in use, where there is one: it is closed when another takes its place."""


def redact(_: Any, __: str, event: Event) -> Event:
    """Hide the values of fields that hold secrets, and anything that looks like one of our tokens."""
    for name, value in event.items():
        hidden = _hide(name, value)
        if hidden is not value:
            event[name] = hidden
    return event


def _hide(name: str, value: Any) -> Any:
    lowered = name.lower()
    if lowered not in _NOT_SECRET and any(lowered.endswith(word) for word in _SECRET_KEYS):
        return redaction.HIDDEN
    if isinstance(value, str):
        return redaction.hide(value)
    if isinstance(value, Mapping):
        return {key: _hide(str(key), one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_hide("", one) for one in value]
    return value


def _keep_error(_: Any, method: str, event: Event) -> Event:
    if method in {"error", "critical", "exception"}:
        errors.add(event)
    return event


def _render_values(_: Any, __: str, event: Event) -> Event:
    """Make every value plain text, a number or JSON, so that no renderer can fail on it."""
    for name, value in event.items():
        if not isinstance(value, str | int | bool | None):
            event[name] = _plain(value)
    return event


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # JSON has no word for it
    return value if isinstance(value, str | int | float | bool | None) else str(value)


class _Logger:
    """The end of the pipeline: writes what the renderer returned; *name* is the part of the daemon."""

    __slots__ = ("_write", "name")

    def __init__(self, name: str, write: Callable[[Any], None]) -> None:
        self.name = name
        self._write = write

    def msg(self, rendered: Any) -> None:
        """Write one line."""
        self._write(rendered)

    debug = info = warning = error = critical = exception = msg


def _add_name(logger: Any, _: str, event: Event) -> Event:
    event.setdefault("logger", logger.name)
    return event


def choose_format(stream: TextIO, environ: Mapping[str, str]) -> str:
    """Return `journal` under systemd, `console` on a terminal, else `json`."""
    named = environ.get("JOURNAL_STREAM", "")
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return "json"
    if named and named == f"{found.st_dev}:{found.st_ino}":
        return "journal"
    return "console" if stream.isatty() else "json"


def configure(
    level: str = "info",
    style: str = "auto",
    *,
    stream: TextIO | None = None,
    environ: Mapping[str, str] | None = None,
) -> str:
    """Set logging up for this process, again when called again; return the style in use."""
    stream = sys.stderr if stream is None else stream
    if style == "auto":
        style = choose_format(stream, os.environ if environ is None else environ)
    write: Callable[[Any], None] = _writer(stream)
    renderer: Any
    while _journals:
        _journals.pop().close()
    if style == "journal":
        journal = JournalWriter(fallback=write)
        _journals.append(journal)
        write = journal.write
        renderer = _whole
    elif style == "console":
        renderer = structlog.dev.ConsoleRenderer(
            colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    else:
        renderer = structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            _add_name,
            redact,
            _render_values_except_exc_info,
            _keep_error,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _redact_traceback,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *args: _Logger(args[0] if args else "lightfast", write),
        cache_logger_on_first_use=False,  # so that SIGHUP can change the level of every logger
    )
    _route_stdlib(level)
    return style


def _redact_traceback(_: Any, __: str, event: Event) -> Event:
    """Hide tokens in the text of an exception, which is there only now."""
    if "exception" in event:
        event["exception"] = redaction.hide(event["exception"])
    return event


def _whole(_: Any, __: str, event: Event) -> tuple[tuple[Event], dict[str, Any]]:
    """Hand the event on as one argument: structlog would spread a mapping over keywords."""
    return (event,), {}


def _render_values_except_exc_info(logger: Any, method: str, event: Event) -> Event:
    info = event.pop("exc_info", None)
    _render_values(logger, method, event)
    if info:
        event["exc_info"] = info
    return event


def _writer(stream: TextIO) -> Callable[[str], None]:
    def write(line: str) -> None:
        # A reader that left, or a full disk under the log, must not stop what only wanted to say something. A finalizer
        # that the collector runs while a line is being written may log, too: the stream refuses that as reentrant.
        try:
            stream.write(line + "\n")
            stream.flush()
        except (OSError, ValueError, RuntimeError):
            errors.unwritten += 1

    return write


class _Bridge(logging.Handler):
    """Hands the records of the standard library's logging to structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log one record under its own logger's name."""
        logger = structlog.get_logger(record.name)
        fields: dict[str, Any] = {"exc_info": record.exc_info} if record.exc_info else {}
        number = min(max(record.levelno // 10 * 10, logging.DEBUG), logging.CRITICAL)
        logger.log(number, record.getMessage(), **fields)


_INDISCREET = (
    *("openai", "anthropic", "google_genai", "elevenlabs", "runwayml", "replicate"),
    *("httpx", "httpx2", "httpcore", "httpcore2"),
)
"""Libraries that write whole requests to the log when debugging: prompts and answers stay out of it."""


def reset() -> None:
    """Take back what `configure` did; what the standard library's loggers say is no longer ours.

    It must not go to the logger that structlog makes by default: that one holds a plain lock while it prints, and a
    finalizer that logs meanwhile, in the same thread, would wait for it for ever.
    """
    while _journals:
        _journals.pop().close()
    _unroute_stdlib()
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


def _unroute_stdlib() -> None:
    root = logging.getLogger()
    for handler in [one for one in root.handlers if isinstance(one, _Bridge)]:
        root.removeHandler(handler)


def _route_stdlib(level: str) -> None:
    root = logging.getLogger()
    _unroute_stdlib()
    root.addHandler(_Bridge())
    # Libraries are chatty: what they say below a warning is ours to see only when debugging.
    root.setLevel(logging.DEBUG if level == "debug" else logging.WARNING)
    logging.captureWarnings(capture=True)
    if level == "debug":
        for noisy in ("asyncio", "watchdog", "grpc", *_INDISCREET):
            logging.getLogger(noisy).setLevel(logging.INFO)
