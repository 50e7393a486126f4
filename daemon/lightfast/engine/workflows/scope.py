"""What steps refer to: names that are there, and no circles."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lightfast.core.errors import InvalidArgument
from lightfast.engine.programs.expression import compile_expression
from lightfast.engine.programs.near import did_you_mean
from lightfast.engine.programs.references import Reference, find, returns_template
from lightfast.engine.workflows.reading import Reading
from lightfast.engine.workflows.records import Parameter, Place, StepForm


def check_scope(
    steps: Sequence[StepForm], parameters: Sequence[Parameter], returns: str, reading: Reading, returns_at: Place
) -> None:
    """Check every reference of the steps and of what the workflow gives back."""
    known = {each.name for each in parameters}
    _check_block(steps, frozenset(), known, reading, inside=())
    if not returns:
        return
    names = {each.id for each in steps}
    for reference in _found(returns_template(returns)):
        _check(reference, names, known, reading, returns_at, "returns", ())


def _check_block(
    steps: Sequence[StepForm],
    outer: frozenset[str],
    parameters: set[str],
    reading: Reading,
    inside: tuple[str, ...],
) -> None:
    here = {each.id for each in steps}
    names = here | outer
    for step in steps:
        for key, reference in uses(step):
            place = step.places.get(".".join(key.split("[")[0].split(".")[:2]), step.places.get(key, step.place))
            _check(reference, names, parameters, reading, place, f"{step.id}: {key}", inside)
        for name in step.needs:
            if name not in here:
                reading.bad(
                    step.places.get("needs", step.place),
                    f"{step.id} needs {name!r:.60}, which is no step beside it{did_you_mean(name, here - {step.id})}",
                    "STEP_UNKNOWN",
                )
        for block in (step.body, step.other):
            if block:
                if step.shape in ("map", "repeat"):
                    inner: tuple[str, ...] = (step.item_name, "item", "index")
                else:
                    inner = inside
                _check_block(block, frozenset(names - {step.id}), parameters, reading, inner)
    circle = cycle_in(waits_of(steps))
    if circle:
        first = next(each for each in steps if each.id == circle[0])
        reading.bad(first.place, f"the steps wait for each other: {' → '.join(circle)}", "PROGRAM_CYCLE")


def waits_of(steps: Sequence[StepForm]) -> dict[str, set[str]]:
    """Return for each step of a block those beside it that it waits for: by name, or because it refers to them."""
    here = {each.id for each in steps}
    found: dict[str, set[str]] = {}
    for step in steps:
        roots = {reference.root for _, reference in (*uses(step), *_uses_below(step))}
        found[step.id] = (roots | set(step.needs)) & here
    return found


def _check(
    reference: Reference,
    names: set[str] | frozenset[str],
    parameters: set[str],
    reading: Reading,
    place: Place,
    where: str,
    inside: tuple[str, ...],
) -> None:
    if reference.root == "params":
        name = reference.parameter
        if name and name not in parameters:
            reading.bad(
                place, f"{where}: there is no parameter {name!r}{did_you_mean(name, parameters)}", "PARAMETER_UNKNOWN"
            )
    elif reference.root in inside:
        return
    elif reference.root in ("item", "index"):
        reading.bad(place, f"{where}: {reference.root} is known in for_each and repeat alone", "REFERENCE_UNKNOWN")
    elif reference.root not in names:
        near = did_you_mean(reference.root, sorted({*names, *inside, "params"}))
        reading.bad(place, f"{where}: nothing is named {reference.root!r} here{near}", "REFERENCE_UNKNOWN")


def uses(step: StepForm) -> Iterator[tuple[str, Reference]]:
    """Yield what a step itself refers to, with the key it stands in."""
    for key, text in (("when", step.when), ("if" if step.shape == "branch" else "while", step.condition)):
        for reference in _expression(text):
            yield key, reference
    yield from _values("arguments", step.arguments)
    if step.shape == "map":
        yield from _values("for_each", step.items)
    if step.shape == "repeat":
        yield from _values("repeat", step.times)


def _uses_below(step: StepForm) -> Iterator[tuple[str, Reference]]:
    for block in (step.body, step.other):
        for each in block:
            yield from uses(each)
            yield from _uses_below(each)


def _values(key: str, value: Any) -> Iterator[tuple[str, Reference]]:
    try:
        yield from find(value, key)
    except InvalidArgument:
        return  # it was told of where it was read


def _expression(text: str) -> tuple[Reference, ...]:
    if not text:
        return ()
    try:
        return compile_expression(text).references
    except InvalidArgument:
        return ()


def _found(text: str) -> list[Reference]:
    try:
        return [reference for _, reference in find(text)]
    except InvalidArgument:
        return []


def cycle_in(waits: Mapping[str, set[str]]) -> list[str]:
    """Return one circle, its first name again at its end; empty where there is none."""
    done: set[str] = set()
    for start in waits:
        if start in done:
            continue
        way: list[str] = [start]
        stack = [iter(sorted(waits[start]))]
        while stack:
            name = next(stack[-1], None)
            if name is None:
                stack.pop()
                done.add(way.pop())
            elif name in way:
                return [*way[way.index(name) :], name]
            elif name in waits and name not in done:
                way.append(name)
                stack.append(iter(sorted(waits[name])))
    return []
