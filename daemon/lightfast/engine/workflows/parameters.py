"""The parameters of a workflow: their types, their JSON Schema, and the check of what is given."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from lightfast.core.errors import InvalidArgument
from lightfast.engine.programs.near import did_you_mean
from lightfast.engine.programs.references import has_reference
from lightfast.engine.workflows.reading import Reading, plain
from lightfast.engine.workflows.records import Parameter, Place
from lightfast.sdk.oscmap.document import Node
from lightfast_link.path import check_path
from lightfast_link.value import Asset, Value, check_value

TYPES = ("string", "integer", "number", "boolean", "list", "map", "path", "asset", "any")
"""The types of parameters; `path` is a path of the context, `asset` is `asset:SHA256`."""
MOST = 64
NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_KEYS = ("type", "summary", "default", "choices", "minimum", "maximum")
_ASSET = re.compile(r"asset:(?://)?[0-9a-f]{64}")
_SCHEMAS: Mapping[str, Mapping[str, Any]] = {
    "string": {"type": "string"},
    "integer": {"type": "integer"},
    "number": {"type": "number"},
    "boolean": {"type": "boolean"},
    "list": {"type": "array"},
    "map": {"type": "object"},
    "path": {"type": "string", "pattern": "^/"},
    "asset": {"type": "string", "pattern": "^asset:"},
    "any": {},
}


def read_parameters(node: Node, reading: Reading) -> tuple[Parameter, ...]:
    """Return the parameters of a file: `NAME: TYPE`, or a table with `type`, `default` and so on."""
    if not isinstance(node.value, dict):
        reading.bad(node, f"parameters is {node.shape}: write a table, NAME: TYPE a line")
        return ()
    if len(node.value) > MOST:
        reading.bad(node, f"there are {len(node.value)} parameters, the most is {MOST}")
        return ()
    found = []
    for name, each in node.value.items():
        place = Place(*node.keys[name])
        if not NAME.fullmatch(name):
            reading.bad(place, f"{name!r:.80} is no name of a parameter: use a-z, 0-9 and _, beginning with a letter")
            continue
        parameter = _read(name, each, reading)
        if parameter is not None:
            found.append(parameter)
    return tuple(found)


def _read(name: str, node: Node, reading: Reading) -> Parameter | None:
    if isinstance(node.value, str):
        if node.value not in TYPES:
            reading.bad(node, f"{node.value!r:.40} is no type{did_you_mean(node.value, TYPES)}", "PARAMETER_TYPE")
            return None
        return Parameter(name, node.value)
    table = reading.keys(node, _KEYS, f"the parameter {name}")
    if not table:
        return None
    default = plain(table["default"]) if "default" in table else None
    kind = reading.choice(table, "type", TYPES, _type_of(default) if "default" in table else "any")
    choices = table.get("choices")
    if choices is not None and not (isinstance(choices.value, list) and choices.value):
        reading.bad(choices, "choices is not a list of values")
        choices = None
    parameter = Parameter(
        name,
        kind,
        reading.text(table, "summary"),
        default,
        "default" not in table,
        tuple(plain(choices)) if choices is not None else (),
        reading.number(table, "minimum", 0, -1e300, 1e300) if "minimum" in table else None,
        reading.number(table, "maximum", 0, -1e300, 1e300) if "maximum" in table else None,
    )
    if not parameter.required:
        reading.guarded(table["default"], "default", lambda: _checked(parameter, default))
    return parameter


def _type_of(value: Any) -> str:
    names = {str: "string", bool: "boolean", int: "integer", float: "number", list: "list", dict: "map"}
    return names.get(type(value), "any")


def schema_of(parameters: Sequence[Parameter]) -> dict[str, Any]:
    """Return the JSON Schema of the parameters."""
    properties: dict[str, Any] = {}
    for each in parameters:
        schema = dict(_SCHEMAS[each.type])
        if each.summary:
            schema["description"] = each.summary
        if not each.required:
            schema["default"] = each.default
        if each.choices:
            schema["enum"] = list(each.choices)
        if each.minimum is not None:
            schema["minimum"] = each.minimum
        if each.maximum is not None:
            schema["maximum"] = each.maximum
        properties[each.name] = schema
    required = [each.name for each in parameters if each.required]
    found: dict[str, Any] = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**found, "required": required} if required else found


def check_parameters(
    parameters: Sequence[Parameter], given: Mapping[str, Value], workflow: str, *, open_: bool = False
) -> dict[str, Any]:
    """Return all parameters with what is given, as a program holds them; raise `InvalidArgument` (PARAMETER_…).

    With *open_* values may hold references, which are left as they are.
    """
    known = {each.name: each for each in parameters}
    for name in given:
        if name not in known:
            raise InvalidArgument(
                f"the workflow {workflow} has no parameter {name!r:.60}{did_you_mean(name, known)}",
                reason="PARAMETER_UNKNOWN",
                field=f"parameters.{name}"[:80],
            )
    found: dict[str, Any] = {}
    for each in parameters:
        if each.name in given and open_ and has_reference(given[each.name]):
            found[each.name] = given[each.name]
        elif each.name in given:
            found[each.name] = _checked(each, given[each.name])
        elif each.required:
            raise InvalidArgument(
                f"the workflow {workflow} needs the parameter {each.name} ({each.type})"
                + (f": {each.summary}" if each.summary else ""),
                reason="PARAMETER_MISSING",
                field=f"parameters.{each.name}",
            )
        else:
            found[each.name] = each.default
    return found


def _checked(parameter: Parameter, value: Any) -> Any:
    """Return *value* as the program holds it: an asset by its address, a whole double as an integer."""
    if isinstance(value, Asset):
        value = f"asset:{value.sha256}"
    elif isinstance(value, tuple):
        value = list(value)
    kind = parameter.type
    if kind == "integer" and isinstance(value, float) and value == int(value):
        value = int(value)
    numeric = isinstance(value, (int, float)) and not isinstance(value, bool)
    fits = {
        "string": isinstance(value, str),
        "integer": numeric and isinstance(value, int),
        "number": numeric,
        "boolean": isinstance(value, bool),
        "list": isinstance(value, list),
        "map": isinstance(value, dict),
        "path": isinstance(value, str) and value.startswith("/"),
        "asset": isinstance(value, str) and _ASSET.fullmatch(value) is not None,
        "any": True,
    }[kind]
    where = f"parameters.{parameter.name}"
    if not fits:
        raise InvalidArgument(
            f"the parameter {parameter.name} is {value!r:.60}: it takes {_SAID[kind]}",
            reason="PARAMETER_TYPE",
            field=where,
        )
    if kind == "path":
        check_path_of(value, where)
    if parameter.choices and value not in parameter.choices:
        raise InvalidArgument(
            f"the parameter {parameter.name} is {value!r:.60}{did_you_mean(str(value), map(str, parameter.choices))}",
            reason="PARAMETER_CHOICE",
            field=where,
        )
    if numeric and not (
        (parameter.minimum is None or value >= parameter.minimum)
        and (parameter.maximum is None or value <= parameter.maximum)
    ):
        least = "" if parameter.minimum is None else f" from {parameter.minimum:g}"
        most = "" if parameter.maximum is None else f" up to {parameter.maximum:g}"
        raise InvalidArgument(
            f"the parameter {parameter.name} is {value:g}: it takes numbers{least}{most}",
            reason="PARAMETER_RANGE",
            field=where,
        )
    if value is not None:
        try:
            check_value(value)
        except ValueError as error:
            raise InvalidArgument(
                f"the parameter {parameter.name}: {error}", reason="PARAMETER_TYPE", field=where
            ) from None
    return value


def check_path_of(value: str, where: str) -> None:
    """Raise `InvalidArgument` where *value* is no path."""
    try:
        check_path(value)
    except ValueError as error:
        raise InvalidArgument(f"{where}: {error}", reason="PARAMETER_TYPE", field=where) from None


_SAID = {
    "string": "a text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "list": "a list",
    "map": "a map",
    "path": "a path such as /show/title",
    "asset": "an asset such as asset:SHA256",
    "any": "anything",
}
