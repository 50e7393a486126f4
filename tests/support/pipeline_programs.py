"""Random programs for the small world of `tests.support.pipelines`, of every kind of instruction it has."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from lightfast.engine.programs.program import Instruction, Program

PATHS = ("/c/a", "/c/b", "/c/b/x", "/c/b/y", "/d")
PATTERNS = (*PATHS, "/c//", "/c/*", "/c/b/[xz]", "//x", "//", "/d//")
THINGS = ("desk", "lamp")


@st.composite
def blocks(draw: Any, seen: tuple[str, ...], depth: int, most: int, faults: bool) -> tuple[Instruction, ...]:
    """Return instructions that refer to those of *seen* and to each other."""
    made: list[Instruction] = []
    for _ in range(draw(st.integers(1, most))):
        identity = f"{'abcd'[depth]}{len(made) + 1}"
        made.append(draw(instructions(identity, seen, depth, faults)))
        seen = (*seen, identity)
    return tuple(made)


@st.composite
def instructions(draw: Any, identity: str, seen: tuple[str, ...], depth: int, faults: bool) -> Instruction:
    """Return one instruction."""
    delay = st.integers(0, 12)
    path = st.sampled_from(PATHS)
    named = [each for each in seen if each != "item"]
    any_value = st.one_of(
        st.integers(0, 3),
        *([st.sampled_from(named).map(lambda name: f"${{{name}}}")] if named else []),
        st.just("${params.p}"),
        *([st.just("refused")] if faults else []),
    )
    thing = st.sampled_from((*THINGS, "${params.thing}"))
    kinds = ["set", "set", "get", "slow", "act", "act", "keyed", "peek", "merge", "delete", "move", "compute", "late"]
    kind = draw(st.sampled_from(kinds + (["branch", "map"] if depth < 2 else [])))
    arguments: dict[str, Any] = {}
    inner: dict[str, tuple[Instruction, ...]] = {}
    op, retries = f"context.{kind}", 0
    match kind:
        case "set":
            arguments = {"path": draw(path), "value": draw(any_value)}
        case "late":  # where it writes is known late
            op, arguments = "context.set", {"path": "/c/${params.p}", "value": draw(any_value)}
        case "merge":
            arguments = {"path": draw(path), "value": {"k": draw(any_value)}}
        case "delete":
            arguments = {"path": draw(path)}
        case "move":
            arguments = {"source": draw(path), "path": draw(path)}
        case "get":
            arguments = {"pattern": draw(st.sampled_from(PATTERNS))}
        case "slow":
            op, arguments = "slow.get", {"pattern": draw(st.sampled_from(PATTERNS)), "delay": draw(delay)}
        case "peek":
            op, arguments = "peek", {"thing": draw(thing), "delay": draw(delay)}
        case "compute":
            op, arguments = "value.compute", {"expression": draw(conditions(named))}
        case "branch":
            op, arguments = "flow.branch", {"condition": draw(conditions(named))}
            inner = {name: draw(blocks(seen, depth + 1, 3, faults)) for name in ("then", "else")}
        case "map":
            op = "flow.map"
            arguments = {"items": draw(st.lists(st.integers(0, 2), max_size=3))}
            if draw(st.booleans()):
                arguments["parallel"] = draw(st.integers(1, 2))
            inner = {"do": draw(blocks((*seen, "item"), depth + 1, 3, faults))}
        case _:
            op = "act" if kind == "act" else "act.keyed"
            arguments = {"thing": draw(thing), "what": draw(any_value), "delay": draw(delay), "after": draw(delay)}
            if draw(st.booleans()):
                arguments["path"] = draw(path)
            if faults and draw(st.integers(0, 5)) == 0:
                arguments["fails"] = True
            if kind == "keyed" and draw(st.integers(0, 3)) == 0:
                arguments["passing"], retries = draw(st.integers(1, 2)), 2
    return Instruction(
        id=identity,
        op=op,
        arguments=arguments,
        after=tuple(draw(st.lists(st.sampled_from(named), max_size=1))) if named else (),
        when=draw(st.one_of(st.just(""), st.just(""), st.just(""), conditions(named))),
        retries=retries,
        on_failure=draw(st.sampled_from(("stop", "continue"))) if faults else "stop",
        blocks=inner,
    )


@st.composite
def conditions(draw: Any, named: list[str]) -> str:
    """Return an expression that has a value whatever there is."""
    choices = ["true", "1 < 2", 'exists("/c/a")', 'value("/d") == 1', 'exists("/c/b/x") or value("/c/a") == 2', "false"]
    if named:
        choices.append(f"{draw(st.sampled_from(named))} == null")
    return str(draw(st.sampled_from(choices)))


@st.composite
def programs(draw: Any, *, most: int = 8, faults: bool = False) -> Program:
    """Return a program for the small world."""
    made = draw(blocks((), 0, most, faults))
    parameters = {"p": draw(st.sampled_from(("a", "b"))), "thing": draw(st.sampled_from(THINGS))}
    return Program(made, parameters=parameters, returns=f"${{{made[-1].id}}}")
