"""Logging: three styles, secrets hidden, the newest errors kept, the journal's own protocol."""

from __future__ import annotations

import io
import json
import logging
import os
import socket
import struct
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import structlog

from lightfast.core import log
from lightfast.core.clock import StillClock
from lightfast.core.journal import JournalWriter, encode
from lightfast.core.ring import ErrorRing


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    handlers, level = list(logging.root.handlers), logging.root.level
    yield
    logging.captureWarnings(False)
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)
    structlog.reset_defaults()
    while log._journals:
        log._journals.pop().close()


def logged(level: str = "info") -> io.StringIO:
    stream = io.StringIO()
    log.configure(level, "json", stream=stream)
    return stream


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_json_lines_carry_logger_level_and_time() -> None:
    stream = logged()
    structlog.get_logger("lightfast.room").info("it happened", path="/a", count=3, where=Path("/x"))
    (line,) = lines(stream)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "it happened",
        "level": "info",
        "logger": "lightfast.room",
        "path": "/a",
        "count": 3,
        "where": "/x",
    }


@pytest.mark.parametrize(
    ("name", "value", "hidden"),
    [
        ("token", "lf_" + "x" * 43, True),
        ("authorization", "Bearer abc", True),
        ("client_secret", "abc", True),
        ("api_key", "abc", True),
        ("why", "got lf_" + "x" * 43 + " from them", True),
        ("headers", {"Authorization": "Bearer abc", "deep": [{"password": "abc"}]}, True),
        ("token_id", "token-abc", False),
        ("link_key_file", "/abc", False),
        ("key", "grpc.listen", False),
        ("path", "/lf_abc/abc", False),
    ],
)
def test_secrets_are_hidden(name: str, value: object, hidden: bool) -> None:
    stream = logged()
    structlog.get_logger("x").error("event", **{name: value})
    text = stream.getvalue()
    assert ("***" in text) is hidden
    if hidden:
        assert "abc" not in text
        assert "xxxx" not in text
        assert "abc" not in str(log.errors.newest(1))


def test_errors_are_kept_with_their_traceback() -> None:
    logged()
    before = log.errors.total
    try:
        raise ValueError("bad")  # noqa: TRY301
    except ValueError:
        structlog.get_logger("lightfast.room").exception("it failed", path="/a")
    structlog.get_logger("lightfast.room").info("all well")
    (kept,) = log.errors.newest(1)
    assert (kept.logger, kept.event, kept.fields["path"]) == ("lightfast.room", "it failed", "/a")
    assert "ValueError: bad" in kept.fields["exception"]
    assert log.errors.total == before + 1


def test_the_ring_is_bounded_and_newest_first() -> None:
    ring = ErrorRing(3, StillClock(5))
    for number in range(5):
        ring.add({"event": f"error {number}", "logger": "x"})
    assert [one.event for one in ring.newest(2)] == ["error 4", "error 3"]
    assert len(ring.newest(100)) == 3
    assert (ring.total, ring.newest(1)[0].record_time) == (5, 5)


def test_the_level_can_change_for_loggers_that_exist() -> None:
    stream = logged("warning")
    logger = structlog.get_logger("lightfast.room")
    logger.info("unseen")
    log.configure("debug", "json", stream=stream)
    logger.debug("seen")
    log.configure("error", "json", stream=stream)
    logger.warning("unseen")
    assert [line["event"] for line in lines(stream)] == ["seen"]


def test_the_standard_library_logs_through_us() -> None:
    stream = logged()
    try:
        raise KeyError("x")  # noqa: TRY301
    except KeyError:
        logging.getLogger("uvicorn.error").exception("request %s failed", 7)
    logging.getLogger("chatty").info("unseen")
    (line,) = lines(stream)
    assert (line["logger"], line["event"], line["level"]) == ("uvicorn.error", "request 7 failed", "error")
    assert "KeyError" in line["exception"]


