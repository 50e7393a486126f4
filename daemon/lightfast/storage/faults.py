"""What SQLite complains of, in the words of Lightfast."""

from __future__ import annotations

import errno

import apsw

from lightfast.core.errors import Conflict, Exhausted, FailedPrecondition, LightfastError, Unavailable

MINIMUM_SQLITE = (3, 51, 3)
"""Older ones can corrupt a database in WAL mode when a checkpoint resets the log."""


def translate(error: Exception, folder: str) -> Exception:
    """Return *error* as one of `lightfast.core.errors` where it is not a mistake of our own."""
    if isinstance(error, apsw.FullError) or (
        isinstance(error, apsw.IOError) and getattr(error, "system_errno", 0) in {errno.ENOSPC, errno.EDQUOT}
    ):
        return Exhausted(
            f"the disk is full: nothing more can be written to {folder}. "
            "Free some space there; reading goes on, and writing works again as soon as there is room",
            reason="DISK_FULL",
            metadata={"folder": folder},
            retry_after=5.0,
        )
    if isinstance(error, apsw.ConstraintError):
        return Conflict(f"a row contradicts one that exists: {error}", reason="ROW_CONFLICT")
    if isinstance(error, (apsw.IOError, apsw.CantOpenError, apsw.ReadOnlyError, apsw.PermissionsError)):
        return Unavailable(
            f"the database in {folder} cannot be written or read: {error}. Check the disk and the rights of the folder",
            reason="STORE_IO",
            metadata={"folder": folder},
            retry_after=5.0,
        )
    if isinstance(error, (apsw.BusyError, apsw.LockedError)):
        return Unavailable(
            f"the database in {folder} is locked by another process: close the program that holds it",
            reason="STORE_LOCKED",
            retry_after=1.0,
        )
    if isinstance(error, (apsw.CorruptError, apsw.NotADBError)):
        return corrupt(folder, str(error))
    return error


def corrupt(where: str, why: str) -> LightfastError:
    """Return the error for a file that is no sound database of ours."""
    return FailedPrecondition(
        f"{where} is not a sound Lightfast store ({why}): restore it from a backup, or move it away to start afresh",
        reason="STORE_CORRUPT",
    )


def check_library() -> None:
    """Raise `FailedPrecondition` if the SQLite that apsw brings is too old to be trusted."""
    version = apsw.sqlite_lib_version()
    if tuple(int(part) for part in version.split(".")[:3]) < MINIMUM_SQLITE:
        wanted = ".".join(map(str, MINIMUM_SQLITE))
        raise FailedPrecondition(
            f"apsw brings SQLite {version}, which can corrupt databases; {wanted} is the oldest allowed: "
            "install the wheel of apsw from PyPI, not the package of the system",
            reason="SQLITE_TOO_OLD",
        )
