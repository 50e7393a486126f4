"""EngineService, the half that plans: operations, plans of intents, checks and rewrites of programs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from lightfast.api.v1 import engine_pb2 as pb
from lightfast.core.errors import InvalidArgument
from lightfast.security.tokens import Scope
from lightfast.wire.grpc.run_messages import asker_of
from lightfast.wire.grpc.services import OPERATE, WATCH, Caller, Services

if TYPE_CHECKING:
    from lightfast.engine.meta import MetaComputer


class PlanningMethods:
    """Methods of `lightfast.api.v1.EngineService`. Planning may cost money, so it needs the scope operate."""

    SCOPES: ClassVar[Mapping[str, Scope | None]] = {
        "ListOperationKinds": WATCH,
        "Plan": OPERATE,
        "Validate": WATCH,
        "Optimize": WATCH,
    }
    ONCE: ClassVar[frozenset[str]] = frozenset()
    LOCKED: ClassVar[Mapping[str, str]] = {}

    def __init__(self, services: Services) -> None:
        self._services = services

    def _engine(self) -> MetaComputer:
        return self._services.computer()

    async def ListOperationKinds(
        self, request: pb.ListOperationKindsRequest, caller: Caller
    ) -> pb.ListOperationKindsResponse:
        """List the operations, ordered by name."""
        from lightfast.wire.grpc.program_messages import effect_values

        meta = self._engine()
        await meta.settled()
        response = pb.ListOperationKindsResponse()
        for name in meta.operations.names():
            operation = meta.operations.find(name)
            if operation is None:
                continue
            response.operations.append(
                pb.OperationKind(
                    name=name,
                    summary=operation.summary,
                    arguments_schema=json.dumps(operation.arguments, separators=(",", ":")),
                    result_schema=json.dumps(operation.result, separators=(",", ":")) if operation.result else "",
                    pool=operation.pool,
                    effects=effect_values(operation.possible_effects),
                    idempotent=operation.idempotent,
                    plugin=meta.operations.plugin(name),
                )
            )
        return response

    async def Plan(self, request: pb.PlanRequest, caller: Caller) -> pb.PlanResponse:
        """Make a program of an intent and check it."""
        from lightfast.wire.grpc.program_messages import plan_message

        meta = self._engine()
        await meta.settled()
        plan = await meta.planner.plan(
            request.intent,
            asker_of(caller),
            model=request.model,
            project=request.project,
            quoted=tuple(request.quoted),
            optimize=not request.no_optimize,
        )
        return pb.PlanResponse(plan=plan_message(plan), revision=self._revision, store_id=self._store_id)

    async def Validate(self, request: pb.ValidateRequest, caller: Caller) -> pb.ValidateResponse:
        """Check a program; one that cannot be read is a plan with the problem."""
        from lightfast.engine.programs.text import as_problem
        from lightfast.wire.grpc.program_messages import plan_message, problem_message, read_program

        meta = self._engine()
        await meta.settled()
        try:
            program = await read_program(request.program)
        except InvalidArgument as error:
            return pb.ValidateResponse(
                plan=pb.Plan(problems=[problem_message(as_problem(error))]),
                revision=self._revision,
                store_id=self._store_id,
            )
        plan = await meta.planner.prepare(program, asker_of(caller), optimize=False)
        return pb.ValidateResponse(plan=plan_message(plan), revision=self._revision, store_id=self._store_id)

    async def Optimize(self, request: pb.OptimizeRequest, caller: Caller) -> pb.OptimizeResponse:
        """Rewrite a program; one with mistakes comes back as it was, with its problems."""
        from lightfast.wire.grpc.program_messages import plan_message, read_program

        meta = self._engine()
        await meta.settled()
        plan = await meta.planner.prepare(await read_program(request.program), asker_of(caller))
        return pb.OptimizeResponse(plan=plan_message(plan))

    @property
    def _revision(self) -> int:
        return self._services.store.revision

    @property
    def _store_id(self) -> str:
        return self._services.store.store_id
