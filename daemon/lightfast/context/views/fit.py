"""The validator: whether a value fits what its consumer declares, made to fit where that loses nothing."""

from __future__ import annotations

import math
from typing import Any

from lightfast.context.entry import Declaration
from lightfast.core.errors import FailedPrecondition, InvalidArgument
from lightfast_link.value import Value, kind_of

_ROUNDING = 1e-9
"""So close to an end of the range, relative to it, a number is taken for the end: conversion rounds."""


def fitted(value: Value, declaration: Declaration | None) -> tuple[Value, bool]:
    """Return *value* as the consumer takes it, and whether it was rounded; raise `ValueError` that says why not."""
    if declaration is None:
        return value, False
    if declaration.access == "r":
        raise ValueError("it is read-only there")
    fitting, rounded = _as_kind(value, declaration.kind)
    if declaration.choices and isinstance(fitting, str) and fitting not in declaration.choices:
        raise ValueError(f"{fitting!r} is none of its choices: {', '.join(declaration.choices[:5])}")
    if isinstance(fitting, (int, float)) and not isinstance(fitting, bool):
        return _ranged(fitting, declaration), rounded
    if isinstance(fitting, tuple):
        return tuple(float(_ranged(each, declaration)) for each in fitting), rounded
    return fitting, rounded


def _as_kind(value: Value, kind: str) -> tuple[Value, bool]:
    if not kind or kind_of(value) == kind:
        return value, False
    if kind == "bool" and isinstance(value, (int, float)):
        return value != 0, False
    if isinstance(value, (bool, int, float)):
        number = float(value)
        if kind == "double":
            return number, False
        if kind == "int" and math.isfinite(number):
            return round(number), round(number) != number
    if kind == "vector" and isinstance(value, list) and all(type(each) in {int, float} for each in value):
        return tuple(float(each) for each in value), False
    raise ValueError(f"it takes a {kind}, not a {kind_of(value)}")


def _ranged(number: float, declaration: Declaration) -> float:
    for bound, below in ((declaration.minimum, True), (declaration.maximum, False)):
        if bound is not None and (number < bound if below else number > bound):
            if math.isclose(number, bound, rel_tol=_ROUNDING, abs_tol=_ROUNDING):
                return type(number)(bound)
            word = "least" if below else "most"
            raise ValueError(f"{number:g} is out of its range: the {word} is {bound:g}")
    return number


class Schema:
    """A JSON schema (any draft) that a view, as an object of its values by name, has to fulfil."""

    def __init__(self, text: str) -> None:
        """Raise `InvalidArgument` for what is no schema."""
        import json

        import jsonschema_rs

        try:
            parsed = json.loads(text)
            self._check = jsonschema_rs.validator_for(parsed)
        except (ValueError, jsonschema_rs.ValidationError) as error:
            reason = getattr(error, "message", error)
            raise InvalidArgument(f"the schema is none: {reason}", field="schema", reason="SCHEMA_INVALID") from None

    def problems(self, values: dict[str, Any]) -> tuple[dict[str, str], list[str]]:
        """Return what is wrong with single values, by name, and what is wrong with the whole."""
        by_name: dict[str, str] = {}
        whole: list[str] = []
        for error in self._check.iter_errors(values):
            path = list(error.instance_path)
            if path and str(path[0]) in values:
                by_name.setdefault(str(path[0]), error.message)
            else:
                whole.append(error.message)
        return by_name, whole

    def keep(self, values: dict[str, Any]) -> dict[str, str]:
        """Return the names that have to go, with the reasons; raise `FailedPrecondition` where the rest still fails."""
        dropped: dict[str, str] = {}
        left = dict(values)
        while True:
            by_name, whole = self.problems(left)
            dropped |= by_name
            left = {name: value for name, value in left.items() if name not in by_name}
            if not by_name:
                break
        if whole:
            raise FailedPrecondition(
                "the view does not fulfil the schema: " + "; ".join(whole[:5]) + ": select more, or ask for less",
                reason="VIEW_INVALID",
            )
        return dropped
