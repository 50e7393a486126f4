"""Between tools and commands, and between what a tool answers and a value."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

from lightfast.sdk import Argument, BridgeError, BridgeHost, Command, Value
from lightfast_bridges.mcp.settings import Settings

MOST_TOOLS = 512
"""The most tools of one server; what is more is left out, and that is said."""
MOST_TEXT = 16 << 20
"""The longest text an answer may have, in characters."""
MOST_DEPTH = 32
LONGEST_DESCRIPTION = 2_000
_KINDS = {"string": "string", "integer": "int", "number": "double", "boolean": "bool", "array": "list", "object": "map"}


def command_name(tool: str) -> str:
    """Return the name of the command for a tool: `-` and what else no name may have becomes `_`."""
    return "".join(letter if letter.isalnum() or letter in "_./" else "_" for letter in tool) or "_"


def commands_of(tools: Sequence[Any], settings: Settings) -> tuple[tuple[Command, ...], dict[str, str]]:
    """Return the commands, and the tool that each stands for; two tools of one name get numbers."""
    commands: list[Command] = []
    names: dict[str, str] = {}
    for tool in tools[:MOST_TOOLS]:
        name = command_name(tool.name)
        number = 2
        while name in names:
            name = f"{command_name(tool.name)}_{number}"
            number += 1
        names[name] = tool.name
        schema = tool.input_schema if isinstance(tool.input_schema, dict) else {}
        commands.append(
            Command(
                name,
                (tool.description or tool.title or "")[:LONGEST_DESCRIPTION],
                _arguments(schema),
                effect_of(tool, settings),
                json.dumps(schema, separators=(",", ":"), ensure_ascii=False),
            )
        )
    return tuple(commands), names


def effect_of(tool: Any, settings: Settings) -> str:
    """Return what a tool may do. What servers say of their own tools is a hint, believed only where that is set."""
    if tool.name in settings.read:
        return "read"
    hints = tool.annotations
    if not settings.trust_hints or hints is None:
        return "destructive"
    if hints.read_only_hint:
        return "read"
    return "reversible" if hints.destructive_hint is False else "destructive"


def _arguments(schema: Mapping[str, Any]) -> tuple[Argument, ...]:
    properties = schema.get("properties")
    required = schema.get("required") or ()
    if not isinstance(properties, Mapping):
        return ()
    found = []
    for name, rule in properties.items():
        rules = rule if isinstance(rule, Mapping) else {}
        kind = rules.get("type")
        words = str(rules.get("description") or rules.get("title") or "")[:LONGEST_DESCRIPTION]
        found.append(Argument(name, _KINDS.get(kind, "") if isinstance(kind, str) else "", name in required, words))
    return tuple(found)


async def value_of(result: Any, host: BridgeHost, tool: str) -> Value | None:
    """Return what a tool answered: its structured content, else its texts; pictures and sounds become assets.

    Raises `BridgeError` with what a tool says that failed.
    """
    texts: list[str] = []
    assets: list[Value] = []
    for block in result.content:
        match block.type:
            case "text":
                texts.append(block.text)
            case "image" | "audio":
                data = _bytes(block.data, tool)
                assets.append(
                    await host.save_asset(f"{tool}.{block.mime_type.partition('/')[2]}", block.mime_type, data)
                )
            case "resource_link":
                texts.append(str(block.uri))
            case "resource":
                texts.append(getattr(block.resource, "text", None) or str(block.resource.uri))
            case other:
                texts.append(f"[{other}]")
    text = "\n".join(texts)
    if len(text) > MOST_TEXT:
        raise BridgeError(f"{tool} answered {len(text):,} characters: the most is {MOST_TEXT:,}")
    if result.is_error:
        raise BridgeError(text[:1000] or f"{tool} failed and did not say why")
    structured = to_value(result.structured_content)
    if structured is not None and not assets:
        return structured
    if assets:
        whole: dict[str, Value] = {"assets": assets}
        if text:
            whole["text"] = text
        if structured is not None:
            whole["value"] = structured
        return whole
    return text or None


def to_value(json_value: Any, depth: int = 0) -> Value | None:
    """Return a value of what JSON can hold; what is null is left out."""
    if depth > MOST_DEPTH:
        raise BridgeError(f"the answer nests deeper than {MOST_DEPTH} levels")
    if json_value is None or isinstance(json_value, bool | str | float):
        return json_value
    if isinstance(json_value, int):
        return json_value if -(2**63) <= json_value < 2**63 else float(json_value)
    if isinstance(json_value, Mapping):
        pairs = ((str(name), to_value(each, depth + 1)) for name, each in json_value.items())
        return {name: each for name, each in pairs if each is not None}
    if isinstance(json_value, Sequence):
        return [each for item in json_value if (each := to_value(item, depth + 1)) is not None]
    raise BridgeError(f"the answer holds a {type(json_value).__name__}, which is no JSON")


def _bytes(text: str, tool: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise BridgeError(f"{tool} sent an asset that is no base64") from None
