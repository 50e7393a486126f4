"""What a plan would change, how sure it is and how much it takes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.planning import asker, planning

from lightfast.context.scenes.records import Difference
from lightfast.core.errors import FailedPrecondition
from lightfast.engine.planner.scores import complexity, model_confidence
from lightfast.engine.programs.program import Instruction, Program
from lightfast.engine.scenes.records import Asked, Planned, Problem, Step


class Scripted:
    """Stands in for `Recalls`: tells what a scene would change, and remembers that nothing was written."""

    def __init__(self, fail: bool = False) -> None:
        self.asked: list[Asked] = []
        self.fail = fail

    async def recall(self, asked: Asked, *, origin: str) -> AsyncIterator[Step]:
        self.asked.append(asked)
        if self.fail:
            raise FailedPrecondition("the scene is damaged", reason="SCENE_DAMAGED")
        changes = (Difference("/ableton/song/tempo", 120.0, 90.0), Difference("/show/level", 3, 5))
        problems = (Problem("/reaper/tempo", 90.0, None, "/reaper is away"),)
        yield Planned(changes, problems)


async def test_a_recall_is_told_value_by_value_and_nothing_is_written(tmp_path: Path) -> None:
    recalls = Scripted()
    async with planning(tmp_path, recalls=recalls) as room:
        plan = await room.planner.plan("mute track 2, recall intro, set /show/title to dusk", asker())
    assert all(asked.validate_only for asked in recalls.asked)
    assert recalls.asked
    told = [(change.instruction, change.path, change.before, change.after) for change in plan.checked.changes]
    assert told == [
        ("s1", "/ableton/tracks/1/mute", False, True),
        ("s2", "/ableton/song/tempo", 120.0, 90.0),
        ("s2", "/show/level", 3, 5),
        ("s2", "/reaper/tempo", None, 90.0),
        ("s3", "/show/title", "one", "dusk"),
    ]


async def test_a_recall_that_cannot_be_rehearsed_says_so(tmp_path: Path) -> None:
    async with planning(tmp_path, recalls=Scripted(fail=True)) as room:
        plan = await room.planner.plan("recall intro", asker())
    (change,) = plan.checked.changes
    assert "the scene is damaged" in change.note


async def test_a_deletion_takes_what_lies_below_along(tmp_path: Path) -> None:
    async with planning(tmp_path) as room:
        plan = await room.planner.plan("delete /blender/scene/render", asker())
    below = [change for change in plan.checked.changes if change.note.startswith("deleted with")]
    assert {change.path.rsplit("/", 1)[-1] for change in below} >= {"fps", "engine", "resolution_x"}
    assert all(change.after is None and change.before is not None for change in below)


@pytest.mark.parametrize(
    ("repairs", "failed", "warnings", "wanted"),
    [(0, 0, 0, 0.9), (1, 0, 0, 0.75), (0, 1, 0, 0.8), (2, 1, 1, 0.45), (9, 9, 9, 0.05)],
)
def test_the_confidence_follows_its_formula(repairs: int, failed: int, warnings: int, wanted: float) -> None:
    assert model_confidence(repairs, failed, warnings, untrusted=False, refused=False) == pytest.approx(wanted)
    doubted = model_confidence(repairs, failed, warnings, untrusted=True, refused=True)
    assert doubted == pytest.approx(max(0.05, wanted * 0.4 if wanted > 0.05 else 0.05))


_OPS = ("context.set", "app.command", "generate.image", "wait.beat", "flow.map", "workflow.call")
_STEPS = st.lists(
    st.tuples(st.sampled_from(_OPS), st.sampled_from(("/a", "/b", "/c"))).map(
        lambda drawn: Instruction("s", drawn[0], {"app": drawn[1]} if drawn[0] == "app.command" else {"path": drawn[1]})
    ),
    max_size=40,
)


@given(_STEPS)
def test_the_complexity_is_bounded_and_grows(steps: list[Any]) -> None:
    whole = complexity(Program(tuple(steps)))
    assert 0.0 <= whole <= 1.0
    assert complexity(Program(tuple(steps[:-1]))) <= whole
