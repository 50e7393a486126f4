"""A batch that was given up after its service had taken it: what the service still finished is booked."""

from __future__ import annotations

from dataclasses import replace

import structlog

from lightfast.core.errors import LightfastError
from lightfast.gateway.batching.batch_service import ServiceRun
from lightfast.sdk import Usage

log = structlog.get_logger("lightfast.gateway")

LASTS = 48 * 3600.0
"""So long a service may take to end what it was told to end, in seconds; then what is known by then is booked."""


class AfterRun(ServiceRun):
    """Follows the job to its end, keeps the answers that came, and settles the money. It stays cancelled, or failed."""

    tells = False
    """Set where the service may not have heard yet that it is to end it."""

    async def _work(self) -> None:
        if self.tells:
            await self._give_up()
            self.tells = False
        await super()._work()

    @property
    def _left(self) -> float:
        since = (self._rooms.clock.now_ns() - self.operation.end_time) / 1e9
        return max(0.0, LASTS - since)

    async def _end(self, error: LightfastError | None) -> None:
        """Settle what the answers have cost, and write it down; once."""
        if self._ending:
            return
        self._ending = True
        operation_id = self.operation.operation_id
        answers = await self._rows.answers(operation_id)
        usage = sum((answer.usage for answer in answers), Usage())
        made = sum(not answer.error for answer in answers)
        hold, self.hold = self.hold, None
        if hold is not None:
            # That nothing was used is something the service has said, and nothing to guess about.
            told = replace(usage, cost_usd=0.0) if error is None and usage == Usage() else usage
            paid = await hold.settle(told, failed=True)
            self.operation = replace(self.operation, cost_usd=paid.cost_usd, cost_basis=paid.basis)
        note = f"{made} of its requests had been answered when it ended at its service"
        self.operation = replace(self.operation, usage=usage, note=note)
        self._state = replace(self._state, owing=False)
        await self._rows.save(self.operation, self._state)
        why = error.message if error is not None else ""
        log.info("what a batch left behind is booked", operation=operation_id, answers=made, reason=why)
