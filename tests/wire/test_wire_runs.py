"""EngineService: runs over gRPC, from a daemon process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from tests.support.daemon import Daemon, daemon

from lightfast.api.v1 import engine_pb2 as pb
from lightfast.api.values import from_message
from lightfast.client import AsyncClient, Client
from lightfast.core.errors import AlreadyExists, Denied, FailedPrecondition, InvalidArgument, LightfastError, NotFound

SIMPLE = "s1 = context.set /show/a 1\ns2 = context.set /show/b ${s1}\n@returns ${s2}\n"
PLUGIN = """
import asyncio
from lightfast.sdk import Effect, Operation, Outcome, hookimpl


class Burn(Operation):
    name = "test.burn"
    summary = "Burns something for good."
    arguments = {"type": "object"}
    possible_effects = frozenset((Effect.DESTRUCTIVE,))

    async def perform(self, call, bench):
        return Outcome("burnt", stuck="what is burnt is burnt")


class Hang(Operation):
    name = "test.hang"
    summary = "Waits for ever."
    arguments = {"type": "object"}
    idempotent = True

    async def perform(self, call, bench):
        bench.progress(0.5, "hanging")
        await asyncio.sleep(3600)


@hookimpl
def lightfast_operations(config):
    return [Burn(), Hang()]
