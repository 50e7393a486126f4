"""Seals and opens private content while there is a secret; implements the archive's `Sealer`. For threads."""

from __future__ import annotations

import hmac
import math
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import structlog

from lightfast.core.errors import AlreadyExists, Denied, Exhausted, FailedPrecondition, NotFound
from lightfast.security.sealing import keyring as rings
from lightfast.security.sealing.derive import (
    BASE,
    BASES,
    FLOOR,
    KEY,
    LAYERS,
    MAX_FACTOR,
    Keys,
    base_of,
    derive,
    factor_of,
    settle,
    verifier,
    wipe,
)
from lightfast.security.sealing.keyring import Keyring
from lightfast.security.sealing.layers import Layers, broken, close, new_salt, salt_of, unclose

log = structlog.get_logger("lightfast.vault")

Progress = Callable[[int, int], None]
"""Called with how many sets of keys are done, and of how many."""
_EARLIER = 64
"""How many sets of keys of earlier epochs are held; they are unwrapped again where more are in use."""


class Seals:
    """The private frames of one archive; the file at *path* holds what is known without the secret.

    `unlock`, `rotate` and the first frame of a heavier weight take some tenths of a second each.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.RLock()
        self._ring: Keyring | None = None
        self._secret = bytearray()
        self._sets: dict[int, Keys] = {}
        self._earlier: dict[tuple[int, int], Keys] = {}

    @property
    def unlocked(self) -> bool:
        """Say whether there is a secret."""
        return bool(self._sets)

    @property
    def created(self) -> bool:
        """Say whether the archive has a secret, known here or not."""
        return self._ring is not None or self._path.exists()

    # ---- the secret

    def unlock(self, secret: bytearray, *, create: bool = False) -> None:
        """Take *secret*, which is wiped at the end; with *create* it becomes the first one of the archive.

        Raises `NotFound` (SECRET_NOT_SET), `AlreadyExists` (SECRET_SET), `Denied` (SECRET_WRONG) and what `load` of
        the keyring raises.
        """
        try:
            ring = rings.load(self._path)
            if ring is None:
                if not create:
                    raise NotFound(
                        "the archive has no secret yet, and so no private frames: choose one with "
                        "'lightfast archive unlock --new'",
                        reason="SECRET_NOT_SET",
                    )
                salt = rings.new_salt()
                keys = derive(secret, salt, FLOOR)
                ring = Keyring(1, salt.hex(), verifier(keys).hex())
                rings.save(self._path, ring)
            else:
                keys = self._check(ring, secret)
                if create:
                    for key in keys:
                        wipe(key)
                    raise AlreadyExists(
                        "the archive has a secret already: unlock it with that one, and change it with "
                        "'lightfast archive rotate'",
                        reason="SECRET_SET",
                    )
            self._take(ring, bytearray(secret), {FLOOR: keys})
        finally:
            wipe(secret)

    def lock(self) -> None:
        """Forget the secret and every key."""
        with self._lock:
            for keys in (*self._sets.values(), *self._earlier.values()):
                for key in keys:
                    wipe(key)
            wipe(self._secret)
            self._secret = bytearray()
            self._sets.clear()
            self._earlier.clear()

    def rotate(self, secret: bytearray, new_secret: bytearray, progress: Progress) -> None:
        """Make *new_secret* the secret; both are wiped. Unlocked seals stay so, locked ones stay locked.

        Until the new file is in its place, everything opens with the old secret, and from then on with the new one.
        Raises as `unlock` does.
        """
        old: dict[int, Keys] = {}
        new: dict[int, Keys] = {}
        done, total = 0, 2 * len(BASES) + 1
        try:
            ring = rings.load(self._path)
            if ring is None:
                raise NotFound("the archive has no secret yet", reason="SECRET_NOT_SET")
            if ring.epoch >= rings.MAX_EPOCHS:
                raise Exhausted(
                    f"the secret was changed {ring.epoch} times, which is the most", reason="SECRET_CHANGES"
                )
            salt = rings.new_salt()
            old[FLOOR] = self._check(ring, secret)
            for base in BASES:
                if base not in old:
                    old[base] = derive(secret, ring.salt_bytes, base)
                done += 1
                progress(done, total)
                new[base] = derive(new_secret, salt, base)
                done += 1
                progress(done, total)
            epoch = ring.epoch + 1
            earlier = {
                number: {
                    base: _wrap(
                        _unwrap(text, old[int(base)], ring.epoch, int(number), int(base)),
                        new[int(base)],
                        epoch,
                        int(number),
                        int(base),
                    )
                    for base, text in sets.items()
                }
                for number, sets in ring.earlier.items()
            }
            earlier[str(ring.epoch)] = {
                str(base): _wrap(keys, new[base], epoch, ring.epoch, base) for base, keys in old.items()
            }
            fresh = Keyring(epoch, salt.hex(), verifier(new[FLOOR]).hex(), earlier)
            with self._lock:
                was_open = self.unlocked
                rings.save(self._path, fresh)
                self.lock()
                if was_open:
                    self._take(fresh, bytearray(new_secret), {FLOOR: new.pop(FLOOR)})
            progress(total, total)
        finally:
            for keys in (*old.values(), *new.values()):
                for key in keys:
                    wipe(key)
            wipe(secret)
            wipe(new_secret)

    def _check(self, ring: Keyring, secret: bytearray) -> Keys:
        keys = derive(secret, ring.salt_bytes, FLOOR)
        if not hmac.compare_digest(verifier(keys), bytes.fromhex(ring.verifier)):
            for key in keys:
                wipe(key)
            raise Denied(
                "this is not the secret of the private frames: nothing was opened. Try again; the secret cannot be "
                "found out from the archive",
                reason="SECRET_WRONG",
            )
        return keys

    def _take(self, ring: Keyring, secret: bytearray, sets: dict[int, Keys]) -> None:
        with self._lock:
            self.lock()
            self._ring, self._secret, self._sets = ring, secret, sets

    # ---- content

    def seal(
        self, content: bytes, context: bytes, metadata: Mapping[str, Any] | None = None
    ) -> tuple[bytes, Mapping[str, Any]]:
        """Return *content* under three layers, bound to *context*, and what opening needs besides the secret."""
        factor = factor_of(metadata)
        salt = new_salt()
        with self._lock:  # nobody may wipe a key while the frame's own are made of it
            ring = self._ring_now("seal a private frame")
            epoch = ring.epoch
            layers = Layers(self._set(ring, base_of(factor)), salt, context, epoch, factor)
        return close(layers, salt, content), {"epoch": epoch, "factor": factor}

    def open(self, sealed: bytes, context: bytes, fields: Mapping[str, Any]) -> bytes:
        """Return the content; raises `Denied` (ARCHIVE_LOCKED) and `FailedPrecondition` (SEAL_BROKEN)."""
        epoch, factor = _read(fields, context)
        salt = salt_of(sealed, context)
        with self._lock:
            ring = self._ring_now("open a private frame")
            if epoch == ring.epoch:
                keys = self._set(ring, base_of(factor))
            else:
                keys = self._set_of(ring, epoch, base_of(factor), context)
            layers = Layers(keys, salt, context, epoch, factor)
        return unclose(layers, sealed, context)

    def _ring_now(self, what: str) -> Keyring:
        ring = self._ring
        if ring is None or not self._sets:
            first = "" if self.created else " --new"
            raise Denied(
                f"the private frames are locked: to {what}, unlock them with 'lightfast archive unlock{first}'",
                reason="ARCHIVE_LOCKED",
            )
        return ring

    def _set(self, ring: Keyring, base: int) -> Keys:
        """Return a set of keys of this epoch; heavier ones are derived when they are first used."""
        keys = self._sets.get(base)
        if keys is None:
            keys = self._sets[base] = derive(self._secret, ring.salt_bytes, base)
        return keys

    def _set_of(self, ring: Keyring, epoch: int, base: int, context: bytes) -> Keys:
        keys = self._earlier.get((epoch, base))
        if keys is None:
            text = ring.earlier.get(str(epoch), {}).get(str(base))
            if text is None:
                raise broken(context, f"its keys, those of epoch {epoch}, are not known here")
            try:
                keys = _unwrap(text, self._set(ring, base), ring.epoch, epoch, base)
            except FailedPrecondition:
                raise rings.damaged(self._path, f"the keys of epoch {epoch} do not open") from None
            while len(self._earlier) >= _EARLIER:
                for key in self._earlier.pop(next(iter(self._earlier))):
                    wipe(key)
            self._earlier[epoch, base] = keys
        return keys


def _read(fields: Mapping[str, Any], context: bytes) -> tuple[int, float]:
    """Return epoch and factor; what no seal can have is refused before it costs anything."""
    epoch, factor = fields.get("epoch"), fields.get("factor")
    if (
        isinstance(epoch, bool)
        or not isinstance(epoch, int)
        or not 1 <= epoch <= rings.MAX_EPOCHS
        or isinstance(factor, bool)
        or not isinstance(factor, int | float)
        or not math.isfinite(factor)
        or not 0 <= factor <= MAX_FACTOR
        or settle(factor) != factor
    ):
        raise broken(context, "its epoch or factor is none that can be")
    return epoch, float(factor)


def _wrap(keys: Keys, by: Keys, by_epoch: int, epoch: int, base: int) -> str:
    context, salt = _context(epoch, base), new_salt()
    joined = bytearray().join(keys)
    sealed = close(Layers(by, salt, context, by_epoch, base / BASE), salt, bytes(joined))
    wipe(joined)
    return sealed.hex()


def _unwrap(text: str, by: Keys, by_epoch: int, epoch: int, base: int) -> Keys:
    context = _context(epoch, base)
    try:
        sealed = bytes.fromhex(text)
    except ValueError:
        raise broken(context, "it is not hex") from None
    layers = Layers(by, salt_of(sealed, context), context, by_epoch, base / BASE)
    joined = unclose(layers, sealed, context)
    return tuple(bytearray(joined[layer * KEY : (layer + 1) * KEY]) for layer in range(LAYERS))


def _context(epoch: int, base: int) -> bytes:
    return f"keys of epoch {epoch} set {base}".encode()
