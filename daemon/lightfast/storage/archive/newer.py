"""What a newer version wrote is left alone."""

from __future__ import annotations

from pathlib import Path

from lightfast.core.errors import FailedPrecondition


def newer(folder: Path) -> FailedPrecondition:
    """Return the error for an archive that is not to be touched."""
    return FailedPrecondition(
        f"the archive {folder} was written by a newer version of Lightfast: it is left as it is. Install that "
        "version, or give this one another folder",
        reason="ARCHIVE_NEWER",
    )
