"""What people do to a run: pause, resume, cancel, approve, say what became of a step, take it back; and the panic."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import TYPE_CHECKING

from lightfast.core.errors import FailedPrecondition, InvalidArgument, LightfastError, NotFound
from lightfast.engine.runs.approval import check_approver, check_digest, check_door, nothing_to_approve
from lightfast.engine.runs.drive import Drive, needs_you
from lightfast.engine.runs.journal import Room
from lightfast.engine.runs.kept import Ending, Kept
from lightfast.engine.runs.live import Live
from lightfast.engine.runs.records import ENDED, Run, RunState, Step, StepState
from lightfast.engine.runs.showing import check_show

if TYPE_CHECKING:
    from lightfast.engine.ports import Asker, StepAsks
    from lightfast.engine.show.show import Show

RESOLUTIONS = ("HAPPENED", "REPEAT", "SKIP", "GIVE_UP")
_CANCEL_S = 5.0
"""How long a caller waits for what is under way to be cancelled; it goes on without them."""
_S = 1_000_000_000


class Steering:
    """A half of `Runs`."""

    def __init__(self, room: Room, drive: Drive, show: Show | None) -> None:
        self.asks: StepAsks | None = None
        """Who knows of approvals that steps wait for in mid-run."""
        self._room, self._drive, self._show = room, drive, show
        self._asking = asyncio.Lock()

    async def get(self, run_id: str) -> Run:
        """Return a run with its steps."""
        raise NotImplementedError

    @property
    def held(self) -> str:
        """Why nothing is run, in a panic."""
        return self._drive.held

    def hold(self, reason: str) -> None:
        """Pause every run: nothing begins, and nothing is committed, before somebody resumes it."""
        drive = self._drive
        drive.held = reason
        for live in drive.lives.values():
            live.journal.open.clear()
            if live.control is not None:
                live.control.pause(leave=True)
        drive.soon(self._pause_all(reason), "panic")

    def release(self) -> None:
        """Let runs begin again, and what is being taken back go on; those that were paused stay so until resumed."""
        self._drive.held = ""
        for live in self._drive.lives.values():
            if live.run.state is not RunState.PAUSED or live.cancelling is not None:
                live.journal.open.set()
        self._drive.fill()

    async def _pause_all(self, reason: str) -> None:
        for live in tuple(self._drive.lives.values()):
            async with live.changing:
                if live.run.state is RunState.RUNNING and live.kept.ending is None and self._drive.held == reason:
                    why = f"{reason}; go on with lightfast runs resume {live.run.run_id} when it is released"
                    await self._pause(live, why)

    async def pause(self, run_id: str) -> Run:
        """Start no further step; what is under way ends. Raises `FailedPrecondition` (RUN_NOT_RUNNING)."""
        live = await self._live(run_id)
        async with live.changing:
            if live.run.state is not RunState.PAUSED:
                self._require(live, RunState.RUNNING)
                if live.control is not None:
                    live.control.pause(leave=True)
                await self._pause(live, f"paused: lightfast runs resume {run_id}")
        return await self.get(run_id)

    async def _pause(self, live: Live, reason: str) -> None:
        drive = self._drive
        if live in drive.waiting:
            drive.waiting.remove(live)
        left = max(0.001, (live.kept.deadline - self._room.clock.now_ns()) / _S) if live.kept.deadline else 0.0
        await drive.change(live, state=RunState.PAUSED, reason=reason, left_s=left)

    async def resume(self, run_id: str) -> Run:
        """Go on. Raises `FailedPrecondition` (RUN_NOT_PAUSED, PANIC, SHOW_LOCKED)."""
        live = await self._live(run_id)
        async with live.changing:
            if live.run.state is not RunState.RUNNING:
                self._require(live, RunState.PAUSED)
                check_show(self._show, live.kept)
                await self._go_on(live)
        return await self.get(run_id)

    async def _go_on(self, live: Live, **changes: str) -> None:
        """Let a run go on that stood still; the time it stood does not count."""
        deadline = 0
        if live.kept.deadline:
            left = live.kept.left_s or (live.kept.deadline - self._room.clock.now_ns()) / _S
            deadline = self._room.clock.now_ns() + round(max(0.001, left) * _S)
        await self._drive.change(live, state=RunState.RUNNING, reason="", deadline=deadline, left_s=0.0, **changes)
        live.journal.open.set()
        if live.control is not None:
            self._drive.admit(live)
            live.control.resume()
        else:
            self._drive.queue(live)

    async def cancel(self, run_id: str, reason: str = "") -> Run:
        """End it; what is under way is cancelled. One that has ended stays as it is.

        Raises `FailedPrecondition` (RUN_TAKEN_BACK) for one that is being taken back.
        """
        live = self._drive.lives.get(run_id)
        if live is None:
            return await self.get(run_id)
        why = f"cancelled: {reason}" if reason else "cancelled"
        async with live.changing:
            self._not_taken_back(live)
            if live.run.state in ENDED:
                return await self.get(run_id)
            live.cancelling = why
            if run_id not in self._drive.running:
                await self._drive.end(live, RunState.CANCELLED, why)
                return await self.get(run_id)
            if not self._drive.held:
                live.journal.open.set()
            if live.control is not None:
                live.control.cancel(why)
        try:
            async with asyncio.timeout(_CANCEL_S):
                await live.over.wait()
        except TimeoutError:
            pass  # it says so itself when it has ended
        return await self.get(run_id)

    async def approve(
        self, run_id: str, digest: str, approver: Asker, *, refuse: bool = False, comment: str = ""
    ) -> Run:
        """Approve exactly the program of *digest*, or refuse it; a step that asks in mid-run is answered, too.

        Raises `Denied` (APPROVAL_DOOR, APPROVAL_SCOPE, APPROVAL_BY_REQUESTER) and `FailedPrecondition`
        (NOTHING_TO_APPROVE, DIGEST_CHANGED, PANIC, SHOW_LOCKED).
        """
        run = await self.get(run_id)
        check_approver(run, approver, refuse=refuse)
        live = self._drive.lives.get(run_id)
        if live is None:
            raise nothing_to_approve(run)
        async with live.changing:
            if live.run.state is RunState.RUNNING and self.asks is not None and self.asks.waiting(run_id):
                check_digest(live.run, digest)
                if not self.asks.answer(run_id, approver.identity, refuse=refuse, comment=comment):
                    raise nothing_to_approve(live.run)
                await self._drive.change(live, approver=approver.identity)
                return await self.get(run_id)
            if live.run.state is not RunState.AWAITING_APPROVAL:
                raise nothing_to_approve(live.run)
            check_digest(live.run, digest)
            if refuse:
                said = f": {comment}" if comment else ""
                await self._drive.end(
                    live, RunState.CANCELLED, f"refused by {approver.identity}{said}", approver=approver.identity
                )
            else:
                check_show(self._show, live.kept)
                await self._go_on(live, approver=approver.identity)
        return await self.get(run_id)

    async def resolve(self, run_id: str, step_id: str, resolution: str, asker: Asker) -> Run:
        """Say what became of an unknown step: it `HAPPENED`, `REPEAT` it, `SKIP` it, or `GIVE_UP`.

        Raises `InvalidArgument` (RESOLUTION_UNKNOWN), `NotFound` (STEP_UNKNOWN), `Denied` (APPROVAL_DOOR),
        `FailedPrecondition`
        (NOTHING_TO_RESOLVE, PANIC).
        """
        if resolution not in RESOLUTIONS:
            raise InvalidArgument(
                f"{resolution!r:.40} says nothing: use {', '.join(RESOLUTIONS)}",
                reason="RESOLUTION_UNKNOWN",
                field="resolution",
            )
        live = await self._live(run_id)
        told = f"what became of a step is not said through {asker.via}: a person looks, and says so with lightfast runs"
        check_door(live.run, asker, f"{told} resolve")
        async with live.changing:
            if live.run.state is not RunState.NEEDS_YOU:
                raise FailedPrecondition(
                    f"the run {run_id} is {live.run.state.told}: no step of it is unknown", reason="NOTHING_TO_RESOLVE"
                )
            self._check_panic("a run")
            await self._drive.load(live)
            step = live.journal.steps.get(step_id)
            unknown = [each for each in live.journal.steps.values() if each.state is StepState.UNKNOWN]
            if step is None or step not in unknown:
                raise NotFound(
                    f"{step_id!r:.60} of {run_id} is not unknown; unknown is"
                    f" {', '.join(each.step_id for each in unknown)}",
                    reason="STEP_UNKNOWN",
                    metadata={"run_id": run_id},
                )
            if resolution == "GIVE_UP":
                await self._give_up(live, f"{asker.identity} gave it up at {step_id}")
                return await self.get(run_id)
            await self._resolve(live, step, resolution, asker)
            left = tuple(each.step_id for each in unknown if each is not step)
            if left:
                await self._drive.change(live, reason=needs_you(run_id, left))
            else:
                await self._go_on(live)
        return await self.get(run_id)

    async def _resolve(self, live: Live, step: Step, resolution: str, asker: Asker) -> None:
        said = f"{asker.identity} said: {resolution.lower()}"
        now = self._room.clock.now_ns()
        if resolution == "HAPPENED":
            step = replace(step, state=StepState.DONE, message=said, error="", reason="", end_time=now)
        elif resolution == "SKIP":
            step = replace(step, state=StepState.SKIPPED, message=said, error="", reason="", end_time=now)
        else:
            step = replace(step, state=StepState.PENDING, message=said, error="", reason="", note="", end_time=0)
        unit = self._room.db.unit()
        self._room.rows.step(unit, live.run.run_id, step, done=resolution == "HAPPENED")
        await self._room.rows.commit(unit, live.run.run_id)
        if resolution == "REPEAT":
            del live.journal.steps[step.step_id]
        else:
            live.journal.steps[step.step_id] = step

    async def _give_up(self, live: Live, reason: str) -> None:
        if not live.run.compensate:
            await self._drive.end(live, RunState.FAILED, reason)
            return
        ending = Ending(RunState.FAILED, reason)
        said = f"{reason}; what was done is being taken back"
        await self._drive.change(live, state=RunState.RUNNING, reason=said, ending=ending)
        self._drive.take_back(live)

    async def _ended_run(self, run_id: str) -> Kept:
        """Return a run with its steps that may be taken back."""
        run = await self.get(run_id)
        if run.state not in ENDED:
            raise FailedPrecondition(
                f"the run {run_id} is {run.state.told}: cancel it first, then take it back", reason="RUN_NOT_ENDED"
            )
        return Kept(run)

    async def _rehearse(self, kept: Kept) -> AsyncIterator[Step]:
        live = self._drive.unlisted(kept)
        await self._drive.load(live)
        from lightfast.engine.runs.undoing import TakeBack  # loaded when something is taken back

        taking = TakeBack(kept.run, live.journal, self._drive.operations, self._drive.world, kept.allowed)
        async for step in taking.dry(await self._room.rows.done_last(kept.run.run_id)):
            yield step

    async def _taking_back(self, run_id: str, asker: Asker) -> Live:
        """Begin to take a run back, or join who does."""
        async with self._asking:  # of two who ask at once the second joins
            return await self._joined(run_id, asker)

    async def _joined(self, run_id: str, asker: Asker) -> Live:
        live = self._drive.lives.get(run_id)
        if live is not None:
            async with live.changing:  # it may be ending just now
                live = self._drive.lives.get(run_id)
        if live is not None and live.kept.ending is not None and live.kept.ending.by:
            return live
        kept = await self._room.rows.get(run_id)
        if live is not None or kept is None:
            kept = await self._ended_run(run_id)
        self._check_panic("a rollback")
        live = self._drive.live(kept)
        live.fresh = False
        async with live.changing:
            try:
                ending = Ending(RunState.ROLLED_BACK, kept.run.reason, by=asker.identity)
                await self._drive.change(live, ending=ending)
            except LightfastError:
                self._drive.lives.pop(run_id, None)
                raise
            self._drive.take_back(live)
        return live

    async def _live(self, run_id: str) -> Live:
        live = self._drive.lives.get(run_id)
        if live is None:
            run = await self.get(run_id)
            raise FailedPrecondition(
                f"the run {run_id} is {run.state.told}: it is over",
                reason="RUN_ENDED",
                metadata={"state": str(run.state)},
            )
        return live

    def _require(self, live: Live, state: RunState) -> None:
        self._not_taken_back(live)
        if live.run.state is not state or live.cancelling is not None:
            raise FailedPrecondition(
                f"the run {live.run.run_id} is {live.run.state.told}, not {state.told}",
                reason=f"RUN_NOT_{state}",
                metadata={"state": str(live.run.state)},
            )

    def _not_taken_back(self, live: Live) -> None:
        if live.kept.ending is not None:
            raise FailedPrecondition(
                f"the run {live.run.run_id} is being taken back: wait until that is over", reason="RUN_TAKEN_BACK"
            )

    def _check_panic(self, what: str) -> None:
        if self._show is not None:
            self._show.panic.check(what)
