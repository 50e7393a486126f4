"""The file of an archive's keys: `private.json`, beside its shards.

    {"format": 1, "epoch": 2, "salt": hex, "verifier": hex, "earlier": {"1": {"210000": hex, …}}}

It holds no key that opens anything without the secret. *epoch* counts the secrets there were: each has a random
*salt* of its own, and so keys of its own. The keys of *earlier* epochs are kept under the three layers of the present
one, set by set, so that a frame sealed under an earlier secret opens under the present secret, and no longer under
its own. To change the secret is to replace this one file: whatever happens, each frame has exactly one secret.

Whoever knew an earlier secret and kept a copy of this file from that time can still open what was sealed until then:
they had it. What is sealed from then on has keys they never held.
"""

from __future__ import annotations

import secrets
from pathlib import Path

import msgspec

from lightfast.core.errors import FailedPrecondition, LightfastError
from lightfast.security.keys import read_private, write_private

FORMAT = 1
NAME = "private.json"
SALT = 32
MAX_EPOCHS = 2000
_MAX_SIZE = 16 << 20


class Keyring(msgspec.Struct, frozen=True):
    """What the file says."""

    epoch: int
    salt: str
    verifier: str
    earlier: dict[str, dict[str, str]] = {}
    format: int = FORMAT

    @property
    def salt_bytes(self) -> bytes:
        """The salt of this epoch."""
        return bytes.fromhex(self.salt)


def new_salt() -> bytes:
    """Return the salt of a new epoch."""
    return secrets.token_bytes(SALT)


def load(path: Path) -> Keyring | None:
    """Return what the file holds, `None` where there is none.

    Raises `FailedPrecondition` (SEAL_TOO_NEW, SEAL_KEYS_DAMAGED).
    """
    try:
        data = read_private(path, _MAX_SIZE, remade=False)
    except FileNotFoundError:
        return None
    try:
        found = msgspec.json.decode(data, type=_Format).format
        if found > FORMAT:
            raise FailedPrecondition(
                f"{path} was written by a newer Lightfast (format {found}, this one knows {FORMAT}): "
                "install the newer version; nothing was changed",
                reason="SEAL_TOO_NEW",
            )
        keyring = msgspec.json.decode(data, type=Keyring)
        if len(keyring.salt_bytes) != SALT or len(bytes.fromhex(keyring.verifier)) != 32 or keyring.epoch < 1:
            raise damaged(path, "salt, verifier or epoch is none")
    except (msgspec.MsgspecError, ValueError) as error:
        raise damaged(path, str(error)) from None
    return keyring


def save(path: Path, keyring: Keyring) -> None:
    """Replace the file, durably and whole."""
    clean(path)
    write_private(path, msgspec.json.encode(keyring) + b"\n")
    write_folder(path.parent)


def clean(path: Path) -> None:
    """Remove what a crash left of a file that was not finished."""
    for left in path.parent.glob(f".{path.name}.*"):
        left.unlink(missing_ok=True)


def write_folder(folder: Path) -> None:
    """Make the renames in *folder* durable, where the system has such a thing."""
    import os

    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def damaged(path: Path, why: str) -> LightfastError:
    """Return the error for a file that is no keyring."""
    return FailedPrecondition(
        f"the file of the private frames' keys {path} is damaged ({why}): put it back from a backup; without it "
        "they cannot be opened",
        reason="SEAL_KEYS_DAMAGED",
        metadata={"path": str(path)},
    )


def missing(path: Path, held: int) -> LightfastError:
    """Return the error for private frames without a keyring: a new one would make them look broken for good."""
    return FailedPrecondition(
        f"the archive holds {held} private frames, but the file of their keys {path} is missing: put it back from a "
        "backup, or bring it from the archive they were exported from; without it they cannot be opened",
        reason="SEAL_KEYS_MISSING",
        metadata={"path": str(path)},
    )


class _Format(msgspec.Struct):
    format: int
