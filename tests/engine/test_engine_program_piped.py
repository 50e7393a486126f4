"""Rewritten programs in the pipeline come to what the plain ones come to one instruction at a time."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import given, settings
from tests.support.pipelines import Memory
from tests.support.program_house import Book, House, run_serially
from tests.support.program_maker import CONTEXTS, programs

from lightfast.engine.pipeline.pools import Pools
from lightfast.engine.pipeline.runner import run
from lightfast.engine.programs.optimizer import Optimizer
from lightfast.engine.programs.program import Program
from lightfast.engine.programs.text import parse, to_lines


async def piped(program: Program, values: dict[str, Any]) -> tuple[str, Any, dict[str, Any], House]:
    """Run a program in the pipeline; return state, result, what the context holds then, and the house."""
    house, journal = House(), Memory()
    journal.values.update(values)
    async with asyncio.timeout(60):
        end = await run(program, Book(house), journal, Pools(), run_id="r", origin="run:r", world=house)
    return end.state, end.result, journal.values, house


@given(programs(10), CONTEXTS)
@settings(max_examples=50, deadline=None)
def test_a_rewritten_program_runs_like_the_plain_one(program: Program, values: dict[str, Any]) -> None:
    plain = run_serially(program, values)
    if plain.failed:
        return
    house = House()
    made, _ = Optimizer(Book(house)).optimize(parse(to_lines(program)), house)
    state, result, after, ran = asyncio.run(piped(made, values))
    assert state == "SUCCEEDED", to_lines(made)
    assert result == plain.returned
    assert after == plain.values
    wanted = plain.by_resource()
    found: dict[str, list[str]] = {}
    for resource, act in ran.acts:
        found.setdefault(resource, []).append(act)
    assert found.get("/blender") == wanted.get("/blender")
    assert sorted(found.get("provider", [])) == sorted(wanted.get("provider", []))