def test_warnings_are_logged() -> None:
    stream = logged()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    assert [line["logger"] for line in lines(stream)] == ["py.warnings"]


def test_every_line_is_json_whatever_is_in_it() -> None:
    stream = logged()
    odd = [float("nan"), float("inf"), {"deep": float("-inf"), 3: {1}}, b"\xff", "two\nlines", "\udc80", object()]
    for value in odd:
        structlog.get_logger("x").info("event", value=value)
    found = [json.loads(line, parse_constant=pytest.fail) for line in stream.getvalue().splitlines()]
    assert [line["value"] for line in found[:3]] == ["nan", "inf", {"deep": "-inf", "3": [1]}]
    assert len(found) == len(odd)


@pytest.mark.parametrize("style", ["json", "console", "journal"])
def test_a_token_in_an_exception_is_hidden(style: str, journal: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "lf_" + "x" * 43
    stream = io.StringIO()
    monkeypatch.setattr(log, "JournalWriter", partial(JournalWriter, address=journal.getsockname()))
    log.configure("info", style, stream=stream)
    try:
        raise ValueError(f"bad header: Bearer {secret}")  # noqa: TRY301
    except ValueError:
        structlog.get_logger("x").exception("it failed")
    text = journal.recv(65536).decode() if style == "journal" else stream.getvalue()
    assert "ValueError: bad header: Bearer ***" in text
    assert secret not in text
    assert secret not in str(log.errors.newest(1))


class Gone(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError

    def flush(self) -> None:
        raise OSError(28, "No space left on device")


@pytest.mark.parametrize("style", ["json", "console"])
def test_a_log_that_cannot_be_written_stops_nobody(style: str) -> None:
    before = log.errors.unwritten
    log.configure("info", style, stream=Gone())
    structlog.get_logger("x").error("to nobody")
    assert log.errors.unwritten == before + 1
    assert log.errors.newest(1)[0].event == "to nobody"


def test_the_console_shows_event_fields_and_traceback() -> None:
    stream = io.StringIO()
    assert log.configure("info", "console", stream=stream) == "console"
    try:
        raise ValueError("bad")  # noqa: TRY301
    except ValueError:
        structlog.get_logger("lightfast.room").exception("it failed", path="/a")
    text = stream.getvalue()
    for part in ("it failed", "path", "/a", "lightfast.room", "ValueError: bad"):
        assert part in text


def test_the_journal_is_chosen_when_standard_error_leads_there() -> None:
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as stream, os.fdopen(reader):
        found = os.fstat(stream.fileno())
        named = f"{found.st_dev}:{found.st_ino}"
        assert log.choose_format(stream, {"JOURNAL_STREAM": named}) == "journal"
        assert log.choose_format(stream, {"JOURNAL_STREAM": "1:2"}) == "json"
        assert log.choose_format(stream, {}) == "json"
    assert log.choose_format(io.StringIO(), {"JOURNAL_STREAM": named}) == "json"


def fields_of(entry: bytes) -> dict[str, str]:
    """Read an entry as the journal does."""
    found = {}
    while entry:
        name, _, rest = entry.partition(b"\n")
        if b"=" in name:
            key, _, value = name.partition(b"=")
            entry = rest
        else:
            key, (size,) = name, struct.unpack("<Q", rest[:8])
            value, entry = rest[8 : 8 + size], rest[9 + size :]
        found[key.decode()] = value.decode()
    return found


def test_journal_fields() -> None:
    event = {"event": "two\nlines", "level": "error", "logger": "lightfast.x", "path": "/a", "n-1": 3, "m": {"a": 1}}
    assert fields_of(encode(event)) == {
        "MESSAGE": "two\nlines",
        "PRIORITY": "3",
        "SYSLOG_IDENTIFIER": "lightfast",
        "LIGHTFAST_LOGGER": "lightfast.x",
        "LIGHTFAST_PATH": "/a",
        "LIGHTFAST_N_1": "3",
        "LIGHTFAST_M": '{"a": 1}',
    }


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as found:
        found.bind(str(tmp_path / "journal"))
        found.settimeout(60)
        yield found


def test_the_journal_gets_every_field(journal: socket.socket) -> None:
    missed: list[str] = []
    writer = JournalWriter(fallback=missed.append, address=journal.getsockname())
    writer.write({"event": "hello", "level": "info"})
    assert fields_of(journal.recv(65536))["MESSAGE"] == "hello"
    writer.close()
    assert not missed


def test_the_journal_style_carries_every_field(journal: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "JournalWriter", partial(JournalWriter, address=journal.getsockname()))
    stream = io.StringIO()
    assert log.configure("info", "journal", stream=stream) == "journal"
    structlog.get_logger("lightfast.room").warning("it happened", path="/a", api_key="abc")
    found = fields_of(journal.recv(65536))
    assert found["MESSAGE"] == "it happened"
    assert found["PRIORITY"] == "4"
    assert (found["LIGHTFAST_LOGGER"], found["LIGHTFAST_PATH"], found["LIGHTFAST_API_KEY"]) == (
        "lightfast.room", "/a", "***",
    )  # fmt: skip
    open_files = Path("/proc/self/fd")
    before = len(list(open_files.iterdir())) if open_files.exists() else 0
    for _ in range(5):
        log.configure("info", "journal", stream=stream)
    assert not before or len(list(open_files.iterdir())) <= before  # one that goes meanwhile is of another test
    assert not stream.getvalue()


def test_a_large_entry_goes_as_a_sealed_file(journal: socket.socket) -> None:
    missed: list[str] = []
    writer = JournalWriter(fallback=missed.append, address=journal.getsockname())
    writer.write({"event": "x" * 1_000_000, "level": "info"})
    content, handles, _, _ = socket.recv_fds(journal, 10, 1)
    assert content == b""
    with os.fdopen(handles[0], "rb") as file:
        assert len(fields_of(os.pread(file.fileno(), 2_000_000, 0))["MESSAGE"]) == 1_000_000
        with pytest.raises(PermissionError):
            os.pwrite(file.fileno(), b"y", 0)
    writer.close()
    assert not missed


def test_without_a_journal_the_line_is_not_lost(tmp_path: Path) -> None:
    missed: list[str] = []
    writer = JournalWriter(fallback=missed.append, address=str(tmp_path / "nobody"))
    writer.write({"event": "hello", "level": "error", "path": "/a"})
    writer.close()
    assert len(missed) == 1
    assert "hello" in missed[0]
    assert "/a" in missed[0]


def test_what_logs_while_a_line_is_being_written_is_not_written_and_stops_nothing() -> None:
    """A finalizer may log, whenever the collector runs: also within the write of another line."""

    class Raw(io.RawIOBase):
        text = b""
        again = True

        def writable(self) -> bool:
            return True

        def write(self, data: Any) -> int:
            if self.again:
                self.again = False
                structlog.get_logger("finalizer").info("inner")
            self.text += bytes(data)
            return len(data)

    raw = Raw()
    log.configure("info", "json", stream=io.TextIOWrapper(io.BufferedWriter(raw)))
    unwritten = log.errors.unwritten
    structlog.get_logger("owner").info("outer")
    assert b"outer" in raw.text
    assert log.errors.unwritten == unwritten + 1


def test_after_a_reset_the_loggers_of_libraries_are_not_ours_any_more() -> None:
    """They would print through a lock that structlog holds by default, and a finalizer would wait for itself."""
    stream = logged()
    logging.getLogger("library").warning("before")
    log.reset()
    logging.getLogger("library").warning("after")
    assert "before" in stream.getvalue()
    assert "after" not in stream.getvalue()
    assert not [handler for handler in logging.root.handlers if isinstance(handler, log._Bridge)]
