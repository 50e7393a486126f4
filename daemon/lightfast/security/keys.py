"""Secrets in files: written for their owner alone, and refused when others could read them."""

from __future__ import annotations

import os
import secrets
import stat
import sys
from pathlib import Path

from lightfast.core.errors import FailedPrecondition

KEY_BYTES = 32
"""The length of a link key."""


def write_private(path: Path, data: bytes) -> None:
    """Write *data* so that only the owner can read it, whole or not at all; the folder is made if needed (0700)."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def read_private(path: Path, limit: int = 4096, *, remade: bool = True) -> bytes:
    """Return the content of a secret file of at most *limit* bytes.

    Raises `FailedPrecondition` (reason KEY_FILE) when others than the owner can read or change it: the
    secret is then no secret any more. Only where it is *remade* when it is missing, deleting it is advised.
    """
    with path.open("rb") as file:
        if sys.platform != "win32":
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & 0o077:
                raise FailedPrecondition(
                    f"the secret file {path} is open to others (mode {mode:04o}): run 'chmod 600 {path}'"
                    + (", or delete it so that a new secret is made" if remade else ""),
                    reason="KEY_FILE",
                    metadata={"path": str(path)},
                )
        data = file.read(limit + 1)
    if len(data) > limit:
        raise FailedPrecondition(
            f"the secret file {path} is longer than {limit} bytes"
            + (": delete it so that a new one is made" if remade else ": it is not what was written there"),
            reason="KEY_FILE",
            metadata={"path": str(path)},
        )
    return data


def ensure_secret(path: Path) -> bytes:
    """Return the 32-byte key kept in hex in the file at *path*, made at the first call (0600)."""
    if not path.exists():
        write_private(path, secrets.token_bytes(KEY_BYTES).hex().encode("ascii") + b"\n")
    text = read_private(path).strip()
    try:
        key = bytes.fromhex(text.decode("ascii"))
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise FailedPrecondition(
            f"the key file {path} does not hold {KEY_BYTES} bytes in hex: delete it so that a new key is made",
            reason="KEY_FILE",
            metadata={"path": str(path)},
        )
    return key
