"""Values of one's own under `scene/lightfast`: custom properties with a memory for kinds.

Older versions of Blender keep a bool as an int; what was written as a bool is read as one.
"""

from __future__ import annotations

from typing import Any, Iterator, Tuple

from .values import Refused, from_property, name_of

GROUP = "lightfast"
KINDS = "lightfast_kinds"
_TAKEN = ("bool", "int", "double", "string", "vector")
_LONGEST_NAME = 63


def items(scene: Any) -> Iterator[Tuple[str, Any]]:
    """Yield name and value of each."""
    group = scene.get(GROUP)
    if group is None or not hasattr(group, "keys"):
        return
    for name in group.keys():
        value = get(scene, name)
        if value is not None:
            yield name, value


def get(scene: Any, name: str) -> Any:
    """Return one value, or `None`."""
    group = scene.get(GROUP)
    if group is None or not hasattr(group, "keys") or name not in group.keys():
        return None
    value = from_property(group[name])
    kinds = scene.get(KINDS)
    if type(value) is int and kinds is not None and kinds.get(name) == "bool":
        return bool(value)
    return value


def put(scene: Any, name: str, value: Any, where: str) -> None:
    """Set one value, making it where it is new."""
    check(value, where)
    if len(name.encode("utf-8")) > _LONGEST_NAME:
        raise Refused("%s: a name in Blender has at most %d bytes" % (where, _LONGEST_NAME))
    for group in (GROUP, KINDS):
        if not hasattr(scene.get(group), "keys"):
            scene[group] = {}
    try:
        scene[GROUP][name] = list(value) if type(value) is tuple else value
    except (AttributeError, TypeError, ValueError, OverflowError) as error:
        raise Refused("%s: %s" % (where, error)) from None
    if type(value) is bool or name in scene[KINDS].keys():
        scene[KINDS][name] = name_of(value)
    scene.update_tag()  # for drivers: Blender does not look at what Python puts here


def remove(scene: Any, name: str) -> None:
    """Remove one value, if it is there."""
    for key in (GROUP, KINDS):
        group = scene.get(key)
        if hasattr(group, "keys") and name in group.keys():
            del group[name]


def check(value: Any, where: str) -> None:
    """Refuse what a custom property cannot hold."""
    kind = name_of(value)
    if kind not in _TAKEN:
        raise Refused("%s: Blender keeps %s here, not a %s" % (where, ", ".join(_TAKEN), kind))
    if type(value) is int and not -(1 << 31) <= value < 1 << 31:
        raise Refused("%s: %d does not fit Blender's 32 bits: use a double" % (where, value))
    if type(value) is tuple and not value:
        raise Refused("%s: an empty vector cannot be kept" % where)
