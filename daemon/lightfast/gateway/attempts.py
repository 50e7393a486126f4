"""Tries the models of an order in turn, until one has answered: accounts, waits, fallbacks, the deadline."""

from __future__ import annotations

import asyncio

import structlog

from lightfast.core.errors import LightfastError, Unavailable
from lightfast.gateway.answer import Answer
from lightfast.gateway.attempt import Try, give_job_up
from lightfast.gateway.calls import StepFallback, StepProgress
from lightfast.gateway.failures import ends, is_of_account, may_try_again, together, translated, wait_asked
from lightfast.gateway.order import Candidate, Order
from lightfast.gateway.rooms import Rooms
from lightfast.sdk import Provider, Usage

log = structlog.get_logger("lightfast.gateway")

MOST_ACCOUNTS = 16
"""So many accounts are tried with one model."""
FREE = 0.05
"""An account that has a place within so many seconds is free."""
PATIENCE = 2.0
"""A model whose limits would make it wait longer than this, in seconds, is put after one that would not."""


class Attempts:
    """Runs one order; `run` it once."""

    def __init__(self, rooms: Rooms, order: Order, answer: Answer) -> None:
        self._rooms, self._order, self._answer = rooms, order, answer
        self._last: tuple[str, LightfastError] | None = None
        self.tried: Try | None = None
        """The newest attempt."""

    @property
    def provider(self) -> Provider | None:
        """Return the provider that works on it."""
        return self.tried.provider if self.tried is not None else None

    async def run(self) -> LightfastError | None:
        """Try until one has answered; return what went wrong with all of them."""
        failed: dict[str, LightfastError] = {}
        alive = self._order.candidates
        for again in range(1, self._rooms.patience.again + 2):
            left: list[Candidate] = []
            wait = float("inf")
            queue = self._put_off(alive)
            if self._last is None:
                await self._begin(queue[0].record.name)
            for place, candidate in enumerate(queue):
                more = place + 1 < len(queue) or bool(left)
                error = await self._try(candidate, more=more, last_round=again > self._rooms.patience.again)
                error = await self._stay(candidate, error, more=more)
                if error is None:
                    return None
                name = candidate.record.name
                before = failed.pop(name, None)
                failed[name] = said = translated(name, error)
                if before is not None and said.reason == "CIRCUIT_OPEN":
                    failed[name] = before  # that it is left alone now says less than why
                if self._last is None or name == self._answer.model:  # not one that was passed over untold
                    self._last = (name, failed[name])
                if ends(error, filtered_too=not self._order.call.fallbacks):
                    return failed[name]
                if may_try_again(error):
                    left.append(candidate)
                    wait = min(wait, wait_asked(error))
            if not left or again > self._rooms.patience.again or not await self._pause(again, wait):
                break
            alive = left
        return together(list(failed.items()))

    async def _stay(self, candidate: Candidate, error: BaseException | None, *, more: bool) -> BaseException | None:
        """Stay with a job that was lost sight of: it goes on, and is paid; to the deadline where no other is there."""
        tries = 0
        while error is not None and self._answer.taken is not None and may_try_again(error):
            tries += 1
            if (more and tries > self._rooms.patience.again) or not await self._pause(tries, wait_asked(error)):
                break
            error = await self._try(candidate, more=more, last_round=False)
        return error

    def _put_off(self, alive: list[Candidate]) -> list[Candidate]:
        """Return the candidates; those whose limits make them wait come after those that are free."""
        sessions = self._rooms.sessions
        if sessions is None or len(alive) < 2:
            return alive
        late = [each for each in alive if sessions.delay(each.record, each.load) > PATIENCE]
        return alive if len(late) in (0, len(alive)) else [each for each in alive if each not in late] + late

    async def _begin(self, name: str) -> None:
        """Say who is asked first, where another one was told: one whose limits make it wait, or that others shared."""
        answer = self._answer
        if answer.model != name:
            late = answer.model == self._order.candidates[0].record.name
            reason = f"the limits of {answer.model} make it wait" if late else "who asked for the same first has left"
            await answer.fall_back(StepFallback(answer.model, name, restarted=False, reason=reason))

    async def _pause(self, tries: int, wait: float) -> bool:
        """Wait before it is tried again; say whether that is of use."""
        pause = self._rooms.patience.wait(min(tries, 16), wait)
        if self._rooms.clock.monotonic() + pause >= self._order.deadline:
            return False
        self._answer.tell(
            StepProgress(self._answer.fraction, f"again in {pause:.1f} s", self._answer.model, self._order.seed)
        )
        await asyncio.sleep(pause)
        return True

    async def _try(self, candidate: Candidate, *, more: bool, last_round: bool) -> BaseException | None:
        """Try one model, with one account after the other while another is free."""
        if candidate.unfit is not None:
            return candidate.unfit
        record, rooms = candidate.record, self._rooms
        accounts: set[str] = set()
        error: BaseException | None = None
        for _ in range(MOST_ACCOUNTS):
            if rooms.candidates is not None and not rooms.candidates.allowed(record.name):
                return Unavailable(
                    f"{record.name} has failed too often lately and is left alone for a while",
                    reason="CIRCUIT_OPEN",
                    metadata={"model": record.name},
                )
            prefix = await self._go_on(candidate)
            tried = self.tried = Try(rooms, self._order, self._answer, candidate)
            try:
                error = await tried.run(prefix)
            except asyncio.CancelledError as cancelled:
                tried.told(cancelled, "")
                raise
            if self._answer.halted:
                raise asyncio.CancelledError
            if error is None:
                tried.told(None, "")
                return None
            others = is_of_account(error) and tried.account not in accounts and self._is_free(candidate)
            accounts.add(tried.account)
            again = others or (may_try_again(error) and not last_round)
            over = ends(error, filtered_too=not self._order.call.fallbacks)
            tried.told(
                error,
                "failed" if over else "retried" if again and (others or not more) else "fallback" if more else "failed",
            )
            if self._answer.taken is not None and not may_try_again(error):
                await self._drop_job()
            self._last = (record.name, translated(record.name, error))
            if not others:
                break
        return error

    def _is_free(self, candidate: Candidate) -> bool:
        sessions = self._rooms.sessions
        return sessions is not None and sessions.delay(candidate.record, candidate.load) <= FREE

    async def _drop_job(self) -> None:
        """Forget a job that has failed itself, and book what was held for it."""
        taken, self._answer.taken = self._answer.taken, None
        if taken is not None and taken.hold is not None:
            hold, taken.hold = taken.hold, None
            await hold.settle(Usage(), failed=True)

    async def _go_on(self, candidate: Candidate) -> str:
        """Say who goes on after a failure; return the beginning that the model goes on from."""
        answer, name = self._answer, candidate.record.name
        if answer.taken is not None and answer.taken.model != name:
            taken, answer.taken = answer.taken, None
            await give_job_up(self._rooms, self._order, self.tried, taken)
        if self._last is None:
            answer.model = name
            return ""
        failed, error = self._last
        prefix = ""
        if (
            answer.text
            and not answer.assets
            and answer.taken is None
            and error.reason != "ANSWER_UNFIT"
            and "continue" in candidate.record.model.capabilities
        ):
            prefix = "".join(answer.text)
        restarted = answer.passed and not prefix
        if answer.passed or failed != name:
            log.info("another model goes on", failed=failed, model=name, restarted=restarted, reason=error.reason)
            await answer.fall_back(StepFallback(failed, name, restarted, error.message))
        return prefix