"""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> object:
    home = tmp_path_factory.mktemp("runs") / "home"
    plugins = home / "config/plugins"
    plugins.mkdir(parents=True, mode=0o700)
    (plugins / "burning.py").write_text(PLUGIN, encoding="utf-8")
    with daemon(home) as found:
        yield found


@asynccontextmanager
async def clients(house: Daemon) -> AsyncIterator[tuple[AsyncClient, AsyncClient]]:
    """Yield the user's own client and the owner's."""
    async with (
        AsyncClient(home=house.home) as local,
        AsyncClient(house.endpoints["grpc"], token=house.token) as owner,
    ):
        yield local, owner


async def ran(client: AsyncClient, text: str, **how: object) -> pb.EngineRun:
    run_id = ""
    async for message in client.run(text, **how):  # type: ignore[arg-type]
        run_id = message.event.run.run_id or run_id
    return await client.get_run(run_id)


async def test_a_program_is_planned_run_watched_and_taken_back(house: Daemon) -> None:
    async with clients(house) as (client, _):
        messages = [message async for message in client.run(SIMPLE)]
        plan = messages[0].plan
        assert (list(plan.problems), plan.needs_approval) == ([], False)
        run_id = messages[1].event.run.run_id
        assert [message.event.sequence for message in messages[1:]] == list(range(1, len(messages)))
        assert messages[-1].event.run.state == pb.RUN_STATE_SUCCEEDED
        run = await client.get_run(run_id)
        assert (from_message(run.result), run.digest, run.requester) == (1, plan.digest, "local")
        assert "context.set" in run.yaml
        assert [event async for event in client.watch_run(run_id, 2)] == [each.event for each in messages[3:]]
        assert run_id in {each.run_id for each in await client.runs(states=(pb.RUN_STATE_SUCCEEDED,))}
        dry = [message async for message in client.rollback(run_id, dry_run=True)]
        assert [message.step.step_id for message in dry][:-1] == ["s2", "s1"]
        assert dry[-1].run.state == pb.RUN_STATE_SUCCEEDED
        back = [message async for message in client.rollback(run_id)]
        assert back[-1].run.state == pb.RUN_STATE_ROLLED_BACK
        assert {message.step.state for message in back[:-1]} == {pb.STEP_STATE_UNDONE}
        assert await client.select("/show//") == []


async def test_a_dry_run_runs_nothing_and_another_digest_is_refused(house: Daemon) -> None:
    async with clients(house) as (client, _):
        messages = [message async for message in client.run(SIMPLE, dry_run=True)]
        assert [message.WhichOneof("kind") for message in messages] == ["plan"]
        assert {change.path for change in messages[0].plan.changes} == {"/show/a", "/show/b"}
        with pytest.raises(FailedPrecondition) as error:
            await ran(client, SIMPLE, digest="0" * 64)
        assert error.value.reason == "DIGEST_CHANGED"


async def ended(messages: AsyncIterator[pb.RunResponse]) -> list[pb.RunResponse]:
    return [message async for message in messages]


WRONG = {
    "empty": ("", InvalidArgument, ""),
    "no such operation": ("s1 = no.such", InvalidArgument, "PROGRAM_INVALID"),
    "malformed": ("s1 = = =", InvalidArgument, ""),
    "a cycle": ("instructions: [{id: a, op: context.get, arguments: {path: /x}, after: [a]}]", InvalidArgument, ""),
}


@pytest.mark.parametrize("case", list(WRONG))
async def test_a_wrong_program_is_refused(house: Daemon, case: str) -> None:
    text, kind, reason = WRONG[case]
    async with clients(house) as (client, _):
        request = pb.RunRequest(program=pb.ProgramSource(text=text))
        messages = client.messages(lambda: client.engine.Run(request, metadata=client.metadata))
        with pytest.raises(kind) as error:
            await ended(messages)
        assert reason in ("", error.value.reason)


async def test_what_destroys_waits_for_somebody_else(house: Daemon) -> None:
    async with clients(house) as (client, owner):
        following = client.run("s1 = test.burn")
        plan = (await anext(following)).plan
        assert plan.needs_approval
        run = (await anext(following)).event.run
        assert (run.state, len(run.approval_reasons)) == (pb.RUN_STATE_AWAITING_APPROVAL, 1)
        assert run.reason.endswith(f"lightfast approve {run.run_id} --digest {run.digest}")
        refusals = {}
        async with AsyncClient(house.endpoints["grpc"], token=house.token, session="mcp1") as by_mcp:
            for name, approver, digest in (
                ("own", client, run.digest),
                ("mcp", by_mcp, run.digest),
                ("changed", owner, "0" * 64),
            ):
                with pytest.raises((Denied, FailedPrecondition)) as error:
                    await approver.approve(run.run_id, digest)
                refusals[name] = error.value.reason
        assert refusals == {"own": "APPROVAL_BY_REQUESTER", "mcp": "APPROVAL_DOOR", "changed": "DIGEST_CHANGED"}
        approved = await owner.approve(run.run_id, run.digest)
        assert approved.approver == "client:owner"
        last = [message async for message in following][-1]
        assert last.event.run.state == pb.RUN_STATE_SUCCEEDED
        with pytest.raises(FailedPrecondition) as error:
            await owner.approve(run.run_id, run.digest)
        assert error.value.reason == "NOTHING_TO_APPROVE"
        back = [message async for message in client.rollback(run.run_id)]
        assert (back[0].step.state, back[0].step.error) == (pb.STEP_STATE_STUCK, "what is burnt is burnt")


async def test_a_run_is_refused_paused_resumed_and_cancelled(house: Daemon) -> None:
    async with clients(house) as (client, owner):
        following = client.run("s1 = test.hang")
        run_id = ""
        async for message in following:
            run_id = message.event.run.run_id or run_id
            if message.event.step.message == "hanging":
                break
        await following.aclose()  # type: ignore[attr-defined]
        assert (await client.pause(run_id)).state == pb.RUN_STATE_PAUSED
        assert (await client.resume(run_id)).state == pb.RUN_STATE_RUNNING
        ended = await client.cancel_run(run_id, "enough")
        assert (ended.state, ended.reason) == (pb.RUN_STATE_CANCELLED, "cancelled: enough")
        waiting = client.run("s1 = test.burn")
        await anext(waiting)
        run = (await anext(waiting)).event.run
        refused = await owner.approve(run.run_id, run.digest, refuse=True, comment="no fire")
        assert (refused.state, refused.reason) == (pb.RUN_STATE_CANCELLED, "refused by client:owner: no fire")
        assert [message async for message in waiting][-1].event.run.state == pb.RUN_STATE_CANCELLED


async def test_what_is_unknown_is_named(house: Daemon) -> None:
    async with clients(house) as (client, _):
        calls = (
            client.get_run("run-none"),
            client.pause("run-none"),
            client.cancel_run("run-none"),
            client.approve("run-none", ""),
            client.resolve_step("run-none", "s1", "skip"),
        )
        for call in calls:
            with pytest.raises(NotFound) as error:
                await call
            assert error.value.reason == "RUN_UNKNOWN"
        for source in (client.watch_run("run-none"), client.rollback("run-none")):
            with pytest.raises(NotFound):
                await anext(source)
        with pytest.raises(InvalidArgument):
            await client.call(client.engine.ResolveStep, pb.ResolveStepRequest(run_id="run-none", step_id="s1"))
        with pytest.raises(LightfastError):
            await client.call(client.engine.ListRuns, pb.ListRunsRequest(states=[pb.RUN_STATE_UNSPECIFIED]))


def test_the_blocking_client_does_the_same(house: Daemon) -> None:
    with Client(home=str(house.home)) as client:
        messages = list(client.run(SIMPLE, request_id="once"))
        again = list(client.run(SIMPLE, request_id="once"))
        run_id = messages[1].event.run.run_id
        assert again[1].event.run.run_id == run_id
        assert [event.sequence for event in client.watch_run(run_id)] == list(range(1, len(messages)))
        assert client.get_run(run_id).state == pb.RUN_STATE_SUCCEEDED
        assert list(client.rollback(run_id))[-1].run.state == pb.RUN_STATE_ROLLED_BACK


async def test_a_request_that_comes_again_follows_its_run_whatever_became_of_the_program(house: Daemon) -> None:
    async with clients(house) as (client, _):
        await client.set("/show/once", 1)
        text = "s1 = context.move source=/show/once path=/show/moved\n"
        first = [message async for message in client.run(text, request_id="moves")]
        assert first[-1].event.run.state == pb.RUN_STATE_SUCCEEDED, first[-1]
        assert (await client.validate_program(text)).problems, "now it is another program, or none"
        again = [message async for message in client.run(text, request_id="moves")]
        assert again[0].plan.digest == first[0].plan.digest
        assert [message.event for message in again[1:]] == [message.event for message in first[1:]]
        with pytest.raises(AlreadyExists) as error:
            await ran(client, text, request_id="moves", compensate=True)
        assert error.value.reason == "REQUEST_ID_REUSED"
