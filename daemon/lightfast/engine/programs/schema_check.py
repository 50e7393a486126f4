"""Arguments against the JSON Schema of an operation, as far as they are known before it runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lightfast.engine.programs.near import did_you_mean
from lightfast.engine.programs.references import has_reference, lone
from lightfast.sdk import Mistake, Operation

MOST_MISTAKES = 8
"""How many mistakes of one instruction are told."""
_COMBINED = frozenset(("anyOf", "oneOf", "allOf", "not", "if", "then", "else", "contains", "uniqueItems", "$ref"))
"""Keywords that judge a value as a whole: with a reference in it nothing is known."""


class Schemas:
    """The compiled schemas of operations."""

    def __init__(self) -> None:
        self._validators: dict[str, tuple[Any, Any]] = {}

    def mistakes(self, operation: Operation, arguments: Mapping[str, Any]) -> list[Mistake]:
        """Return what is wrong; what depends on a reference is left to the run."""
        validator = self._validator(operation)
        if validator is None or validator.is_valid(arguments):
            return []
        found = []
        for error in validator.iter_errors(arguments):
            if not _open(error, arguments):
                found += list(_told(error, operation, arguments))
            if len(found) >= MOST_MISTAKES:
                break
        return found

    def _validator(self, operation: Operation) -> Any:
        held = self._validators.get(operation.name)
        if held is not None and held[0] is operation.arguments:
            return held[1]
        import jsonschema_rs

        validator = None
        if operation.arguments:
            try:
                validator = jsonschema_rs.validator_for(dict(operation.arguments))
            except (ValueError, jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError):
                validator = None  # the schema is the plugin's fault, not the program's: its `check` still speaks
        self._validators[operation.name] = operation.arguments, validator
        return validator


def _open(error: Any, arguments: Mapping[str, Any]) -> bool:
    """Say whether a reference leaves it open that this is a mistake."""
    value: Any = arguments
    for part in error.instance_path:
        value = value[part]
    if isinstance(value, str):
        # Text with a reference in it stays text, whatever the reference brings.
        return has_reference(value) and (lone(value) is not None or error.kind.name != "type")
    return bool(_COMBINED & {str(part) for part in error.schema_path}) and has_reference(value)


def _told(error: Any, operation: Operation, arguments: Mapping[str, Any]) -> Iterator[Mistake]:
    field = "arguments" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.instance_path)
    known = _properties(operation, error.instance_path)
    if error.kind.name == "additionalProperties":
        for name in error.kind.unexpected:
            told = f"{operation.name} takes no {field.removeprefix('arguments').lstrip('.') or 'argument'} {name!r}"
            yield Mistake("ARGUMENT_UNKNOWN", told + did_you_mean(name, known), f"{field}.{name}")
    elif error.kind.name == "required":
        name = error.kind.property
        yield Mistake("ARGUMENT_MISSING", f"{operation.name} needs {field}.{name}", f"{field}.{name}")
    else:
        yield Mistake("ARGUMENT_INVALID", f"{field}: {error.message:.300}", field)


def _properties(operation: Operation, path: list[Any]) -> list[str]:
    schema: Any = operation.arguments
    for part in path:
        inner = schema.get("items") if isinstance(part, int) else schema.get("properties", {}).get(part)
        if not isinstance(inner, Mapping):
            return []
        schema = inner
    return list(schema.get("properties", ()))
