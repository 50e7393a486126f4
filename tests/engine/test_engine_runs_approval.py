"""Approval: of exactly one program, by somebody else, in time; each refusal with its exact error."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.runs import ALL, LOCAL, OWNER, open_runs, program

from lightfast.core.clock import StillClock
from lightfast.core.errors import Denied, Exhausted, FailedPrecondition, LightfastError
from lightfast.engine.ports import Asker
from lightfast.engine.runs import limits as bounds
from lightfast.engine.runs.limits import RunLimits
from lightfast.engine.runs.records import RunState

LOUD = program(("act.keyed", {"what": "horn"}))
DIGEST = LOUD.digest()
BY_MCP = replace(OWNER, via="mcp")
WEAK = Asker("client:desk", "client:desk", frozenset(("watch", "operate")))


async def test_a_run_that_needs_approval_waits_and_runs_when_it_has_it(tmp_path: Path) -> None:
    async with open_runs(tmp_path) as house:
        run = await house.start(LOUD, approve="it is loud")
        assert run.state is RunState.AWAITING_APPROVAL
        assert run.approval_reasons == ("s1: it is loud",)
        assert f"lightfast approve {run.run_id} --digest {DIGEST}" in run.reason
        assert house.service.begun == []
        found = await house.runs.approve(run.run_id, DIGEST, OWNER)
        assert (found.approver, found.reason) == ("client:owner", "")
        run = await house.until(run.run_id)
        assert (run.state, run.approver, house.service.done) == (RunState.SUCCEEDED, "client:owner", ["horn"])


REFUSED: Mapping[str, tuple[Asker, str, type[LightfastError], str]] = {
    "the requester's own": (LOCAL, DIGEST, Denied, "APPROVAL_BY_REQUESTER"),
    "the requester through the desk": (replace(LOCAL, via="desk"), DIGEST, Denied, "APPROVAL_BY_REQUESTER"),
    "through mcp": (BY_MCP, DIGEST, Denied, "APPROVAL_DOOR"),
    "by a trigger": (replace(OWNER, via="trigger"), DIGEST, Denied, "APPROVAL_DOOR"),
    "without the scope": (WEAK, DIGEST, Denied, "APPROVAL_SCOPE"),
    "of another program": (OWNER, "0" * 64, FailedPrecondition, "DIGEST_CHANGED"),
    "of no program": (OWNER, "", FailedPrecondition, "DIGEST_CHANGED"),
}


@pytest.mark.parametrize("case", list(REFUSED))
async def test_an_approval_is_refused(tmp_path: Path, case: str) -> None:
    approver, digest, kind, reason = REFUSED[case]
    async with open_runs(tmp_path) as house:
        run = await house.start(LOUD, approve="it is loud")
        with pytest.raises(kind) as error:
            await house.runs.approve(run.run_id, digest, approver)
        assert error.value.reason == reason
        assert (await house.runs.get(run.run_id)).state is RunState.AWAITING_APPROVAL
        assert house.service.begun == []


async def test_what_waits_for_no_approval_cannot_be_approved(tmp_path: Path) -> None:
    async with open_runs(tmp_path) as house:
        house.service.gates["horn"] = asyncio.Event()
        running = await house.start(LOUD)
        ended = await house.done(program(("put", {"path": "/a", "value": 1})))
        for run in (running, ended):
            with pytest.raises(FailedPrecondition) as error:
                await house.runs.approve(run.run_id, run.digest, OWNER)
            assert error.value.reason == "NOTHING_TO_APPROVE"


@pytest.mark.parametrize("who", [LOCAL, OWNER], ids=["requester", "owner"])
async def test_a_refused_run_is_cancelled_with_who_and_why(tmp_path: Path, who: Asker) -> None:
    async with open_runs(tmp_path) as house:
        run = await house.start(LOUD, approve="it is loud")
        found = await house.runs.approve(run.run_id, DIGEST, who, refuse=True, comment="not now")
        assert (found.state, found.reason) == (RunState.CANCELLED, f"refused by {who.identity}: not now")
        assert house.service.begun == []


async def test_what_nobody_approves_in_time_is_cancelled_also_by_a_later_daemon(tmp_path: Path) -> None:
    clock = StillClock()
    limits = RunLimits(approval_hours=2.0)
    async with open_runs(tmp_path, clock=clock, limits=limits) as house:
        first = await house.start(LOUD, approve="it is loud")
        clock.advance(3600)
        second = await house.start(LOUD, approve="it is loud")
        await house.runs.sweep()
        assert (await house.runs.get(first.run_id)).state is RunState.AWAITING_APPROVAL
        clock.advance(3600)
        await house.runs.sweep()
        run = await house.runs.get(first.run_id)
        assert (run.state, run.reason) == (RunState.CANCELLED, "nobody approved it within 2 hours")
    clock.advance(3600)
    async with open_runs(tmp_path, clock=clock, limits=limits) as house:
        assert (await house.until(second.run_id)).reason == "nobody approved it within 2 hours"


async def test_an_approval_is_waited_for_over_a_restart(tmp_path: Path) -> None:
    async with open_runs(tmp_path) as house:
        run = await house.start(LOUD, approve="it is loud")
    async with open_runs(tmp_path) as house:
        await house.runs.approve(run.run_id, DIGEST, OWNER)
        assert (await house.until(run.run_id)).state is RunState.SUCCEEDED


async def test_so_many_may_wait_for_approval(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "MOST_AWAITING", 1)
    async with open_runs(tmp_path) as house:
        await house.start(LOUD, approve="it is loud")
        with pytest.raises(Exhausted) as error:
            await house.start(LOUD, approve="it is loud")
        assert error.value.reason == "APPROVALS_FULL"


async def test_a_step_that_asks_in_mid_run_is_answered_under_the_same_rules(tmp_path: Path) -> None:
    class Asks:
        def __init__(self) -> None:
            self.answers: list[tuple[str, bool]] = []

        def waiting(self, run_id: str) -> list[str]:
            return [] if self.answers else ["is it good?"]

        def answer(self, run_id: str, approver: str, *, refuse: bool = False, comment: str = "") -> bool:
            self.answers.append((approver, refuse))
            return True

    async with open_runs(tmp_path) as house:
        asks = house.runs.asks = Asks()
        house.service.gates["horn"] = asyncio.Event()
        run = await house.start(LOUD)
        with pytest.raises(Denied):
            await house.runs.approve(run.run_id, DIGEST, LOCAL)
        with pytest.raises(FailedPrecondition) as error:
            await house.runs.approve(run.run_id, "other", OWNER)
        assert (error.value.reason, asks.answers) == ("DIGEST_CHANGED", [])
        assert (await house.runs.approve(run.run_id, DIGEST, OWNER)).approver == "client:owner"
        assert asks.answers == [("client:owner", False)]
        house.service.gates["horn"].set()
        await house.until(run.run_id)


def test_all_scopes_are_known() -> None:
    from lightfast.security.tokens import ALL_SCOPES

    assert frozenset(map(str, ALL_SCOPES)) == ALL
