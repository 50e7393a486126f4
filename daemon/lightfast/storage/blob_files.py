"""The files of the asset store: what runs off the loop, and what their errors mean."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

from lightfast.core.errors import Exhausted, LightfastError, Unavailable
from lightfast.storage.assets import AssetRecord


def fault(error: OSError, folder: Path) -> LightfastError:
    """Return what *error* means for the asset store in *folder*."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return Exhausted(
            f"the disk is full: no asset can be written to {folder}. Free some space there, then try again",
            reason="DISK_FULL",
            metadata={"folder": str(folder)},
            retry_after=5.0,
        )
    return Unavailable(f"the asset store {folder} failed: {error}", reason="STORE_IO", retry_after=5.0)


def open_blob(record: AssetRecord) -> Any:
    """Open the file of *record*; raise `Unavailable` (ASSET_LOST) where it is gone."""
    try:
        return record.path.open("rb")
    except FileNotFoundError:
        raise lost(record) from None


def read_at(file: Any, size: int, offset: int) -> bytes:
    """Return at most *size* bytes of *file* from *offset*."""
    file.seek(offset)
    return bytes(file.read(size))


def has_size(path: Path, size: int) -> bool:
    """Say whether there is a file at *path* with *size* bytes."""
    try:
        return path.stat().st_size == size
    except FileNotFoundError:
        return False


def lost(record: AssetRecord) -> Unavailable:
    """Return the error for an asset whose file is gone or shorter than it was."""
    return Unavailable(
        f"the file of asset {record.sha256} is gone or damaged: {record.path}. Store the same bytes again",
        reason="ASSET_LOST",
        metadata={"sha256": record.sha256},
    )


def sync_folder(folder: Path) -> None:
    """Make a rename in *folder* durable; Windows has no such thing, and needs none."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
