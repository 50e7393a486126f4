"""kill -9 at the boundaries of a run's journal: the next daemon finishes it, nothing happens twice, nothing is missing.

`LIGHTFAST_CRASHES=N` kills at N boundaries instead of a few, all there are where N is large enough.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from tests.support.daemon import Daemon
from tests.support.run_shop import Shop, twenty

from lightfast.api.v1 import engine_pb2 as pb
from lightfast.api.values import from_message
from lightfast.client import Client
from lightfast.core.errors import LightfastError
from lightfast_link.value import Asset

CRASHES = int(os.environ.get("LIGHTFAST_CRASHES", "2"))
_ENDED = (pb.RUN_STATE_SUCCEEDED, pb.RUN_STATE_FAILED, pb.RUN_STATE_CANCELLED, pb.RUN_STATE_ROLLED_BACK)
_PATIENCE_S = 60.0


def furnished(home: Path, shop: Shop) -> Daemon:
    plugins = home / "config/plugins"
    plugins.mkdir(parents=True, mode=0o700)
    (plugins / "shop.py").write_text(shop.plugin, encoding="utf-8")
    return Daemon(home)


def refuse_all_but_death(error: LightfastError) -> None:
    if error.status not in ("UNAVAILABLE", "CANCELLED", "UNKNOWN"):
        raise error


def started(home: Path, program: str, request_id: str) -> str:
    """Start a run, and return its identity; the daemon may kill itself meanwhile."""
    try:
        with Client(home=str(home)) as client:
            for message in client.run(program, request_id=request_id, optimize=False):
                assert not message.plan.problems, message.plan.problems
                if message.event.run.run_id:
                    return message.event.run.run_id
    except LightfastError as error:
        refuse_all_but_death(error)
    return ""


def finished(house: Daemon, shop: Shop, run_id: str) -> pb.EngineRun:
    """Start the daemon as often as it kills itself, answer what it cannot know, and return the run that is over."""
    deadline = time.monotonic() + _PATIENCE_S + 10.0 * CRASHES
    while True:
        assert time.monotonic() < deadline, f"the run did not end:\n{house.log()[-4000:]}"
        assert house.process is not None
        if house.process.poll() is not None:
            try:
                house.start()
            except AssertionError:
                if house.process.poll() is None:
                    raise
                continue  # it came to the next boundary before it was asked
        try:
            with Client(home=str(house.home)) as client:
                run = client.get_run(run_id)
                if run.state in _ENDED:
                    return run
                if run.state == pb.RUN_STATE_NEEDS_YOU:
                    (step, *_) = [step for step in run.steps if step.state == pb.STEP_STATE_UNKNOWN]
                    happened = "m" + step.step_id[-1] in shop.counts()
                    client.resolve_step(run_id, step.step_id, "happened" if happened else "repeat")
        except LightfastError as error:
            refuse_all_but_death(error)
        time.sleep(0.02)


def check(house: Daemon, shop: Shop, run: pb.EngineRun) -> None:
    _, values, acts = twenty()
    assert (run.state, run.reason) == (pb.RUN_STATE_SUCCEEDED, "")
    assert from_message(run.result) == 10
    assert {step.state for step in run.steps} == {pb.STEP_STATE_DONE}
    assert (len(run.steps), run.steps_done) == (20, 20)
    assert shop.counts() == acts
    with Client(home=str(house.home)) as client:
        assert {path: client.get(path).value for path in values} == values
        for n in (1, 2):
            asset = client.get(f"/show/film{n}").value
            assert isinstance(asset, Asset)
            assert client.read_asset(asset.sha256) == f"film of f{n}".encode()
        made = [t for t in client.history("/show//", limit=1000) if t.group_id == run.run_id]
        assert sorted(t.label for t in made) == sorted(
            f"{step.step_id}: {step.operation}" for step in run.steps if step.revision
        )
        assert sorted(t.revision for t in made) == sorted(step.revision for step in run.steps if step.revision)
        events = list(client.watch_run(run.run_id))
        assert [event.sequence for event in events] == list(range(1, len(events) + 1))


@pytest.mark.limit(120 + 15 * CRASHES)
def test_a_run_outlasts_kill_9_at_the_boundaries_of_its_journal(tmp_path: Path) -> None:
    home, shop = tmp_path / "home", Shop(tmp_path / "shop")
    house = furnished(home, shop)
    program, _, _ = twenty()
    try:
        house.start()
        run = finished(house, shop, started(home, program, "plain"))
        check(house, shop, run)
        found = list(dict.fromkeys(shop.lines("boundaries")))
        assert len(found) >= 60, found
        shop.clear()
        step = max(1, len(found) // CRASHES)
        chosen = found[step // 2 :: step][:CRASHES] if len(found) > CRASHES else found
        shop.kill_at(*chosen)
        run_id = started(home, program, "killed")
        while not run_id:  # it was killed before it could say so: asked again, it is the same run
            assert house.process is not None
            house.process.wait(60)
            house.start()
            run_id = started(home, program, "killed")
        run = finished(house, shop, run_id)
        check(house, shop, run)
        killed = shop.lines("killed")
        assert len(killed) == len(set(killed))
        missed = set(chosen) - set(
            killed
        )  # what the test answers for, or another crash made unneeded, is not met again
        assert len(missed) <= len(chosen) // 2, missed
    finally:
        house.kill()


ROLLBACK = ("keyed2 kept after", "keyed3.undo acted", "plain1 kept before", "run ROLLED_BACK before")
"""Boundaries of a rollback: before and after it is noted that something is undone outside, and before the end."""


def taken_back(house: Daemon, run_id: str) -> pb.EngineRun:
    """Take a run back, starting the daemon as often as it kills itself; return the run."""
    deadline = time.monotonic() + 100
    while True:
        assert time.monotonic() < deadline, house.log()[-4000:]
        assert house.process is not None
        if house.process.poll() is not None:
            house.start()
        try:
            with Client(home=str(house.home)) as client:
                *_, last = client.rollback(run_id)
                return last.run
        except LightfastError as error:
            refuse_all_but_death(error)
        time.sleep(0.05)


@pytest.mark.limit(120)
def test_a_rollback_outlasts_kill_9_and_takes_nothing_back_twice(tmp_path: Path) -> None:
    home, shop = tmp_path / "home", Shop(tmp_path / "shop")
    house = furnished(home, shop)
    program, _, _ = twenty()
    try:
        house.start()
        run_id = finished(house, shop, started(home, program, "plain")).run_id
        shop.kill_at(*ROLLBACK[:: max(1, len(ROLLBACK) // CRASHES)])
        assert taken_back(house, run_id).state == pb.RUN_STATE_ROLLED_BACK
        assert len(shop.lines("killed")) == len(shop.lines("kills"))
        undone = {what: count for what, count in shop.counts().items() if what.startswith("un")}
        assert undone == dict.fromkeys(
            [*(f"unk{n}" for n in range(1, 6)), *(f"unp{n}" for n in range(1, 5)), "unm1", "unm2"], 1
        )
        with Client(home=str(home)) as client:
            assert [entry.path for entry in client.select("/show//")] == []
            run = client.get_run(run_id)
        assert {step.state for step in run.steps if step.operation.startswith("shop")} == {pb.STEP_STATE_UNDONE}
    finally:
        house.kill()
