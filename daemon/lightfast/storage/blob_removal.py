"""Takes assets away for ever: for what is purged, and for what nothing reaches any more."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from lightfast.storage.blob_files import sync_folder
from lightfast.storage.blobs import BlobStore
from lightfast.storage.scrub import holds


async def remove(blobs: BlobStore, sha256: str) -> int:
    """Delete one asset, its row first; return 1, or 0 where it was gone. Again is harmless, after a crash too."""
    lock = blobs._locks.setdefault(sha256, asyncio.Lock())  # noqa: SLF001  (the two are one)
    async with lock:
        known = await blobs._find(sha256)  # noqa: SLF001
        if known is not None:
            unit = blobs._db.unit()  # noqa: SLF001
            unit.execute("DELETE FROM assets WHERE sha256 = ?", (sha256,))
            await blobs._db.commit(unit)  # noqa: SLF001
            blobs.total_bytes -= known.size

        def unlink() -> bool:
            path = blobs.path_of(sha256)
            if not path.exists():
                return False
            path.unlink()
            sync_folder(path.parent)
            return True

        gone = await blobs._off_loop(unlink)  # noqa: SLF001
    return int(known is not None or gone)


async def holders(blobs: BlobStore, sha256s: Sequence[str], needles: Sequence[bytes]) -> list[str]:
    """Return those of the assets whose bytes hold one of *needles*."""

    def look() -> list[str]:
        return [sha256 for sha256 in sha256s if holds(blobs.path_of(sha256), needles)]

    return await blobs._off_loop(look)  # noqa: SLF001
