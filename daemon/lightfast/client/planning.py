"""Plans: intents made into programs, and programs checked and rewritten, for both clients."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from lightfast.api.v1 import engine_pb2 as pb
from lightfast.api.v1 import engine_pb2_grpc

if TYPE_CHECKING:
    from lightfast.client.aio import AsyncClient

T = TypeVar("T")
_TIMEOUT = 120.0
"""In seconds: several models may be asked in turn."""
_CHECK = 30.0


class PlanningCalls:
    """Methods of `AsyncClient`."""

    async def call(self, method: Any, request: Any, timeout: float | None = None) -> Any:
        """Make one unary call."""
        raise NotImplementedError

    @property
    def engine(self) -> engine_pb2_grpc.EngineServiceStub:
        """Return the stub."""
        raise NotImplementedError

    async def operation_kinds(self) -> list[pb.OperationKind]:
        """Return the operations that programs are made of, with their schemas."""
        response = await self.call(self.engine.ListOperationKinds, pb.ListOperationKindsRequest(), _CHECK)
        return list(response.operations)

    async def plan(
        self,
        intent: str,
        *,
        model: str = "",
        project: str = "",
        quoted: Sequence[str] = (),
        optimize: bool = True,
    ) -> pb.Plan:
        """Return a plan of *intent*; one with problems that are no warnings may not run. Nothing is run.

        *model* `grammar` asks no model; *quoted* is text of others, which can ask for nothing.
        """
        request = pb.PlanRequest(intent=intent, model=model, project=project, quoted=quoted, no_optimize=not optimize)
        return (await self.call(self.engine.Plan, request, _TIMEOUT)).plan  # type: ignore[no-any-return]

    async def validate_program(self, program: str) -> pb.Plan:
        """Check a program (its text): what is wrong, what it would change, cost and need."""
        request = pb.ValidateRequest(program=pb.ProgramSource(text=program))
        return (await self.call(self.engine.Validate, request, _CHECK)).plan  # type: ignore[no-any-return]

    async def optimize_program(self, program: str) -> pb.Plan:
        """Return a program (its text) rewritten into one that does the same with less, and what was saved."""
        request = pb.OptimizeRequest(program=pb.ProgramSource(text=program))
        return (await self.call(self.engine.Optimize, request, _CHECK)).plan  # type: ignore[no-any-return]


class BlockingPlanningCalls:
    """The same methods, blocking; see `PlanningCalls`."""

    aio: AsyncClient

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        raise NotImplementedError

    def operation_kinds(self) -> list[pb.OperationKind]:
        """Return the operations that programs are made of."""
        return self._run(self.aio.operation_kinds())

    def plan(self, intent: str, **options: Any) -> pb.Plan:
        """Return a plan of *intent*; nothing is run."""
        return self._run(self.aio.plan(intent, **options))

    def validate_program(self, program: str) -> pb.Plan:
        """Check a program (its text)."""
        return self._run(self.aio.validate_program(program))

    def optimize_program(self, program: str) -> pb.Plan:
        """Return a program rewritten into one that does the same with less."""
        return self._run(self.aio.optimize_program(program))
