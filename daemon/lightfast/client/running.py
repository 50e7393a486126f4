"""Runs of programs, for both clients."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from lightfast.api.v1 import engine_pb2 as pb
from lightfast.api.v1 import engine_pb2_grpc
from lightfast.core.errors import Unavailable

if TYPE_CHECKING:
    from lightfast.client.aio import AsyncClient

T = TypeVar("T")

ENDED = frozenset((pb.RUN_STATE_SUCCEEDED, pb.RUN_STATE_FAILED, pb.RUN_STATE_CANCELLED, pb.RUN_STATE_ROLLED_BACK))
"""The states of runs that are over."""
_AGAIN_S = 0.2
_SLOWEST_S = 2.0


class RunCalls:
    """Methods of `AsyncClient`."""

    channel: Any
    metadata: Any

    async def call(self, method: Any, request: Any, timeout: float | None = None) -> Any:
        """Make one unary call."""
        raise NotImplementedError

    def messages(self, start: Callable[[], Any]) -> Any:
        """Yield the messages of a streaming call."""
        raise NotImplementedError

    @property
    def engine(self) -> engine_pb2_grpc.EngineServiceStub:
        """Return the stub."""
        return engine_pb2_grpc.EngineServiceStub(self.channel)

    async def run(
        self,
        program: str = "",
        *,
        intent: str = "",
        dry_run: bool = False,
        project: str = "",
        max_cost_usd: float = 0.0,
        model: str = "",
        limit: float = 0.0,
        compensate: bool = False,
        optimize: bool = True,
        digest: str = "",
        request_id: str | None = None,
    ) -> AsyncIterator[pb.RunResponse]:
        """Run *program* (its text) or *intent*; yields the plan, then the events until the run is over.

        *limit* bounds the whole run, in seconds. A caller who leaves does not end the run: `watch_run` goes on.
        """
        if bool(program) == bool(intent):
            raise ValueError("give a program or an intent, and not both")
        request = pb.RunRequest(
            dry_run=dry_run,
            project=project,
            max_cost_usd=max_cost_usd,
            model=model,
            compensate=compensate,
            no_optimize=not optimize,
            digest=digest,
            request_id=uuid.uuid4().hex if request_id is None else request_id,
        )
        if program:
            request.program.text = program
        else:
            request.intent = intent
        if limit:
            request.timeout.FromNanoseconds(round(limit * 1e9))
        start = partial(self.engine.Run, request, metadata=self.metadata)
        async with aclosing(self.messages(start)) as messages:
            async for message in messages:
                yield message

    async def watch_run(
        self, run_id: str, after: int = 0, *, give_up_after: float = 60.0
    ) -> AsyncIterator[pb.RunEvent]:
        """Yield the events of a run after the one numbered *after* until it is over, over broken connections, too."""
        loop = asyncio.get_running_loop()
        broken, pause = 0.0, _AGAIN_S
        while True:
            request = pb.WatchRunRequest(run_id=run_id, after_sequence=after)
            start = partial(self.engine.WatchRun, request, metadata=self.metadata)
            try:
                async with aclosing(self.messages(start)) as messages:
                    async for message in messages:
                        broken, pause = 0.0, _AGAIN_S
                        after = message.event.sequence
                        yield message.event
                return
            except Unavailable:
                broken = broken or loop.time()
                if loop.time() - broken > give_up_after:
                    raise
            await asyncio.sleep(pause)
            pause = min(2 * pause, _SLOWEST_S)

    async def get_run(self, run_id: str) -> pb.EngineRun:
        """Return a run with its steps."""
        return (await self.call(self.engine.GetRun, pb.GetRunRequest(run_id=run_id))).run  # type: ignore[no-any-return]

    async def runs(self, *, states: Sequence[int] = (), limit: int = 100) -> list[pb.EngineRun]:
        """Return at most *limit* runs without their steps, the newest first; *states* are of the enum `RunState`."""
        request = pb.ListRunsRequest(states=states)  # type: ignore[arg-type]
        found: list[pb.EngineRun] = []
        while len(found) < limit:
            request.page_size = min(limit - len(found), 200)
            response = await self.call(self.engine.ListRuns, request)
            found.extend(response.runs)
            if not response.next_page_token:
                break
            request.page_token = response.next_page_token
        return found

    async def pause(self, run_id: str) -> pb.EngineRun:
        """Start no further step of a run."""
        return (await self.call(self.engine.PauseRun, pb.PauseRunRequest(run_id=run_id))).run  # type: ignore[no-any-return]

    async def resume(self, run_id: str) -> pb.EngineRun:
        """Go on with a paused run."""
        return (await self.call(self.engine.ResumeRun, pb.ResumeRunRequest(run_id=run_id))).run  # type: ignore[no-any-return]

    async def cancel_run(self, run_id: str, reason: str = "") -> pb.EngineRun:
        """End a run; what is under way is cancelled."""
        request = pb.CancelRunRequest(run_id=run_id, reason=reason)
        return (await self.call(self.engine.CancelRun, request)).run  # type: ignore[no-any-return]

    async def approve(self, run_id: str, digest: str, *, refuse: bool = False, comment: str = "") -> pb.EngineRun:
        """Approve exactly the program of *digest*, or refuse it; never one's own request."""
        request = pb.ApproveRequest(run_id=run_id, digest=digest, refuse=refuse, comment=comment)
        return (await self.call(self.engine.Approve, request)).run  # type: ignore[no-any-return]

    async def resolve_step(self, run_id: str, step_id: str, resolution: str) -> pb.EngineRun:
        """Say what became of an unknown step: `happened`, `repeat`, `skip` or `give_up`."""
        number = pb.Resolution.Value(f"RESOLUTION_{resolution.upper()}")
        request = pb.ResolveStepRequest(run_id=run_id, step_id=step_id, resolution=number)
        return (await self.call(self.engine.ResolveStep, request)).run  # type: ignore[no-any-return]

    async def rollback(self, run_id: str, *, dry_run: bool = False) -> AsyncIterator[pb.RollbackRunResponse]:
        """Take a run back, newest step first: yields each step as it stands then, and last the run."""
        request = pb.RollbackRunRequest(run_id=run_id, dry_run=dry_run, request_id=uuid.uuid4().hex)
        start = partial(self.engine.RollbackRun, request, metadata=self.metadata)
        async with aclosing(self.messages(start)) as messages:
            async for message in messages:
                yield message


