"""Whose rights count on a real daemon: those of who saved a workflow, and those that a token has when its time comes."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from tests.app.test_app_approvals import House, refusal
from tests.support.burning import BURN as BURNING
from tests.support.daemon import daemon
from tests.support.waiting import until

from lightfast.api.v1 import engine_pb2, jobs_pb2
from lightfast.client import Client

ALL = ("watch", "operate", "approve")
BURNS = """
name: {name}
steps:
  - {{id: burn, op: test.burn, arguments: {{}}}}
triggers:
  - {{on: path, pattern: /doors/{name}, when: value == "open"}}
"""
OPENS = """
name: {name}
steps:
  - {{id: put, op: context.set, arguments: {{path: /opened/{name}, value: true}}}}
triggers:
  - {{on: path, pattern: /doors/{name}, when: value == "open", cooldown: 0s}}
"""
ASKS = """
s1 = context.set /steps/{name} 1
s2 = wait.pattern pattern=/go/{name} condition="item == 1" after=s1
s3 = context.set /steps/{name} 3 after=s2
"""
WAITING = engine_pb2.RUN_STATE_AWAITING_APPROVAL


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    home = tmp_path_factory.mktemp("rights") / "home"
    plugins = home / "config/plugins"
    plugins.mkdir(parents=True, mode=0o700)
    (plugins / "burning.py").write_text(BURNING, encoding="utf-8")
    with daemon(home) as found:
        with Client(home=home) as client:
            until(client.job_types)
        yield House(found)


def revoke(house: House, token: dict[str, Any]) -> None:
    with Client(home=house.daemon.home) as client:
        client.call_json("AdminService.RevokeToken", {"token_id": token["token"]["token_id"]})


def opened(client: Client, name: str) -> list[jobs_pb2.Firing]:
    """Open a door, which its trigger may not look at yet, and return what came of that so far."""
    for state in ("shut", "open"):
        client.set(f"/doors/{name}", state)
    return client.firings(f"{name}-1")


def waiting(client: Client, requester: str) -> engine_pb2.EngineRun:
    """Return the run that *requester* asked for and that waits for an approval, when there is one."""
    found: engine_pb2.EngineRun = until(
        lambda: next((run for run in client.runs(states=[WAITING]) if run.requester == requester), None), "the run"
    )
    return found


def test_who_saved_a_workflow_cannot_approve_what_its_trigger_starts(house: House) -> None:
    author, other = (house.token(name, *ALL)["secret"] for name in ("author", "reader"))
    with house.client(author) as client, house.client(other) as second, Client(home=house.daemon.home) as local:
        assert not client.save_workflow(BURNS.format(name="burns")).problems
        until(lambda: [each for each in local.triggers() if each.name == "burns-1"])
        until(lambda: opened(local, "burns"))
        run = waiting(local, "trigger:burns-1")
        reason, message = refusal(lambda: client.approve(run.run_id, run.digest))
        assert reason == "APPROVAL_BY_REQUESTER"
        assert message == (
            f"client:author saved the workflow that trigger:burns-1 started as {run.run_id} and cannot approve it, too:"
            " somebody else must, with another token"
        )
        assert second.approve(run.run_id, run.digest).approver == "client:reader"


def test_who_saved_a_workflow_that_is_called_cannot_approve_it_either(house: House) -> None:
    inner, outer = (house.token(name, *ALL)["secret"] for name in ("inner", "outer"))
    calls = (
        "name: calls\nsteps:\n  - {id: call, op: workflow.call, arguments: {workflow: called}}\n"
        "triggers:\n  - {on: path, pattern: /doors/calls}\n"
    )
    with house.client(inner) as first, house.client(outer) as second, Client(home=house.daemon.home) as local:
        assert not first.save_workflow(BURNS.format(name="called")).problems
        assert not second.save_workflow(calls).problems
        until(lambda: [each for each in local.triggers() if each.name == "calls-1"])
        until(lambda: opened(local, "calls"))
        run = waiting(local, "trigger:calls-1")
        for client in (first, second):
            assert refusal(partial(client.approve, run.run_id, run.digest))[0] == "APPROVAL_BY_REQUESTER"
        local.cancel_run(run.run_id)


def test_who_set_a_schedule_and_who_saved_its_workflow_cannot_approve_its_runs(house: House) -> None:
    writer, planner = (house.token(name, *ALL)["secret"] for name in ("writer", "planner"))
    with house.client(writer) as first, house.client(planner) as second, Client(home=house.daemon.home) as local:
        assert not first.save_workflow(BURNS.format(name="nightly")).problems
        second.set_schedule("nightly", "every 1s", "workflow_execute", payload={"workflow": "nightly"})
        run = waiting(local, "client:planner")
        local.delete_schedule("nightly")
        for client in (first, second):
            assert refusal(partial(client.approve, run.run_id, run.digest))[0] == "APPROVAL_BY_REQUESTER"
        for each in local.runs(states=[WAITING]):
            local.cancel_run(each.run_id)


def test_a_job_of_a_token_that_was_revoked_is_not_begun(house: House) -> None:
    first, gone = house.token("first-of-two", "watch", "operate"), house.token("gone", "watch", "operate")
    with Client(home=house.daemon.home) as local:
        with house.client(first["secret"]) as client:
            client.save_workflow(
                "name: holds\nsteps:\n  - {id: w, op: wait.pattern, arguments: {pattern: /hold, condition: item == 1}}\n"
            )
            before = client.submit_job("workflow_execute", {"workflow": "holds"}).job_id
        with house.client(gone["secret"]) as client:
            after = client.submit_job("task_create", {"title": "Late"}, after=[before]).job_id
        revoke(house, gone)
        local.set("/hold", 1)
        job = local.wait_for_job(after)
        assert job.state == jobs_pb2.JOB_STATE_DEAD
        assert job.error == (
            "ASKER_REVOKED: the token 'gone', with which this was asked for, was revoked or has expired: nothing more is"
            " done; submit it anew with a token that may, or 'lightfast token issue gone --scope operate' first to let"
            " it count again"
        )
        assert job.attempts == 1
        assert not [task for task in local.tasks() if task.title == "Late"]
        less = house.token("gone", "watch")
        local.retry_job(after)
        assert local.wait_for_job(after).error.startswith("ASKER_SCOPE: the token 'gone'")
        revoke(house, less)
        house.token("gone", "watch", "operate")
        local.retry_job(after)
        assert local.wait_for_job(after).state == jobs_pb2.JOB_STATE_SUCCEEDED


def test_a_schedule_of_a_token_that_was_revoked_queues_nothing(house: House) -> None:
    token = house.token("clock", "watch", "operate")
    with Client(home=house.daemon.home) as local:
        with house.client(token["secret"]) as client:
            client.set_schedule("ticks", "every 1s", "task_create", payload={"title": "tick"})
        until(local.jobs)
        revoke(house, token)

        def skipped() -> Any:
            found = local.events(kinds=["schedule.skipped"], limit=1000)
            return [each for each in found if "ASKER_REVOKED" in each.payload and each.entity_id == "ticks"]

        until(skipped, "the event")
        count = len([job for job in local.jobs(limit=1000) if job.schedule == "ticks"])
        until(lambda: len(skipped()) > 1, "another event")
        assert len([job for job in local.jobs(limit=1000) if job.schedule == "ticks"]) == count
        local.delete_schedule("ticks")


def test_a_trigger_of_a_token_that_was_revoked_starts_nothing_until_somebody_saves_it_again(house: House) -> None:
    token = house.token("keeper", "watch", "operate")
    with Client(home=house.daemon.home) as local:
        with house.client(token["secret"]) as client:
            assert not client.save_workflow(OPENS.format(name="opens")).problems
        until(lambda: [each for each in local.triggers() if each.name == "opens-1"])
        revoke(house, token)
        firing = until(lambda: opened(local, "opens"))[0]
        assert not firing.fired
        assert firing.reason.startswith("refused: /doors/opens='open'")
        assert "ASKER_REVOKED: the token 'keeper'" in firing.reason
        assert "save the workflow opens anew with a token that may" in firing.reason
        assert not local.save_workflow(OPENS.format(name="opens"), replace=True).problems
        until(lambda: opened(local, "opens")[0].fired)
        until(lambda: local.get("/opened/opens").value is True)


@pytest.mark.parametrize("name", ["waiting", "standing"])
def test_a_run_of_a_token_that_was_revoked_does_not_go_on(house: House, name: str) -> None:
    token = house.token(name, "watch", "operate")
    with Client(home=house.daemon.home) as local:
        with house.client(token["secret"]) as client:
            run_id = next(
                message.event.run.run_id for message in client.run(ASKS.format(name=name)) if message.HasField("event")
            )
            until(lambda: local.get(f"/steps/{name}").value == 1)
            client.pause(run_id)
        if name == "standing":  # nothing of it is under way any more
            local.set(f"/go/{name}", 1)
            until(lambda: local.get_run(run_id).steps_done == 2)
        revoke(house, token)
        local.resume(run_id)
        until(lambda: local.get_run(run_id).state == engine_pb2.RUN_STATE_FAILED)
        run = local.get_run(run_id)
        assert f"the token {name!r}, with which this was asked for, was revoked" in run.reason
        assert "ASKER_REVOKED" in run.reason
        assert local.get(f"/steps/{name}").value == 1
        assert not [step for step in run.steps if step.state == engine_pb2.STEP_STATE_STARTED]
        list(local.rollback(run_id))  # which asks for nobody's rights but those of who wants it
        assert local.get_run(run_id).state == engine_pb2.RUN_STATE_ROLLED_BACK
        assert not local.select(f"/steps/{name}")


def test_a_run_that_somebody_else_approved_goes_on_without_who_asked(house: House) -> None:
    token = house.token("leaves", "watch", "operate")
    other = house.token("stays", *ALL)["secret"]
    with house.client(token["secret"]) as client:
        run = house.ask(client)
    revoke(house, token)
    with house.client(other) as client:
        client.approve(run.run_id, run.digest)
        until(lambda: client.get_run(run.run_id).state == engine_pb2.RUN_STATE_SUCCEEDED)
