"""The methods of workflows and triggers: what goes over the wire, and what is refused."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.support.flows import Flows, flows, until

from lightfast.api.v1 import jobs_pb2 as pb
from lightfast.api.values import to_message
from lightfast.context.entry import Set
from lightfast.core.errors import AlreadyExists, InvalidArgument, NotFound, Unavailable
from lightfast.security.tokens import ALL_SCOPES, Principal
from lightfast.wire.grpc.flows import FlowMethods
from lightfast.wire.grpc.services import Caller, Services

CALLER = Caller(Principal("someone", ALL_SCOPES), "")
TEXT = """
name: put
summary: Puts.
parameters: {value: {type: integer, default: 1, summary: What.}}
steps: [{id: put, op: context.set, arguments: {path: /put, value: "${params.value}"}}]
triggers: [{on: path, pattern: /in, parameters: {value: "${value}"}}]
"""


def services(meta: Any) -> Services:
    """Return services that have a meta-computer, or none, and nothing else."""
    found = object.__new__(Services)
    object.__setattr__(found, "meta", meta)
    return found


def methods(house: Flows) -> FlowMethods:
    async def settled() -> None:
        return

    meta = SimpleNamespace(workflows=house.workflows, triggers=house.triggers, settled=settled)
    return FlowMethods(services(meta))


def run(tmp_path: Path, test: Any) -> None:
    async def main() -> None:
        async with flows(tmp_path, watching=False) as house:
            await test(house, methods(house))

    asyncio.run(main())


def test_workflows_are_saved_listed_and_run(tmp_path: Path) -> None:
    async def test(house: Flows, door: FlowMethods) -> None:
        checked = await door.SaveWorkflow(pb.SaveWorkflowRequest(yaml=TEXT, validate_only=True), CALLER)
        assert (checked.workflow.name, list(checked.workflow.problems)) == ("put", [])
        assert not (house.folder / "put.yaml").exists()
        saved = (await door.SaveWorkflow(pb.SaveWorkflowRequest(yaml=TEXT), CALLER)).workflow
        assert Path(saved.file).read_text() == TEXT
        await door.SaveWorkflow(pb.SaveWorkflowRequest(yaml=TEXT), CALLER)
        other = TEXT.replace("Puts.", "Puts again.")
        with pytest.raises(AlreadyExists) as told:
            await door.SaveWorkflow(pb.SaveWorkflowRequest(yaml=other), CALLER)
        assert told.value.reason == "WORKFLOW_THERE"
        again = (await door.SaveWorkflow(pb.SaveWorkflowRequest(yaml=other, replace=True), CALLER)).workflow
        assert again.version != saved.version
        bad = (await door.SaveWorkflow(pb.SaveWorkflowRequest(yaml="name: ../x\nsteps: []\n"), CALLER)).workflow
        assert [(each.line, each.reason) for each in bad.problems] == [(1, "WORKFLOW_NAME"), (2, "WORKFLOW_INVALID")]
        assert [each.name for each in house.folder.iterdir()] == ["put.yaml"]

        (shown,) = (await door.ListWorkflows(pb.ListWorkflowsRequest(name="put"), CALLER)).workflows
        assert (shown.summary, shown.yaml, list(shown.steps), list(shown.triggers)) == (
            *("Puts again.", other),
            *(["put"], ["put-1"]),
        )
        assert json.loads(shown.parameters_schema)["properties"]["value"]["default"] == 1
        everything = (await door.ListWorkflows(pb.ListWorkflowsRequest(), CALLER)).workflows
        assert len([each for each in everything if each.example]) == 10
        assert all(not each.yaml and not each.problems for each in everything)

        request = pb.RunWorkflowRequest(name="put", request_id="once")
        to_message(7, request.parameters["value"])
        dry = pb.RunWorkflowRequest()
        dry.CopyFrom(request)
        dry.dry_run = True
        assert "context.set" in (await door.RunWorkflow(dry, CALLER)).yaml
        assert house.value("/put") is None
        first = await door.RunWorkflow(request, CALLER)
        await house.ended(first.run_id)
        assert (house.value("/put"), first.version) == (7, again.version)
        assert (await door.RunWorkflow(request, CALLER)).run_id == first.run_id

    run(tmp_path, test)


def test_triggers_and_their_traces_are_listed(tmp_path: Path) -> None:
    async def test(house: Flows, door: FlowMethods) -> None:
        await door.SaveWorkflow(pb.SaveWorkflowRequest(yaml=TEXT), CALLER)
        await until(lambda: house.triggers.idle)
        await house.store.apply([Set("/in", 3)], origin="client:test")
        await until(lambda: house.value("/put") == 3)
        await until(lambda: house.triggers.idle)
        (trigger,) = [
            each
            for each in (await door.ListTriggers(pb.ListTriggersRequest(), CALLER)).triggers
            if each.workflow == "put"
        ]
        assert (trigger.name, trigger.kind, trigger.fired, trigger.summary) == ("put-1", "path", 1, "/in changes")
        assert trigger.last_time.seconds > 0
        (firing,) = (await door.ListFirings(pb.ListFiringsRequest(trigger="put-1"), CALLER)).firings
        assert (firing.fired, firing.reason) == (True, "fired: /in=3, previous=None")
        assert firing.run_id
        assert not (await door.ListFirings(pb.ListFiringsRequest(trigger="nobody"), CALLER)).firings

    run(tmp_path, test)


def test_what_is_not_there_or_malformed_is_refused(tmp_path: Path) -> None:
    async def test(house: Flows, door: FlowMethods) -> None:
        with pytest.raises(NotFound) as told:
            await door.RunWorkflow(pb.RunWorkflowRequest(name="snapsot"), CALLER)
        assert told.value.reason == "WORKFLOW_UNKNOWN"
        assert "'snapshot'" in told.value.message
        with pytest.raises(NotFound):
            await door.ListWorkflows(pb.ListWorkflowsRequest(name="nobody"), CALLER)
        with pytest.raises(InvalidArgument):
            await door.RunWorkflow(pb.RunWorkflowRequest(name="snapshot", project="x" * 300), CALLER)
        request = pb.RunWorkflowRequest(name="snapshot", dry_run=True)
        to_message(3, request.parameters["nme"])
        with pytest.raises(InvalidArgument, match="did you mean 'name'"):
            await door.RunWorkflow(request, CALLER)
        with pytest.raises(InvalidArgument):
            await door.ListFirings(pb.ListFiringsRequest(limit=5_000), CALLER)
        with pytest.raises(Unavailable):
            await FlowMethods(services(None)).ListTriggers(pb.ListTriggersRequest(), CALLER)

    run(tmp_path, test)
