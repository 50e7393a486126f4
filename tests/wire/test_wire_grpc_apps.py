"""Conflicts, diagnosis and conflict policies over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from tests.support.grpc_daemon import Daemon, refused, running

from lightfast.api.v1 import apps_pb2 as apps
from lightfast.api.v1 import context_pb2 as context
from lightfast.api.v1 import types_pb2 as types
from lightfast.context.entry import Set
from lightfast.sdk import Bridge, BridgeHost, Finding

PATH = "/desk/fader"


async def conflict(daemon: Daemon, wished: float = 0.8, reported: float = 0.3) -> str:
    """Put a conflict record into the context, as the engine would; return its id."""
    (record, *_) = daemon.services.registry._desk.conflicts.record(
        PATH, wished=wished, reported=reported, origin="client:old", revision=1, reason="it returned with another"
    )
    assert isinstance(record, Set)
    await daemon.store.apply([Set(PATH, reported), record], origin="app:desk", trusted=True)
    return record.path.rpartition("/")[2]


async def test_a_conflict_is_resolved_once(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        stub = await daemon.stub("apps")
        found = await conflict(daemon)
        request = apps.ResolveConflictRequest(
            conflict_id=found, choice=apps.CONFLICT_CHOICE_WISHED, request_id="request-1"
        )
        first = await stub.ResolveConflict(request)
        assert (first.path, first.entry.value.double_value, first.entry.origin) == (PATH, 0.8, "local")
        assert (first.store_id, first.revision) == (daemon.store.store_id, daemon.store.revision)
        assert await stub.ResolveConflict(request) == first, "the same request has the same answer"
        assert not daemon.store.select("/lightfast/conflicts//")
        request.request_id = "request-2"
        again = await refused(stub.ResolveConflict(request))
        assert (again.code, again.reason) == (grpc.StatusCode.NOT_FOUND, "CONFLICT_UNKNOWN")
        found = await conflict(daemon)
        value = types.Value(double_value=0.5)
        resolved = await stub.ResolveConflict(apps.ResolveConflictRequest(conflict_id=found, value=value))
        assert resolved.entry.value == value
        found = await conflict(daemon)
        reported = apps.ResolveConflictRequest(conflict_id=found, choice=apps.CONFLICT_CHOICE_REPORTED)
        assert (await stub.ResolveConflict(reported)).entry.value.double_value == 0.3


@pytest.mark.parametrize("more", [{}, {"choice": apps.CONFLICT_CHOICE_UNSPECIFIED}, {"choice": 17}])
async def test_a_choice_must_be_made(tmp_path: Path, more: dict[str, Any]) -> None:
    async with running(tmp_path) as daemon:
        stub = await daemon.stub("apps")
        found = await conflict(daemon)
        error = await refused(stub.ResolveConflict(apps.ResolveConflictRequest(conflict_id=found, **more)))
        assert (error.code, error.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["choice"])


class Looking(Bridge):
    kind = "desk"
    title = "A desk"

    async def diagnose(self, config: Mapping[str, Any]) -> Sequence[Finding]:
        return [Finding("warning", "UDP port 1", "held by another", "end it")]

    async def run(self, host: BridgeHost) -> None:
        await asyncio.Event().wait()


async def test_diagnose(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        stub = await daemon.stub("apps")
        daemon.services.registry.add_kind(Looking())
        daemon.services.registry.absent("desk", "nothing answers")
        answer = await stub.Diagnose(apps.DiagnoseRequest(target="/desk"))
        assert answer.store_id == daemon.store.store_id
        first, last = answer.findings[0], answer.findings[-1]
        assert (first.level, first.subject) == (apps.FINDING_LEVEL_ERROR, "/desk")
        assert last == apps.Finding(
            level=apps.FINDING_LEVEL_WARNING, subject="UDP port 1", what="held by another", remedy="end it"
        )
        error = await refused(stub.Diagnose(apps.DiagnoseRequest(target="maya")))
        assert (error.code, error.fields) == (grpc.StatusCode.NOT_FOUND, ["target"])
        assert "kinds that can join: desk" in error.message
        error = await refused(stub.Diagnose(apps.DiagnoseRequest(target="/")))
        assert (error.code, error.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["target"])
        shown = (await stub.GetApp(apps.GetAppRequest(mount="desk"))).app
        assert shown.state_time.seconds > 1_600_000_000


async def test_policies_are_declared_described_and_enforced(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        stub = await daemon.stub("context")
        await stub.Declare(
            context.DeclareRequest(
                declarations=[
                    context.Declaration(
                        pattern="/desk/*", policy=context.CONFLICT_POLICY_OWNER, owner_hold=Duration(seconds=90)
                    ),
                    context.Declaration(pattern="/exact", policy=context.CONFLICT_POLICY_COMPARE_AND_SET),
                    context.Declaration(pattern="/plain"),
                ]
            )
        )
        described = (await stub.Describe(context.DescribeRequest())).declarations
        assert [(d.pattern, d.policy, d.owner_hold.seconds) for d in described] == [
            ("/desk/*", context.CONFLICT_POLICY_OWNER, 90),
            ("/exact", context.CONFLICT_POLICY_COMPARE_AND_SET, 1),
            ("/plain", context.CONFLICT_POLICY_UNSPECIFIED, 0),
        ]

        def apply(path: str, session: str, **more: Any) -> Any:
            mutation = types.Mutation(set=types.Mutation.Set(path=path, value=types.Value(double_value=0.5)))
            request = context.ApplyRequest(mutations=[mutation], **more)
            return stub.Apply(request, metadata=(("lightfast-session", session),))

        await apply(PATH, "ann")
        error = await refused(apply(PATH, "bob"))
        assert (error.code, error.reason) == (grpc.StatusCode.ABORTED, "PATH_OWNED")
        assert error.metadata["owner"] == "local#ann"
        assert error.metadata["until"] > "20"
        assert error.retry_after is not None
        assert 0 < error.retry_after <= 90
        error = await refused(apply("/exact", "ann"))
        assert (error.code, error.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "PRECONDITION_REQUIRED")
        await apply("/exact", "ann", preconditions=[types.Precondition(path="/exact", absent=True)])
        declaration = context.Declaration(pattern="/x", policy=9)  # type: ignore[arg-type]
        error = await refused(stub.Declare(context.DeclareRequest(declarations=[declaration])))
        assert (error.code, error.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["declarations[0].policy"])


async def test_a_held_application_refuses_commands(tmp_path: Path) -> None:
    from tests.wire.test_wire_grpc_rooms import join

    async with running(tmp_path) as daemon:
        stub = await daemon.stub("apps")
        join(daemon)
        hanging = stub.Invoke(apps.InvokeRequest(mount="/blender", command="hang"))
        async with asyncio.timeout(60):
            while not daemon.services.registry.session("/blender").calls:
                await asyncio.sleep(0.01)
        daemon.services.registry.hold("panic")
        error = await refused(hanging.read())
        assert (error.code, error.reason) == (grpc.StatusCode.CANCELLED, "HELD")
        error = await refused(stub.Invoke(apps.InvokeRequest(mount="/blender", command="echo")).read())
        assert (error.code, error.reason, error.metadata["held"]) == (
            grpc.StatusCode.FAILED_PRECONDITION,
            "HELD",
            "panic",
        )
