"""A rollback says of a command that nothing takes back, and of which nothing was told, that it needs somebody."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.engine.test_engine_operations_apps import Doer, who
from tests.support.desk import until
from tests.support.flows import Flows, flows

from lightfast.engine.ports import Asker
from lightfast.engine.programs.text import parse
from lightfast.engine.runs.records import Run, RunAsk, Step, StepState
from lightfast.sdk import Call

ME = Asker("client:me", "client:me", frozenset(("watch", "operate")))
UNTOLD = "needs you: nothing was told of what move of /live changed, so nothing was set back; look there"


class Quiet(Doer):
    """Tells what `play` changed, and nothing of what `move` did."""

    def answer(self, call: Call) -> None:
        if call.command == "move":
            self.done.append((call.command, dict(call.arguments)))
            self.joined.result(call.call_id, None)
        else:
            super().answer(call)


async def joined(house: Flows) -> Quiet:
    app = Quiet()
    app.session = house.operations.rooms.registry.hello(who(), app)
    app.report_all()
    await app.session.live.wait()
    return app


async def done(house: Flows, *lines: str) -> Run:
    plan = await house.planner.prepare(parse("\n".join(lines)), ME)
    assert not plan.checked.mistakes
    return await house.ended((await house.runs.start(plan, ME, RunAsk())).run_id)


async def back(house: Flows, run: Run, *, dry_run: bool = False) -> tuple[list[tuple[str, StepState, str]], Run]:
    found = [each async for each in house.runs.rollback(run.run_id, ME, dry_run=dry_run)]
    steps = [(each.step_id, each.state, each.stuck) for each in found if isinstance(each, Step)]
    assert isinstance(found[-1], Run)
    return steps, found[-1]


@pytest.mark.parametrize("other", [True, False])
async def test_what_nothing_was_told_of_is_not_called_undone(tmp_path: Path, other: bool) -> None:
    async with flows(tmp_path, start=False, watching=False) as house:
        app = await joined(house)
        lines = ["s1 = app.command /live move", "s2 = app.command /live play"]
        run = await done(house, *(lines if other else lines[:1]))
        if other:
            await until(lambda: house.value("/live/level") != 0.5)
        wanted = [("s2", StepState.UNDONE, "")] if other else []
        steps, _ = await back(house, run, dry_run=True)
        assert sorted(steps) == sorted([*wanted, ("s1", StepState.STUCK, UNTOLD)])
        steps, after = await back(house, run)
        assert sorted(steps) == sorted([*wanted, ("s1", StepState.STUCK, UNTOLD)])
        taken = "1 step taken back" if other else "0 steps taken back"
        assert after.reason == f"{taken}, 1 could not be: s1: {UNTOLD}"
        assert [command for command, _ in app.done] == (["move", "play"] if other else ["move"])
        if other:
            await until(lambda: app.values["level"] == 0.5)


async def test_what_was_told_so_long_ago_that_it_is_archived_is_not_called_untold(tmp_path: Path) -> None:
    async with flows(tmp_path, start=False, watching=False) as house:
        await joined(house)
        run = await done(house, "s1 = app.command /live move")
        unit = house.db.unit()
        late = run.end_time + 1
        unit.execute("INSERT INTO blocks VALUES(1, 1, 'f', 1, 1, 1, 1, ?1, 1, ?1, 0, 0, 1, 1)", (late,))
        await house.db.commit(unit)
        steps, _ = await back(house, run, dry_run=True)
        assert steps == [("s1", StepState.UNDONE, "")]


async def test_what_is_told_late_of_the_last_command_is_told(tmp_path: Path) -> None:
    async with flows(tmp_path, start=False, watching=False) as house:
        app = await joined(house)
        run = await done(house, "s1 = app.command /live play")
        await until(lambda: house.value("/live/level") != 0.5)
        unit = house.db.unit()
        unit.execute("UPDATE transactions SET record_time = record_time + 60000000000 WHERE grp = ?", (run.run_id,))
        await house.db.commit(unit)
        steps, _ = await back(house, run)
        assert steps == [("s1", StepState.UNDONE, "")]
        await until(lambda: app.values["level"] == 0.5)
