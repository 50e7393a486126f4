"""Which paths overlap, and which instructions wait: exhaustively on tiny programs."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.pipelines import NO_WORLD, Book, Memory, Serial

from lightfast.engine.pipeline.hazards import Accesses
from lightfast.engine.pipeline.overlap import overlap
from lightfast.engine.pipeline.pools import Pools
from lightfast.engine.pipeline.runner import run
from lightfast.engine.programs.program import Instruction, Program
from lightfast_link.path import compile_pattern

NAMES = ("a", "ab", "b")
ALL_PATHS = ["/" + "/".join(each) for depth in (1, 2, 3) for each in itertools.product(NAMES, repeat=depth)]
SEGMENTS = (*NAMES, "*", "a*", "*b", "?", "[ab]", "[!a]", "{a,ab}")
PATTERNS = st.lists(st.sampled_from(SEGMENTS), min_size=0, max_size=3).flatmap(
    lambda parts: st.lists(st.sampled_from(("/", "/", "//")), min_size=len(parts) + 1, max_size=len(parts) + 1).map(
        lambda slashes: (
            "".join(s + p for s, p in zip(slashes, parts, strict=False))
            + ("//" if slashes[-1] == "//" or not parts else "")
        )
    )
)


@given(PATTERNS, PATTERNS)
@settings(max_examples=2000, deadline=None)
def test_patterns_that_match_one_path_overlap(left: str, right: str) -> None:
    one, two = compile_pattern(left), compile_pattern(right)
    both = [path for path in ALL_PATHS if one.matches(path) and two.matches(path)]
    assert overlap(one, two) == overlap(two, one)
    if both:
        assert overlap(one, two), both[0]


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        ("//", "/a/b", True),
        ("//", "//", True),
        ("/a//", "/a", True),
        ("/a//", "/ab", False),
        ("/a//", "//b", True),
        ("//b", "//a", False),
        ("/a/*", "/b/*", False),
        ("/a//x", "/a/*/y", False),
        ("/a//x", "/a/*/x", True),
        ("/*/tempo", "/live//", True),
        ("/a*/x", "/b*/x", False),
        ("/*a", "/*b", False),
        ("/a*", "/*b", True),
        ("/a/{b,c}", "/a/c", True),
        ("/a/{b,c}", "/a/d", False),
        ("/a", "/a", True),
        ("/a", "/a/b", False),
    ],
)
def test_overlap_of(left: str, right: str, expected: bool) -> None:
    assert overlap(compile_pattern(left), compile_pattern(right)) is expected


@given(st.lists(st.tuples(st.lists(PATTERNS, min_size=1, max_size=2), st.booleans()), max_size=12), PATTERNS)
@settings(max_examples=500, deadline=None)
def test_the_index_finds_the_latest_that_overlaps(held: list[tuple[list[str], bool]], wanted: str) -> None:
    accesses = Accesses()
    compiled = [[compile_pattern(text) for text in texts] for texts, _ in held]
    for order, patterns in enumerate(compiled):
        accesses.add(order, patterns)
    for order, (patterns, (_, leaves)) in enumerate(zip(compiled, held, strict=True)):
        if leaves:
            accesses.remove(order, patterns)
    pattern = compile_pattern(wanted)
    for before in (len(held), len(held) // 2):
        expected = [
            order
            for order in range(before)
            if not held[order][1] and any(overlap(pattern, each) for each in compiled[order])
        ]
        assert accesses.latest(before, [pattern]) == (expected[-1] if expected else -1)
    for order, patterns in enumerate(compiled):
        accesses.remove(order, patterns)
    assert not len(accesses), "nothing is left behind"


def kind(which: str, delay: int, identity: str) -> Instruction:
    """Return one of the kinds of access to the same path `/thing/t/state`."""
    match which:
        case "write":
            return Instruction(identity, "context.set", {"path": "/thing/t/state", "value": identity})
        case "read":
            return Instruction(identity, "slow.get", {"pattern": "/thing/t/*", "delay": delay})
        case "act":
            return Instruction(identity, "act", {"thing": "t", "what": identity, "delay": delay, "after": 6 - delay})
        case "both":
            arguments = {"thing": "t", "what": identity, "delay": delay, "path": "/thing/t/state"}
            return Instruction(identity, "act", arguments)
        case _:
            return Instruction(identity, "peek", {"thing": "t", "delay": delay})


KINDS = ("write", "read", "act", "both", "peek")


@pytest.mark.parametrize("first", KINDS)
def test_all_tiny_programs(first: str) -> None:
    """Every three accesses to one path, each quick or slow."""

    async def body() -> None:
        pools = Pools()
        for rest in itertools.product(KINDS, repeat=2):
            for delays in itertools.product((0, 6), repeat=3):
                which = (first, *rest)
                program = Program(
                    tuple(kind(w, d, f"s{n}") for n, (w, d) in enumerate(zip(which, delays, strict=True)))
                )
                serial, journal, book = Serial(Book()), Memory(delay=1), Book()
                await serial.run(program)
                end = await run(program, book, journal, pools, run_id="r", origin="run:r", world=NO_WORLD)
                assert end.state == "SUCCEEDED", (which, delays, end)
                assert journal.values == serial.values, (which, delays)
                assert book.outside.done == serial.book.outside.done, (which, delays)
                found: dict[str, Any] = {name: step.result for name, step in journal.rows.items()}
                assert found == {name: row[1] for name, row in serial.rows.items()}, (which, delays)

    asyncio.run(body())


async def test_what_is_independent_overlaps() -> None:
    program = Program(
        tuple(
            Instruction(f"s{n}", "act", {"thing": f"t{n}", "what": n, "delay": 50, "path": f"/done/{n}"})
            for n in range(16)
        )
    )
    book, journal = Book(), Memory()
    end = await run(program, book, journal, Pools(), run_id="r", origin="run:r", world=NO_WORLD)
    assert end.state == "SUCCEEDED"
    assert book.outside.most == 16
    assert journal.order == [f"s{n}" for n in range(16)]


async def test_what_acts_on_one_thing_never_overlaps_however_slow_what_is_before() -> None:
    """The acts need not wait for the commit of what is before them, but for each other."""
    slow = Instruction("s0", "slow.get", {"pattern": "/x", "delay": 300})
    acts = tuple(Instruction(f"s{n}", "act", {"thing": "t", "what": n, "delay": 2}) for n in range(1, 9))
    book, journal = Book(), Memory()
    seen: list[int] = []
    read = journal.read

    async def spy(paths: Any = (), pattern: str = "") -> Any:
        seen.append(len(book.outside.done["t"]))
        return await read(paths, pattern)

    journal.read = spy  # type: ignore[method-assign]
    end = await run(Program((slow, *acts)), book, journal, Pools(), run_id="r", origin="run:r", world=NO_WORLD)
    assert end.state == "SUCCEEDED"
    assert book.outside.most == 1
    assert seen == [8], "all had acted before the slow one ended"
    assert journal.order == [f"s{n}" for n in range(9)]


async def test_where_it_writes_need_not_be_known_for_others_to_go_on() -> None:
    """A path with a reference is wide below what is written out; what lies elsewhere overlaps with it."""
    slow = Instruction("s1", "slow.get", {"pattern": "/x", "delay": 200})
    late = Instruction("s2", "context.set", {"path": "/c/${s1}", "value": 1}, when="s1 == 7")
    below = Instruction("s3", "slow.get", {"pattern": "/c/a"})
    other = Instruction("s4", "act", {"thing": "t", "what": 1})
    book, journal = Book(), Memory()
    order: list[str] = []
    read = journal.read

    async def spy(paths: Any = (), pattern: str = "") -> Any:
        order.append(pattern)
        if pattern == "/x":
            assert book.outside.done["t"], "what lies elsewhere has overtaken it"
        return await read(paths, pattern)

    journal.read = spy  # type: ignore[method-assign]
    program = Program((slow, late, below, other))
    end = await run(program, book, journal, Pools(), run_id="r", origin="run:r", world=NO_WORLD)
    assert end.state == "SUCCEEDED"
    assert order == ["/x", "/c/a"]
