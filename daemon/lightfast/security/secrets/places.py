"""The places a key may be in: a credential of the service manager, a file, the environment."""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Mapping
from pathlib import Path

from lightfast.core.errors import FailedPrecondition, InvalidArgument

LONGEST = 16 * 1024
"""The longest key, in bytes."""
Stamp = tuple[int, int, int, int]
"""What changes with the content or the rights of a file: its times of change in ns, its size, its number."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}").fullmatch


def check_name(name: str) -> str:
    """Return the name of a provider; raise `InvalidArgument` where it could not be the name of a file."""
    if not _NAME(name):
        raise InvalidArgument(
            f"{name!r:.80} is no name of a provider: letters, digits, '_', '.' and '-'", field="provider"
        )
    return name


def clean(text: str, source: str) -> str:
    """Return a key without the white space around it; raise `FailedPrecondition` (KEY_FORM) where it can be none.

    The message does not repeat it.
    """
    key = text.strip()
    if not key:
        raise _form(f"{source} is empty")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise _form(f"{source} holds no key: a key is one line of ASCII without spaces")
    if len(key) > LONGEST:
        raise _form(f"{source} is longer than {LONGEST} bytes, which no key is")
    return key


def _form(message: str) -> FailedPrecondition:
    return FailedPrecondition(message, reason="KEY_FORM")


def read_file(path: Path, *, checked: bool = True) -> str | None:
    """Return the key in a file, `None` where there is no file.

    Raises `FailedPrecondition` (KEY_FILE) unless it is a regular file of ours that nobody else may read or write.
    *checked* false leaves out whose it is: the service manager's credentials have rights of their own.
    """
    try:
        # NONBLOCK, because the open of a pipe would wait for who writes into it.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise _file(path, f"cannot be read: {error.strerror}") from None
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise _file(path, "is no regular file: a key lies in a file of its own")
        if checked and sys.platform != "win32":
            _check_rights(path, found)
        data = os.read(descriptor, LONGEST + 1)
    except OSError as error:
        raise _file(path, f"cannot be read: {error.strerror}") from None
    finally:
        os.close(descriptor)
    try:
        return clean(data.decode("ascii"), f"the key file {path}")
    except UnicodeDecodeError:
        raise _form(f"the key file {path} holds no key: a key is one line of ASCII without spaces") from None


def _check_rights(path: Path, found: os.stat_result) -> None:
    mode = stat.S_IMODE(found.st_mode)
    if found.st_uid != os.geteuid():
        raise _file(path, f"belongs to user {found.st_uid}, not to you ({os.geteuid()}): run 'chown $USER {path}'")
    if mode & ~0o600:
        raise _file(path, f"is open to others (mode {mode:04o}): run 'chmod 600 {path}'")


def _file(path: Path, what: str) -> FailedPrecondition:
    return FailedPrecondition(f"the key file {path} {what}", reason="KEY_FILE", metadata={"path": str(path)})


def credential_path(name: str, environ: Mapping[str, str]) -> Path | None:
    """Return where systemd has put the credential *name*; `None` where it has handed over none at all."""
    folder = environ.get("CREDENTIALS_DIRECTORY", "")
    return Path(folder) / name if folder else None


def stamp(path: Path) -> Stamp | None:
    """Return what tells one content of a file from the next; `None` where there is no file."""
    try:
        found = os.stat(path)  # noqa: PTH116 — half the time of Path.stat, and it is asked for often
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino
