"""One parameter of a map, for one set of numbers in its places."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightfast.sdk.bridge import Parameter
from lightfast.sdk.oscmap.convert import NUMBERS, kind_of_tags
from lightfast.sdk.oscmap.document import Node
from lightfast.sdk.oscmap.fields import Fields
from lightfast.sdk.oscmap.model import VALUE, Layout, MapParameter, Message
from lightfast.sdk.oscmap.places import Index
from lightfast_link.path import check_path, compile_pattern
from lightfast_link.value import KINDS

PARAMETER_FIELDS = (
    "send", "arguments", "feedback", "query", "refresh", "confirm", "type", "kind", "range", "scale", "unit",
    "access", "description", "choices", "signal", "tolerance",
)  # fmt: skip
MAX_TAGS = 64
_TAGS = frozenset("ifhdsTb")
_CONVERTS = {
    "double": "fdih",
    "int": "ihfd",
    "bool": "Tifhd",
    "string": "sihfdT",
    "bytes": "b",
}
"""Which single OSC types can carry a kind."""

Table = Mapping[str, Node]


def read_parameter(fields: Fields, path: str, index: Index, own: Table, place: tuple[int, int]) -> MapParameter | None:
    """Read the parameter at *path*; None where a mistake was noted that leaves nothing to build."""
    try:
        check_path("/m/" + path)
    except ValueError as error:
        fields.bad_at(place, f"{path!r} is no path of a parameter: {error}")
        return None
    tags = _tags(fields, own)
    kind = _kind(fields, own, tags, place)
    access = fields.choice(own, "access", "rw", ("rw", "r", "w"))
    limits = fields.pair(own, "range")
    if limits is not None and limits[0] > limits[1]:
        fields.bad(own["range"], "range must go from low to high")
    if kind not in ("double", "int", "vector"):
        limits = None  # a default of the whole map
    choices = _choices(fields, own)
    scale = fields.pair(own, "scale")
    if scale is not None and "range" not in own:
        fields.bad(own["scale"], "scale is the device's side of range: give a range, too")
    send = _send(fields, own, index, access, place)
    feedback = _feedback(fields, own, index, send)
    query = _query(fields, own, index, send)
    confirm = fields.choice(own, "confirm", _usual(access, query), ("echo", "query", "none"))
    if confirm == "query" and query is None and access != "r":
        fields.bad_at(place, f"{path} is confirmed by a query: give it one, such as `query: {{arguments: ['?']}}`")
    if access != "w" and not feedback:
        fields.bad_at(place, f"{path} is read, so it needs `feedback` (or `send`), the address it comes on")
    declared = Parameter(
        path,
        kind=kind,
        minimum=limits[0] if limits else None,
        maximum=limits[1] if limits else None,
        unit=fields.text(own, "unit"),
        access=access,
        description=fields.text(own, "description"),
        signal=fields.flag(own, "signal"),
        choices=tuple(name for name, _ in choices),
        tolerance=fields.number(own, "tolerance", 0.0, 0.0, 1e12),
    )
    return MapParameter(declared, tags, send, feedback, query, confirm, scale, choices, _refresh(fields, own, index))


def _usual(access: str, query: Message | None) -> str:
    return "query" if query is not None and access == "rw" else "none"


def _tags(fields: Fields, own: Table) -> str:
    tags = fields.text(own, "type", "f")
    if not tags or len(tags) > MAX_TAGS or not _TAGS.issuperset(tags):
        fields.bad(own["type"], f"type cannot be {tags!r:.40}: write OSC types out of i f h d s T b, such as f or ff")
        return "f"
    return tags


def _kind(fields: Fields, own: Table, tags: str, place: tuple[int, int]) -> str:
    natural = kind_of_tags(tags)
    if "choices" in own and len(tags) == 1:
        natural = "string"
    kind = fields.choice(own, "kind", natural, KINDS)
    if len(tags) == 1 and tags not in _CONVERTS.get(kind, ""):
        fields.bad(own.get("kind", own.get("type", Node(None, *place, {}))), f"a {kind} cannot go as the type {tags}")
        return natural
    if len(tags) > 1 and kind != natural and not (kind == "list" and NUMBERS.issuperset(tags)):
        fields.bad(own["kind"], f"the type {tags} makes a {natural}, not a {kind}")
        return natural
    return kind


def _choices(fields: Fields, own: Table) -> tuple[tuple[str, Any], ...]:
    node = own.get("choices")
    if node is None:
        return ()
    if isinstance(node.value, list) and node.value and all(isinstance(one.value, str) for one in node.value):
        return tuple((one.value, one.value) for one in node.value)
    if isinstance(node.value, dict) and node.value:
        found = tuple((name, one.value) for name, one in node.value.items())
        if all(isinstance(device, (str, int, float)) for _, device in found):
            return found
    fields.bad(node, "choices must be a list of texts, or a table from texts to what the device calls them")
    return ()


def _layout(fields: Fields, own: Table, index: Index, default: tuple[Any, ...]) -> tuple[Any, ...]:
    if "arguments" not in own:
        return default
    arguments = fields.arguments(own["arguments"], index, value=True)
    if arguments.count(VALUE) != 1:
        fields.bad(own["arguments"], "arguments must hold $value once: the place where the value goes")
    return arguments


def _send(fields: Fields, own: Table, index: Index, access: str, place: tuple[int, int]) -> Layout | None:
    if "send" not in own:
        if access != "r":
            fields.bad_at(place, "it can be written, so it needs `send`, an address; or say `access: r`")
        return None
    address = fields.address(own["send"], index)
    return Layout(address, _layout(fields, own, index, (VALUE,))) if address else None


def _feedback(fields: Fields, own: Table, index: Index, send: Layout | None) -> tuple[Layout, ...]:
    if "feedback" not in own:
        return (send,) if send is not None else ()
    found: list[Layout] = []
    for item in fields.items(own["feedback"], "feedback"):
        layout = read_feedback(fields, item, index, send.address if send else "", send.arguments if send else (VALUE,))
        if layout is not None:
            found.append(layout)
    return tuple(found)


def read_feedback(fields: Fields, node: Node, index: Index, address: str, arguments: tuple[Any, ...]) -> Layout | None:
    """Read how a value comes: an address, or a table with address, arguments, json and when.

    *address* and *arguments* are those of the sending side: the same address has the same arguments.
    """
    if isinstance(node.value, str):
        found = fields.address(node, index)
        return _checked(fields, node, Layout(found, arguments if found == address else (VALUE,))) if found else None
    own = fields.table(node, "feedback", ("address", "arguments", "json", "when"))
    found = fields.address(own["address"], index) if "address" in own else address
    if not found:
        fields.required(own, "address", node, "feedback")
        return None
    layout = _layout(fields, own, index, arguments if found == address else (VALUE,))
    way = fields.text(own, "json") if "json" in own else None
    when: tuple[tuple[str, Any], ...] = ()
    if "when" in own:
        table = own["when"].value
        if isinstance(table, dict) and way is not None:
            when = tuple((name, one.value) for name, one in table.items())
        else:
            fields.bad(own["when"], "when is a table of what the JSON text must hold besides: give json, too")
    steps = None if way is None else tuple(step for step in way.split(".") if step)
    return _checked(fields, node, Layout(found, layout, steps, when))


def _checked(fields: Fields, node: Node, layout: Layout) -> Layout:
    if any(mark in layout.address for mark in "*?[{") and layout.address.startswith("/"):
        try:
            compile_pattern(layout.address)
        except ValueError as error:
            fields.bad(node, str(error))
    return layout


def _query(fields: Fields, own: Table, index: Index, send: Layout | None) -> Message | None:
    node = own.get("query")
    if node is None or node.value is False:
        return None
    if node.value is True:
        if send is None:
            fields.bad(node, "query: true asks at the address of send, and there is none")
            return None
        return Message(send.address)
    return fields.message(node, index, address=send.address if send else "")


def _refresh(fields: Fields, own: Table, index: Index) -> tuple[str, ...]:
    if "refresh" not in own:
        return ()
    found = [fields.address(item, index) for item in fields.items(own["refresh"], "refresh")]
    if "query" not in own:
        fields.bad(own["refresh"], "refresh asks again, so it needs a query")
    return tuple(address for address in found if address)
