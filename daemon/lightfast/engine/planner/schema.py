"""The JSON Schema that a model's answer must fit, made of the schemas of the operations.

Only keywords that every service and llama.cpp's grammar knows: type, properties, required, enum, items, anyOf,
additionalProperties, maxItems, maxLength. In llama.cpp an empty schema is an object, so "any value" is written out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from lightfast.engine.ports import OperationBook

MOST_STEPS = 24
"""The most instructions that a model may plan at once."""
MOST_ID = 16
MOST_MESSAGE = 300
MOST_TEXT = 600
"""The longest texts in an answer, in characters: a small model that repeats itself comes to an end."""
ANY: Mapping[str, Any] = {
    "anyOf": [
        {"type": "string", "maxLength": MOST_TEXT},
        {"type": "number"},
        {"type": "boolean"},
        {"type": "array", "items": {"type": "number"}, "maxItems": 16},
        {"type": "object"},
    ]
}
LEFT_OUT = ("flow.", "task.", "ask.", "embed.", "context.apply", "memory.forget", "scene.delete")
"""Operations that models are not offered: those that hold blocks (models write straight programs), and those that
nobody asks for in words."""
_KEPT = ("type", "enum")


def plannable(book: OperationBook) -> list[str]:
    """Return the operations that a model may use."""
    return [name for name in book.names() if not name.startswith(LEFT_OUT)]


def answer_schema(book: OperationBook, names: Sequence[str] = ()) -> str:
    """Return the schema of a plan over *names*, or all that can be planned with, as a text."""
    kinds = []
    for name in names or plannable(book):
        operation = book.find(name)
        if operation is None:
            continue
        kinds.append(
            {
                "type": "object",
                "properties": {
                    "id": {"type": "string", "maxLength": MOST_ID},
                    "op": {"enum": [name]},
                    "arguments": simple(operation.arguments),
                },
                "required": ["id", "op", "arguments"],
                "additionalProperties": False,
            }
        )
    schema = {
        "type": "object",
        "properties": {
            "message": {"type": "string", "maxLength": MOST_MESSAGE},
            "instructions": {"type": "array", "items": {"anyOf": kinds}, "maxItems": MOST_STEPS},
        },
        "required": ["message", "instructions"],
        "additionalProperties": False,
    }
    return json.dumps(schema, separators=(",", ":"))


def simple(schema: Mapping[str, Any], depth: int = 0) -> dict[str, Any]:
    """Return *schema* with the plain keywords alone; the checker sees to the others afterwards."""
    if depth > 6:
        return dict(ANY)
    for word in ("anyOf", "oneOf"):
        if word in schema:
            return {"anyOf": [simple(each, depth + 1) for each in schema[word]]}
    found = {key: schema[key] for key in _KEPT if key in schema}
    kind = schema.get("type")
    kinds = kind if isinstance(kind, list) else [kind]
    if isinstance(kind, list) and ("array" in kinds or "object" in kinds):
        return {"anyOf": [simple({**schema, "type": each}, depth + 1) for each in kinds]}
    if kind == "object" or "properties" in schema:
        properties = schema.get("properties")
        if not properties:
            return {"type": "object"}
        found["type"] = "object"
        found["properties"] = {name: simple(each, depth + 1) for name, each in properties.items()}
        found["required"] = [name for name in schema.get("required", ()) if name in properties]
        found["additionalProperties"] = False
    elif kind == "array":
        items = schema.get("items")
        found["items"] = simple(items, depth + 1) if isinstance(items, Mapping) and items else dict(ANY)
        found["maxItems"] = min(int(schema.get("maxItems", 64)), 64)
    elif kind == "string" and "enum" not in found:
        found["maxLength"] = min(int(schema.get("maxLength", MOST_TEXT)), MOST_TEXT)
    elif not found:
        return dict(ANY)
    return found
