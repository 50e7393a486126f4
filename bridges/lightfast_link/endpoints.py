r"""Where the daemon is: its `endpoints.json`, found with nothing but the standard library.

| system  | looked at, in this order                                                                  |
|---------|-------------------------------------------------------------------------------------------|
| any     | *home*`/run`, else `$LIGHTFAST_HOME/run`; where one of them is given, nowhere else         |
| Linux   | `$XDG_RUNTIME_DIR/lightfast`, `/run/user/UID/lightfast`, `TMP/runtime-UID/lightfast`, `/run/lightfast` |
| macOS   | `$XDG_RUNTIME_DIR/lightfast`, `~/Library/Caches/TemporaryItems/lightfast`                  |
| Windows | `%LOCALAPPDATA%\Temp\lightfast`                                                          |

A file is believed when it belongs to us, or to the system (`/run/lightfast`, whose folder root made), when
nobody else may change it, when its process runs, and when that process holds the lock beside it: a file
that a crash left behind, or that somebody planted, leads nowhere.
"""

from __future__ import annotations

import errno
import json
import os
import stat
import sys
import tempfile
from pathlib import Path
from typing import Any, Dict, List, Optional

FILE = "endpoints.json"
LOCK = "lock"
MAX_FILE = 65_536


class EndpointsError(OSError):
    """No daemon was found; the message says where it was looked for, and what to do."""


def folders(home: Optional[str] = None) -> List[str]:
    """Return the folders where a daemon of this user may have put its `endpoints.json`, the likeliest first."""
    chosen = home or os.environ.get("LIGHTFAST_HOME")
    if chosen:
        return [str(Path(chosen).expanduser().absolute() / "run")]
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
        return [str(Path(base) / "Temp" / "lightfast")]
    given = os.environ.get("XDG_RUNTIME_DIR")
    bases = [Path(given)] if given else []
    if sys.platform == "darwin":
        bases.append(Path.home() / "Library" / "Caches" / "TemporaryItems")
    else:
        user = str(os.getuid())
        bases += [Path("/run/user") / user, Path(tempfile.gettempdir()) / ("runtime-" + user), Path("/run")]
    return list(dict.fromkeys(str(base / "lightfast") for base in bases))


def find(home: Optional[str] = None) -> Dict[str, Any]:
    """Return the content of the running daemon's `endpoints.json`; raise `EndpointsError`."""
    looked = folders(home)
    problems = []
    for folder in looked:
        path = Path(folder) / FILE
        if os.path.lexists(path):
            try:
                return read(str(path))
            except EndpointsError as error:
                problems.append(str(error))
    if problems:
        raise EndpointsError("; ".join(problems))
    raise EndpointsError(
        "no daemon is running: there is no %s in %s. Start it with 'lightfastd'" % (FILE, ", ".join(looked))
    )


def read(path: str) -> Dict[str, Any]:
    """Return the content of one `endpoints.json` after all checks; raise `EndpointsError`."""
    try:
        # Not followed if it is a link: its own owner is what is checked.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
        with os.fdopen(descriptor, "rb") as file:
            _check_owner(path, os.fstat(file.fileno()))
            data = file.read(MAX_FILE)
        found = json.loads(data.decode("utf-8"))
        pid = int(found["pid"])
    except EndpointsError:
        raise
    except OSError as error:
        raise EndpointsError("cannot read %s: %s" % (path, error.strerror)) from None
    except (ValueError, KeyError, TypeError):
        raise EndpointsError("%s is malformed: restart the daemon" % path) from None
    if not _is_alive(pid) or not _is_locked(str(Path(path).parent / LOCK)):
        raise EndpointsError(
            "%s was left behind by a daemon that is gone (process %d): start 'lightfastd'" % (path, pid)
        )
    return dict(found)


def _check_owner(path: str, status: os.stat_result) -> None:
    if sys.platform == "win32":
        return  # the folder lies in the user's own profile
    folder, above = Path(path).parent.stat(), Path(path).parent.parent.stat()
    # Under the system unit everything belongs to the user `lightfast`, in a folder that only root can have made.
    system = folder.st_uid == status.st_uid and above.st_uid == 0 and not above.st_mode & stat.S_IWOTH
    if not stat.S_ISREG(status.st_mode) or not (status.st_uid in (os.geteuid(), 0) or system):
        raise EndpointsError(
            "%s belongs to user %d, not to you (%d), so it is not believed: remove it, or run as that user"
            % (path, status.st_uid, os.geteuid())
        )
    writable = stat.S_IWGRP | stat.S_IWOTH
    if status.st_mode & writable or (folder.st_mode & writable and not folder.st_mode & stat.S_ISVTX):
        raise EndpointsError("%s or its folder can be changed by others, so it is not believed: chmod go-w" % path)


def _is_alive(pid: int) -> bool:
    if pid <= 0:
        return False
    if sys.platform == "win32":
        return _is_alive_on_windows(pid)
    try:
        os.kill(pid, 0)
    except OSError as error:
        return error.errno == errno.EPERM
    except OverflowError:
        return False
    return True


def _is_alive_on_windows(pid: int) -> bool:
    import ctypes

    kernel = ctypes.windll.kernel32  # type: ignore[attr-defined,unused-ignore]
    handle = kernel.OpenProcess(0x1000, False, pid)  # PROCESS_QUERY_LIMITED_INFORMATION
    if not handle:
        return False
    code = ctypes.c_ulong()
    kernel.GetExitCodeProcess(handle, ctypes.byref(code))
    kernel.CloseHandle(handle)
    return code.value == 259  # STILL_ACTIVE


def _is_locked(path: str) -> bool:
    """Say whether somebody holds the daemon's lock; asked only when its process lives, so a start is not disturbed."""
    if sys.platform == "win32":
        return True  # opening a process by its id has said enough
    import fcntl

    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    except PermissionError:
        return True  # another user's lock, which we may not even ask about: the process lives, that must do
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False
