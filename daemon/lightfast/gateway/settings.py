"""Checks the settings of a request against a model's schema, and fills in the defaults.

The schema is a JSON Schema of type object; of each property `type` (also a list of types),
`minimum`, `maximum`, `exclusiveMinimum`, `exclusiveMaximum`, `enum`, `maxLength`, `maxItems`
and `default` are looked at, and `required` of the whole.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from lightfast.core.errors import InvalidArgument, OutOfBounds
from lightfast_link.value import Value

_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list, tuple),
    "object": (dict,),
}


def complete(schema: Mapping[str, Any], given: Mapping[str, Value], model: str) -> dict[str, Value]:
    """Return *given* with defaults filled in; raise `InvalidArgument` naming every mistake.

    A whole double is taken where an integer is asked for, and an integer where a number is.
    """
    properties: Mapping[str, Any] = schema.get("properties", {})
    mistakes: list[tuple[str, str]] = []
    settings: dict[str, Value] = {name: rule["default"] for name, rule in properties.items() if "default" in rule}
    bounds_only = True
    for name, value in given.items():
        rule = properties.get(name)
        if rule is None:
            mistakes.append((name, _unknown(name, properties, model)))
            bounds_only = False
            continue
        settings[name] = fitted = _fit(value, rule)
        if wrong := _type_mistake(name, fitted, rule):
            mistakes.append((name, wrong))
            bounds_only = False
        elif wrong := _bound_mistake(name, fitted, rule):
            mistakes.append((name, wrong))
    for name in schema.get("required", ()):
        if name not in settings:
            mistakes.append((name, f"the setting {name!r} is required by {model}"))
            bounds_only = False
    if mistakes:
        kind = OutOfBounds if bounds_only else InvalidArgument
        reason = "SETTING_OUT_OF_RANGE" if bounds_only else "SETTING_INVALID"
        raise kind("; ".join(text for _, text in mistakes), reason=reason, field=f"settings.{mistakes[0][0]}")
    return settings


def _unknown(name: str, properties: Mapping[str, Any], model: str) -> str:
    near = difflib.get_close_matches(name, properties, n=1)
    hint = f": did you mean {near[0]!r}?" if near else f": it takes {', '.join(sorted(properties)) or 'none'}"
    return f"{model} has no setting {name!r}{hint}"


def _types(rule: Mapping[str, Any]) -> Sequence[str]:
    wanted = rule.get("type", ())
    return (wanted,) if isinstance(wanted, str) else tuple(wanted)


def _fit(value: Value, rule: Mapping[str, Any]) -> Value:
    wanted = _types(rule)
    if isinstance(value, float) and "integer" in wanted and "number" not in wanted and value.is_integer():
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool) and "number" in wanted and "integer" not in wanted:
        return float(value)
    return value


def _type_mistake(name: str, value: Value, rule: Mapping[str, Any]) -> str:
    wanted = _types(rule)
    if not wanted:
        return ""
    for kind in wanted:
        if isinstance(value, _TYPES.get(kind, ())) and (kind == "boolean" or not isinstance(value, bool)):
            return ""
    return f"the setting {name!r} must be {' or '.join(wanted)}, not {_said(value)}"


def _bound_mistake(name: str, value: Value, rule: Mapping[str, Any]) -> str:
    choices = rule.get("enum")
    if choices is not None and value not in choices:
        near = difflib.get_close_matches(str(value), [str(choice) for choice in choices], n=1)
        hint = f": did you mean {near[0]!r}?" if near else f": choose from {', '.join(map(str, choices))}"
        return f"the setting {name!r} cannot be {_said(value)}{hint}"
    if isinstance(value, str | list | tuple):
        most = rule.get("maxLength" if isinstance(value, str) else "maxItems")
        if most is not None and len(value) > most:
            return f"the setting {name!r} has a length of {len(value)}, the most is {most}"
    if not isinstance(value, int | float) or isinstance(value, bool):
        return ""
    low, high = rule.get("minimum"), rule.get("maximum")
    over, under = rule.get("exclusiveMinimum"), rule.get("exclusiveMaximum")
    inside = (
        (low is None or value >= low)
        and (high is None or value <= high)
        and (over is None or value > over)
        and (under is None or value < under)
    )  # written so that NaN, which is in no range, is out of each
    if inside and value == value:  # noqa: PLR0124 — NaN differs from itself
        return ""
    return f"the setting {name!r} is {_said(value)}, allowed is {_window(low, high, over, under)}"


def _window(low: Any, high: Any, over: Any, under: Any) -> str:
    parts = [
        f"at least {low}" if low is not None else "",
        f"more than {over}" if over is not None else "",
        f"at most {high}" if high is not None else "",
        f"less than {under}" if under is not None else "",
    ]
    return " and ".join(part for part in parts if part) or "a number"


def _said(value: Value) -> str:
    return f"{value!r:.60} ({type(value).__name__})" if isinstance(value, str | list | dict) else repr(value)
