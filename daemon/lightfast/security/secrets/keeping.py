"""Keeps the key of a provider for later, and takes it away."""

from __future__ import annotations

from pathlib import Path

from lightfast.security.keys import write_private
from lightfast.security.secrets.places import check_name, clean


def keep_in_file(folder: Path, provider: str, text: str) -> Path:
    """Write a key into the file of *provider*, for its owner alone (0600), whole or not at all; return where.

    Raises `InvalidArgument` (the name) and `FailedPrecondition` (KEY_FORM).
    """
    path = folder / check_name(provider)
    write_private(path, clean(text, "what was given").encode("ascii") + b"\n")
    return path


def remove_file(folder: Path, provider: str) -> bool:
    """Remove the file of *provider*; say whether there was one."""
    path = folder / check_name(provider)
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    return True