class BlockingRunCalls:
    """The same, for the blocking client; see `RunCalls`."""

    aio: AsyncClient

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        raise NotImplementedError

    def _iterate(self, source: AsyncIterator[T]) -> Iterator[T]:
        raise NotImplementedError

    def run(self, program: str = "", **how: Any) -> Iterator[pb.RunResponse]:
        """Run a program (its text) or an *intent*; yields the plan, then the events until the run is over."""
        return self._iterate(self.aio.run(program, **how))

    def watch_run(self, run_id: str, after: int = 0, *, give_up_after: float = 60.0) -> Iterator[pb.RunEvent]:
        """Yield the events of a run after the one numbered *after* until it is over."""
        return self._iterate(self.aio.watch_run(run_id, after, give_up_after=give_up_after))

    def get_run(self, run_id: str) -> pb.EngineRun:
        """Return a run with its steps."""
        return self._run(self.aio.get_run(run_id))

    def runs(self, *, states: Sequence[int] = (), limit: int = 100) -> list[pb.EngineRun]:
        """Return at most *limit* runs without their steps, the newest first."""
        return self._run(self.aio.runs(states=states, limit=limit))

    def pause(self, run_id: str) -> pb.EngineRun:
        """Start no further step of a run."""
        return self._run(self.aio.pause(run_id))

    def resume(self, run_id: str) -> pb.EngineRun:
        """Go on with a paused run."""
        return self._run(self.aio.resume(run_id))

    def cancel_run(self, run_id: str, reason: str = "") -> pb.EngineRun:
        """End a run; what is under way is cancelled."""
        return self._run(self.aio.cancel_run(run_id, reason))

    def approve(self, run_id: str, digest: str, *, refuse: bool = False, comment: str = "") -> pb.EngineRun:
        """Approve exactly the program of *digest*, or refuse it."""
        return self._run(self.aio.approve(run_id, digest, refuse=refuse, comment=comment))

    def resolve_step(self, run_id: str, step_id: str, resolution: str) -> pb.EngineRun:
        """Say what became of an unknown step: `happened`, `repeat`, `skip` or `give_up`."""
        return self._run(self.aio.resolve_step(run_id, step_id, resolution))

    def rollback(self, run_id: str, *, dry_run: bool = False) -> Iterator[pb.RollbackRunResponse]:
        """Take a run back, newest step first: yields each step as it stands then, and last the run."""
        return self._iterate(self.aio.rollback(run_id, dry_run=dry_run))
