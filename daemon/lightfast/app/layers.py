"""The layers over the archive, as far as the settings ask for them; each stands alone."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import TYPE_CHECKING

from lightfast.app.memory_settings import ArchiveSettings
from lightfast.context.memory.embedders import EmbedderBook
from lightfast.core.clock import SYSTEM
from lightfast.gateway.router import Gateway
from lightfast.storage.archive.archive import Archive

if TYPE_CHECKING:
    from lightfast.storage.archive.emergence.layer import EmergenceLayer
    from lightfast.storage.archive.records import Frame
    from lightfast.storage.archive.significance.layer import SignificanceLayer

DELAY_S = 15.0
"""So long after the start the layers look for what they have not seen: first comes who waits for the daemon."""


PATIENCE_S = 10.0
"""The most seconds that who asks for a layer waits for the start."""


class BookSpace:
    """The space of the embedder that is configured, or of the trigrams where it is not there."""

    def __init__(self, book: EmbedderBook) -> None:
        self._book = book
        self.name = book.current.name
        self.dimensions = book.current.dimensions

    async def vectors(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """Return a vector for each text."""
        return await self._book.embed(self.name, texts)


class Layers:
    """Significance and emergence over one archive; either is `None` where it is switched off, and before `start`.

    Where nothing was ever appended there is nothing to follow: neither is loaded before the first frame.
    """

    def __init__(self, archive: Archive, settings: ArchiveSettings, gateway: Gateway) -> None:
        self._archive = archive
        self._settings = settings
        self._gateway = gateway
        self._significance: SignificanceLayer | None = None
        self._emergence: EmergenceLayer | None = None
        self._embedders: EmbedderBook | None = None
        """That of `start`; None before."""
        self._is_loaded = False
        self._started = asyncio.Event()
        self.turn: Callable[[], AbstractAsyncContextManager[None]] = nullcontext
        """Lets a slice of either wait for its turn; set before `start`."""

    @property
    def significance(self) -> SignificanceLayer | None:
        """How significant frames are."""
        self._need()
        return self._significance

    @property
    def emergence(self) -> EmergenceLayer | None:
        """Which frames belong together."""
        self._need()
        return self._emergence

    def works(self, name: str) -> bool:
        """Say whether `significance` or `emergence` is there and in no trouble; one that need not be loaded yet is."""
        wanted = {"significance": self._settings.significance, "emergence": self._settings.emergence}
        layer = {"significance": self._significance, "emergence": self._emergence}[name]
        return self._embedders is not None and wanted[name] if layer is None else not layer.trouble

    @property
    def emergence_off(self) -> str:
        """Why there are no clusters; empty when there are."""
        if self.emergence is not None:
            return ""
        return (
            "the daemon has just started: try again in a moment"
            if self._settings.emergence
            else "set [archive] emergence = true"
        )

    async def arrive(self, seconds: float = PATIENCE_S) -> None:
        """Wait until `start` was called, for at most *seconds*: in the first moments plugins are still being loaded."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._started.wait()

    async def start(self, embedders: EmbedderBook, delay_s: float = DELAY_S) -> None:
        """Follow the archive; called once the plugins are loaded, since they may bring the embedder or the model."""
        wanted = {"significance": self._settings.significance, "emergence": self._settings.emergence}
        for name in [name for name, is_wanted in wanted.items() if not is_wanted]:
            # What is switched off leaves nothing behind that a purge would not reach.
            await asyncio.to_thread(shutil.rmtree, self._archive.folder / name, ignore_errors=True)
        self._embedders = embedders
        self._started.set()
        if self._archive.folder.is_dir():
            self._need(delay_s)
        else:
            self._archive.on_appended.append(self._appended)

    def _appended(self, _: Sequence[Frame]) -> None:
        """Load the layers with the first frames, once everybody was told: they read them from the archive."""
        asyncio.get_running_loop().call_soon(self._need)

    def _need(self, delay_s: float = 0.0) -> None:
        if self._embedders is None or self._is_loaded:
            return
        self._is_loaded = True
        with contextlib.suppress(ValueError):  # it did not wait for frames
            self._archive.on_appended.remove(self._appended)
        if self._settings.significance:
            self._start_significance(delay_s)
        if self._settings.emergence:
            self._start_emergence(self._embedders, delay_s)

    def _start_significance(self, delay_s: float) -> None:
        from lightfast.gateway.scoring import ModelScorer
        from lightfast.storage.archive.significance.layer import SignificanceLayer

        model = self._settings.significance_model
        scorer = ModelScorer(self._gateway, model) if model else None
        self._significance = SignificanceLayer(self._archive, self._archive.folder, scorer=scorer, clock=SYSTEM)
        if self._settings.significance_ranks:
            self._archive.searches.weigh = self._significance.weigh
        self._significance.turn = self.turn
        self._significance.start(delay_s)

    def _start_emergence(self, embedders: EmbedderBook, delay_s: float) -> None:
        from lightfast.storage.archive.emergence.layer import EmergenceLayer

        self._emergence = EmergenceLayer(
            self._archive,
            self._archive.folder,
            space=BookSpace(embedders),
            cache=self._archive.caches.patterns,
            clock=SYSTEM,
        )
        self._emergence.turn = self.turn
        self._emergence.start(delay_s)

    async def rating(self, frame_id: str) -> float | None:
        """Return how significant a frame is, 0.0 to 1.0; None when it is not known: what the collector asks."""
        return None if self.significance is None else await self.significance.rating(frame_id)

    async def close(self) -> None:
        """Stop both; what they have not seen yet is seen after the next start."""
        self._embedders = None  # nothing is loaded any more
        for layer in (self._emergence, self._significance):
            if layer is not None:
                await layer.close()
