"""Replaying a journal is the run: cut anywhere and taken up, a program leaves what it leaves uncut."""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.runs import NoWorld, PipelineRunner, Service, open_runs

from lightfast.core.clock import SYSTEM
from lightfast.engine.pipeline.pools import Pools
from lightfast.engine.programs.program import Instruction, Program
from lightfast.engine.runs.records import Run, RunState, StepState

FAILING = False
"""Programs whose steps fail are for the last test: what acts behind a failure depends on the moment it comes."""


class Dying:
    """Lets a run go on up to one call of its journal, before or after it was made: then it stands for ever."""

    def __init__(self, runner: PipelineRunner, at: int, *, after: bool) -> None:
        self.runner, self.left, self.after = runner, at, after
        self.dead = asyncio.Event()

    def control(self) -> Any:
        return self.runner.control()

    async def run(self, made: Program, journal: Any, **how: Any) -> Any:
        return await self.runner.run(made, _Dying(journal, self), **how)

    async def stop(self) -> None:
        self.dead.set()
        await asyncio.Event().wait()


class _Dying:
    def __init__(self, journal: Any, dying: Dying) -> None:
        self._journal, self._dying = journal, dying
        self.read, self.progressed = journal.read, journal.progressed

    def __getattr__(self, name: str) -> Any:
        plain, dying = getattr(self._journal, name), self._dying

        async def call(*args: Any) -> Any:
            dying.left -= 1
            if dying.left < 0 or (dying.left == 0 and not dying.after):
                await dying.stop()
            found = await plain(*args)
            if dying.left <= 0:
                await dying.stop()
            return found

        return call


@st.composite
def programs(draw: st.DrawFn) -> Program:
    """Programs of sets, deletions and acts, some of which build on the result of others."""
    made: list[Instruction] = []
    for n in range(draw(st.integers(1, 7))):
        op = draw(st.sampled_from(("put", "put", "act.keyed", "act.plain")))
        earlier = [each.id for each in made]
        known = [each.id for each in made if FAILING or each.op != "put" or "value" in each.arguments]
        value: Any = draw(st.sampled_from((n, *(f"${{{name}}}" for name in known))))
        arguments = {"what": f"w{n}"} if op != "put" else {"path": f"/p{draw(st.integers(0, 2))}", "value": value}
        if op == "put" and draw(st.booleans()):
            del arguments["value"]
        after = tuple(draw(st.lists(st.sampled_from(earlier), max_size=1))) if earlier else ()
        made.append(Instruction(f"s{n}", op, arguments, after))
    return Program(tuple(made), returns=f"${{{made[-1].id}}}")


def told(run: Run) -> Any:
    return run.state, run.result, [(s.step_id, s.state, s.result, s.undo, bool(s.revision)) for s in run.steps]


async def uncut(folder: Path, made: Program) -> Any:
    async with open_runs(folder) as house:
        run = await house.done(made)
        return told(run), house.house.values(), Counter(house.service.done)


async def cut(folder: Path, made: Program, at: int, *, after: bool) -> Any:
    service = Service()
    dying: list[Dying] = []

    def runner(book: Any) -> Dying:
        dying.append(Dying(PipelineRunner(book, NoWorld(), Pools(), SYSTEM), at, after=after))
        return dying[0]

    async with open_runs(folder, service, runner=runner) as house:
        run = await house.start(made)
        while not dying[0].dead.is_set() and (await house.runs.get(run.run_id)).state is RunState.RUNNING:
            await asyncio.sleep(0.001)
    async with open_runs(folder, service) as house:
        found = await house.until(run.run_id)
        groups = await house.house.db.query(
            "SELECT label, count(*) FROM transactions WHERE grp = ? GROUP BY label HAVING count(*) > 1", (run.run_id,)
        )
        assert groups == [], "a step was committed twice"
        return told(found), house.house.values(), Counter(service.done)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(made=programs(), at=st.integers(1, 12), after=st.booleans())
def test_a_run_that_is_cut_and_taken_up_leaves_what_it_leaves_uncut(made: Program, at: int, after: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:

        async def both() -> None:
            async with asyncio.timeout(120):
                assert await cut(Path(folder) / "cut", made, at, after=after) == await uncut(
                    Path(folder) / "uncut", made
                )

        asyncio.run(both())


@pytest.mark.parametrize("at", range(1, 8))
def test_what_acted_behind_a_failure_is_taken_back_also_after_a_cut(tmp_path: Path, at: int) -> None:
    made = Program(
        (
            Instruction("s0", "put", {"path": "/p0"}),
            Instruction("s1", "put", {"path": "/p0", "value": "${s0}"}),
            Instruction("s2", "act.keyed", {"what": "w2"}),
            Instruction("s3", "act.plain", {"what": "w3"}),
        )
    )

    async def main() -> None:
        async with asyncio.timeout(120):
            (state, _, steps), _, done = await cut(tmp_path, made, at, after=True)
            assert state is RunState.FAILED
            states = {step_id: each for step_id, each, *_ in steps}
            assert states["s1"] is StepState.FAILED
            assert not {StepState.STARTED, StepState.UNKNOWN} & set(states.values()), states
            assert (done["w2"], done["w3"]) == (done["unw2"], done["unw3"])
            assert max(done.values(), default=1) == 1

    asyncio.run(main())
