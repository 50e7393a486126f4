"""The view for an application: what others say of shared concepts, in its own names, units and axes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from lightfast.context.entry import Declaration, Entry
from lightfast.context.views.fit import fitted
from lightfast.context.views.merge import merged
from lightfast.context.views.records import Item, Omission
from lightfast.context.views.terms import Fact, Reading, role, spoken
from lightfast.context.views.units import Rates, converted, from_radians, in_radians, turned
from lightfast.sdk.dialect import Term

Declared = Callable[[str], Declaration | None]
_RATES = ("tempo", "frame_rate", "sample_rate")


def build(
    target: Reading, sources: Iterable[Reading], entries: Sequence[Entry], declared: Declared, own: Rates
) -> tuple[list[Item], list[Omission]]:
    """Return the values for *target*, whose rates are *own*, out of *entries*, and what has no place there, and why."""
    units = {entry.path: (found.unit if (found := declared(entry.path)) else "") for entry in entries}
    readings = {reading.mount: reading for reading in sources}
    facts = [fact for reading in readings.values() for fact in reading.facts(units)]
    rates: dict[str, Rates] = {mount: _rates(reading.facts(units)) for mount, reading in readings.items()}
    rates[target.mount] = own
    told = {path for fact in facts for path in fact.paths}
    kept, omissions = merged(facts)
    items: list[Item] = []
    for fact in kept:
        said, missed = _said(fact, readings[fact.mount], target, rates, declared)
        items += said
        omissions += missed
    omissions += [Omission(entry.path, "no counterpart") for entry in entries if entry.path not in told]
    return items, omissions


def _rates(facts: Iterable[Fact]) -> dict[str, float]:
    """Return what beats and frames last in one application, as far as it says."""
    return {
        fact.concept: float(fact.value)
        for fact in facts
        if fact.concept in _RATES and isinstance(fact.value, (int, float)) and fact.value > 0
    }


def own_rates(target: Reading, declared: Declared, entries: Iterable[Entry]) -> dict[str, float]:
    """Return the rates of the application that gets the view."""
    units = {entry.path: (found.unit if (found := declared(entry.path)) else "") for entry in entries}
    return _rates(target.facts(units))


def _said(
    fact: Fact, reading: Reading, target: Reading, rates: Mapping[str, Rates], declared: Declared
) -> tuple[list[Item], list[Omission]]:
    term = target.term(fact.concept)
    if term is None:
        return [], [Omission(path, f"no counterpart for its {fact.concept}") for path in fact.paths]
    paths = target.paths_for(term, fact.key)
    if paths is None:
        return [], [Omission(path, f"no track there is called {fact.key}, or several are") for path in fact.paths]
    try:
        return _items(fact, reading, target, term, paths, rates, declared), []
    except ValueError as error:
        return [], [Omission(path, str(error)) for path in fact.paths]


def _items(
    fact: Fact,
    reading: Reading,
    target: Reading,
    term: Term,
    paths: tuple[str, ...],
    rates: Mapping[str, Rates],
    declared: Declared,
) -> list[Item]:
    first = declared(paths[0])
    unit = term.unit or (first.unit if first is not None else "")
    kind = role(fact.concept)
    value, changes = fact.value, ["name"]
    if kind == "euler":
        value = from_radians(turned(in_radians(value, fact.unit), kind, reading.dialect.up, target.dialect.up), unit)
    else:
        value = turned(value, kind, reading.dialect.up, target.dialect.up)
        value = converted(value, fact.unit, unit, rates.get(fact.mount, {}), rates.get(target.mount, {}))
    if unit != fact.unit and unit and fact.unit:
        changes.append("unit")
    if kind in {"point", "euler", "scale"} and reading.dialect.up != target.dialect.up:
        changes.append("axes")
    value = spoken(value, term)
    parts: Sequence[object] = (value,)
    if len(paths) > 1:
        if not isinstance(value, tuple) or len(value) != len(paths):
            raise ValueError(f"it keeps {len(paths)} numbers there, and this is none")
        parts = value
        changes.append("parts")
    items = []
    for path, part in zip(paths, parts, strict=True):
        fitting, rounded = fitted(part, declared(path))  # type: ignore[arg-type]
        items.append(Item(fact.paths[0], path, fitting, unit, 1.0, 0, [*changes, "rounded"] if rounded else changes))
    return items
