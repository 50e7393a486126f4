"""What a link depends on beside its ends: further inputs of its formula, its condition, and the rates of its units."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Protocol

from lightfast.context.entry import Declaration, Entry
from lightfast.core.errors import InvalidArgument
from lightfast.engine.links.condition import Condition
from lightfast.engine.links.expression import Formula
from lightfast.engine.links.link import RATES, Link
from lightfast_link.value import Value, kind_of


class View(Protocol):
    """What a link reads: the store, or the store as it would be."""

    def get(self, path: str) -> Entry | None:
        """Return the entry at *path*."""

    def declaration(self, path: str) -> Declaration | None:
        """Return the declaration that holds for *path*."""

    def mount_of(self, path: str) -> str:
        """Return the mount that *path* lies under, or the empty text."""


class WaitsError(ValueError):
    """Something is not there yet; the message says what."""


class Asides:
    """The asides of one link; *paths* are all that it watches for them."""

    __slots__ = ("_inputs", "_rates", "condition", "formula", "paths")

    def __init__(self, link: Link) -> None:
        """Compile; raise `InvalidArgument` for a formula or a condition that is malformed."""
        self._inputs = link.inputs
        self._rates = {name: text for name in RATES if (text := getattr(link, name))}
        self.condition = Condition(link.condition) if link.condition.strip() else None
        self.formula: Formula | None = None
        if link.inputs:
            self.formula = Formula(link.expression, frozenset({"x", *(name for name, _ in link.inputs)}))
        found = [path for _, path in link.inputs]
        found += [text for text in self._rates.values() if text.startswith("/")]
        found += self.condition.paths if self.condition is not None else ()
        self.paths = tuple(dict.fromkeys(found))
        if self.condition is not None and link.target in self.condition.paths and not link.two_way:
            raise InvalidArgument(
                f"the condition depends on the target {link.target}, which the link itself writes: use another path",
                field="link.condition",
            )

    @classmethod
    def of(cls, link: Link) -> Asides | None:
        """Return the asides of *link*, or None where it has none."""
        if not (link.inputs or link.condition.strip() or any(getattr(link, name) for name in RATES)):
            return None
        return cls(link)

    def unmet(self, view: View, source: str) -> str:
        """Return why the condition keeps the link from carrying; empty where it does not."""
        if self.condition is None:
            return ""
        return self.condition.unmet(lambda path: _value(view, path), _value(view, source))

    def rates(self, view: View, names: Iterable[str]) -> dict[str, float]:
        """Return the rates of *names* now; raise `ValueError` for one that is not given, or `WaitsError`."""
        found = {}
        for name in names:
            text = self._rates.get(name)
            if text is None:
                raise ValueError(rate_missing(name))
            found[name] = _number(_value(view, text), text) if text.startswith("/") else float(text)
        return found

    def combine(self, view: View, source: str, x: Value) -> Value:
        """Return what the formula makes of *x* and the inputs: of vectors, component by component."""
        if self.formula is None:
            return x
        given: dict[str, float | list[float]] = {"x": _components(x, source)}
        for name, path in self._inputs:
            given[name] = _components(_value(view, path), path)
        lengths = {len(value) for value in given.values() if isinstance(value, list)}
        if not lengths:
            return self.formula.apply(given)  # type: ignore[arg-type]  # there is no list in it, as was seen
        if len(lengths) > 1:
            raise ValueError(f"the inputs have vectors of {' and '.join(map(str, sorted(lengths)))} numbers")
        return tuple(
            [
                self.formula.apply({n: value[i] if isinstance(value, list) else value for n, value in given.items()})
                for i in range(lengths.pop())
            ]
        )


def renamed(link: Link, old: str, new: str) -> dict[str, object]:
    """Return the settings of *link* that change when the entry at *old* moves to *new*."""
    changes: dict[str, object] = {name: new for name in RATES if getattr(link, name) == old}
    if any(path == old for _, path in link.inputs):
        changes["inputs"] = tuple([(name, new if path == old else path) for name, path in link.inputs])
    if link.condition.strip():
        condition = Condition(link.condition)
        if old in condition.paths:
            changes["condition"] = condition.renamed(old, new)
    return changes


def rate_missing(name: str) -> str:
    """Say that the rate *name* is needed."""
    return f"its units need a {name}: give the link one, as a number or as the path that holds it"


def _value(view: View, path: str) -> Value | None:
    entry = view.get(path)
    return entry.value if entry is not None else None


def _number(value: Value | None, path: str) -> float:
    if value is None:
        raise WaitsError(f"{path} holds nothing yet")
    if not isinstance(value, (bool, int, float)) or math.isnan(value):
        raise ValueError(f"{path} holds {value!r:.40}, and a number is needed")
    return float(value)


def _components(value: Value | None, path: str) -> float | list[float]:
    if not isinstance(value, (tuple, list)):
        return _number(value, path)
    if not all(type(item) in {int, float} for item in value):
        raise ValueError(f"{path} holds a {kind_of(value)} that is not of numbers")
    return [float(item) for item in value]
