"""Starts the workflow of a trigger, or keeps why it does not: bounds, runs under way, what is refused."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightfast.core.clock import Clock
from lightfast.core.errors import LightfastError, Unavailable
from lightfast.engine.ports import Asker
from lightfast.engine.programs.references import resolve
from lightfast.engine.rights import Rights
from lightfast.engine.runs.records import ENDED
from lightfast.engine.triggers.chains import Chains
from lightfast.engine.triggers.files import take_in
from lightfast.engine.triggers.live import MOST_QUEUED, Live
from lightfast.engine.triggers.records import Happening
from lightfast.engine.triggers.traces import Traces
from lightfast_link.value import Asset

if TYPE_CHECKING:
    from lightfast.engine.ports import RunRoom, WorkflowRoom
    from lightfast.engine.restored import Restored
    from lightfast.storage.blobs import BlobStore

SCOPES = frozenset(("watch", "operate"))
"""What a trigger may do; it can approve nothing."""
START_S = 60.0
"""How long starting one workflow may take, in seconds."""


@dataclass(frozen=True, slots=True)
class Firer:
    """Fires triggers."""

    workflows: WorkflowRoom
    runs: RunRoom
    chains: Chains
    traces: Traces
    blobs: BlobStore | None
    clock: Clock
    rights: Rights = field(default_factory=Rights)
    restored: Restored | None = None

    async def fire(self, live: Live, happening: Happening) -> None:
        """Start its workflow, unless its bounds or its runs under way are against it."""
        if self.restored is not None and self.restored.held:
            self.trace(live, happening, "restored", f"{happening.said}; {self.restored.held}")
            return
        code, why = live.gate.why_not(self.clock.monotonic())
        if code:
            self.trace(live, happening, code, f"{happening.said}; {why}")
            return
        if len(live.active) >= live.spec.concurrent:
            runs = ", ".join(live.active)
            if live.spec.policy == "skip":
                self.trace(live, happening, "busy", f"{happening.said}; {runs} goes on")
                return
            if live.spec.policy == "queue":
                if len(live.queued) >= MOST_QUEUED:
                    self.trace(live, happening, "overflow", f"{happening.said}; {MOST_QUEUED} firings wait already")
                    return
                live.queued.append(happening)
                self.trace(live, happening, "queued", f"{happening.said}; it waits until {runs} has ended")
                return
            for run_id in list(live.active):
                with suppress(LightfastError):
                    await self.runs.cancel(run_id, f"replaced: {live.spec.name} fired again")
                live.active.pop(run_id, None)
        await self.launch(live, happening)

    async def launch(self, live: Live, happening: Happening) -> None:
        """Start its workflow."""
        spec = live.spec
        chain = [*happening.names.get("chain", ()), spec.name]
        origin = f"trigger:{spec.name}"
        asker = Asker(identity=origin, origin=origin, scopes=SCOPES, via="trigger")
        live.gate.fired(self.clock.monotonic())
        try:
            for who in self.workflows.authors(spec.workflow)[-1:]:
                saver = replace(asker, identity=who)
                self.rights.now(saver, f"save the workflow {spec.workflow} anew with a token that may")
            async with asyncio.timeout(START_S):
                names = await self._names(live, happening)
                parameters = _values(resolve(dict(spec.parameters), names))
                details = {"trigger": spec.name, "chain": chain, "cause": happening.revision}
                run = await self.workflows.start(spec.workflow, parameters, asker, details=details)
        except LightfastError as error:
            self.trace(live, happening, "refused", f"{happening.said}; {error.reason}: {error.message}")
            return
        except TimeoutError:
            self.trace(live, happening, "refused", f"{happening.said}; it could not be started within {START_S:g} s")
            return
        self.chains.add(run.run_id, chain)
        if run.state not in ENDED:
            live.active[run.run_id] = None
        self.trace(live, happening, "fired", happening.said, run_id=run.run_id)

    async def _names(self, live: Live, happening: Happening) -> dict[str, Any]:
        names = dict(happening.names)
        if happening.file and live.wants_asset:
            if self.blobs is None:
                raise Unavailable("there is no store of assets to take the file into", reason="ASSETS_OFF")
            names["asset"] = await take_in(Path(happening.file), self.blobs, live.spec.name)
        return names

    def trace(self, live: Live, happening: Happening, code: str, reason: str, *, run_id: str = "") -> None:
        """Keep what came of a happening."""
        spec = live.spec
        self.traces.add(
            spec.name,
            spec.workflow,
            code,
            reason,
            fired=code == "fired",
            run_id=run_id,
            cause=happening.revision,
        )


def _values(parameters: dict[str, Any]) -> dict[str, Any]:
    """Return parameters as a workflow takes them: an asset by its address."""
    return {name: f"asset:{value.sha256}" if isinstance(value, Asset) else value for name, value in parameters.items()}
