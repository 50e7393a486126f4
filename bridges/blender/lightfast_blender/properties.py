"""The table of what is shared: for each path, how it is read from Blender and written to it."""

from __future__ import annotations

from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Tuple

import bpy
from lightfast_link.path import decode_segment, encode_segment

from . import document, host, identity, stored
from .values import Refused, coerce, from_property

Read = Callable[[Any], Any]
Write = Callable[[Any, Any, str], None]
_ALWAYS_NODES = bpy.app.version >= (5, 0, 0)
"""From here on each material and world has nodes, and asking whether it uses them is deprecated."""


class Field(NamedTuple):
    """One property of one kind of data-block; *read* returns `None` where the block has no such thing."""

    name: str
    read: Read
    write: Optional[Write] = None


class Target(NamedTuple):
    """A path that was resolved: what holds it, and how to read, write and remove it."""

    block: Any
    read: Callable[[], Any]
    write: Optional[Callable[[Any], None]]
    remove: Optional[Callable[[], None]] = None
    rna_path: str = ""


def _rna(
    name: str,
    kind: str,
    size: Optional[int] = None,
    writable: bool = True,
    when: Optional[Callable[[Any], bool]] = None,
) -> Field:
    *way, last = name.split("/")

    def owner_of(block: Any) -> Any:
        for step in way:
            block = getattr(block, step)
        return block

    def read(block: Any) -> Any:
        if when is not None and not when(block):
            return None
        value = getattr(owner_of(block), last, None)
        return tuple(map(float, value)) if kind == "vector" and value is not None else value

    def write(block: Any, value: Any, where: str) -> None:
        owner = owner_of(block)
        if not hasattr(owner, last):
            raise Refused("%s: there is no such property here" % where)
        put(owner, last, coerce(value, kind, size, where), where)

    return Field(name, read, write if writable else None)


def put(owner: Any, name: str, value: Any, where: str) -> None:
    """Set an RNA property, refusing what Blender would clamp or does not take."""
    rna = owner.bl_rna.properties[name]
    numbers = value if type(value) is tuple else (value,)
    if rna.type in ("INT", "FLOAT"):
        for number in numbers:
            if not rna.hard_min <= number <= rna.hard_max:
                raise Refused("%s: %g is outside %g to %g" % (where, number, rna.hard_min, rna.hard_max))
    try:
        setattr(owner, name, value)
    except (AttributeError, TypeError, ValueError, RuntimeError) as error:
        raise Refused("%s: %s" % (where, error)) from None


def _pointer(name: str, collection: str, empty: bool = True) -> Field:
    """A reference to another data-block, by name; the empty string is none."""

    def read(block: Any) -> Any:
        other = getattr(block, name)
        return "" if other is None else other.name

    def write(block: Any, value: Any, where: str) -> None:
        value = coerce(value, "string", None, where)
        other = None
        if value:
            other = getattr(bpy.data, collection).get(value)
            if other is None:
                raise Refused("%s: there is no %s named %r" % (where, collection[:-1], value))
        if other is block:
            raise Refused("%s: %r cannot refer to itself" % (where, value))
        put(block, name, other, where)

    return Field(name, read, write)


def _node_input(label: str, node_type: str, socket: str, kind: str, size: Optional[int], fallback: str) -> Field:
    """An input of the first shader node of a type; without nodes, the block's own *fallback* property."""

    def find(block: Any) -> Any:
        tree = block.node_tree if _ALWAYS_NODES or block.use_nodes else None
        if tree is None:
            return None
        for node in tree.nodes:
            if node.type == node_type:
                return node.inputs.get(socket)
        return None

    def read(block: Any) -> Any:
        found = find(block)
        value = found.default_value if found is not None else getattr(block, fallback, None) if fallback else None
        if kind != "vector" or value is None:
            return value
        return tuple(map(float, value))[:size]

    def write(block: Any, value: Any, where: str) -> None:
        value = coerce(value, kind, size, where)
        found = find(block)
        if found is None:
            if not fallback:
                raise Refused("%s: there is no %s node" % (where, node_type))
            put(block, fallback, value, where)
            return
        if found.is_linked:
            raise Refused("%s: %s is driven by another node" % (where, socket))
        try:
            if kind == "vector":
                whole = list(found.default_value)
                whole[: len(value)] = value
                found.default_value = whole
            else:
                found.default_value = value
        except (AttributeError, TypeError, ValueError) as error:
            raise Refused("%s: %s" % (where, error)) from None

    return Field(label, read, write)


OBJECT = (
    _rna("type", "string", writable=False),
    _rna("location", "vector", 3),
    _rna("rotation_mode", "string"),
    _rna("rotation_euler", "vector", 3),
    _rna("rotation_quaternion", "vector", 4, when=lambda block: block.rotation_mode == "QUATERNION"),
    _rna("scale", "vector", 3),
    _rna("hide_viewport", "bool"),
    _rna("hide_render", "bool"),
    _pointer("parent", "objects"),
    Field("data", lambda block: "" if block.data is None else block.data.name),
    _pointer("active_material", "materials"),
)
FAMILIES: Dict[str, Tuple[Field, ...]] = {
    "objects": OBJECT,
    "lights": (_rna("type", "string"), _rna("energy", "double"), _rna("color", "vector", 3)),
    "cameras": (
        _rna("type", "string", writable=False),
        _rna("lens", "double"),
        _rna("sensor_width", "double"),
        _rna("ortho_scale", "double"),
        _rna("clip_start", "double"),
        _rna("clip_end", "double"),
    ),
    "materials": (
        _node_input("base_color", "BSDF_PRINCIPLED", "Base Color", "vector", 4, "diffuse_color"),
        _node_input("metallic", "BSDF_PRINCIPLED", "Metallic", "double", None, "metallic"),
        _node_input("roughness", "BSDF_PRINCIPLED", "Roughness", "double", None, "roughness"),
    ),
    "worlds": (
        _node_input("color", "BACKGROUND", "Color", "vector", 3, "color"),
        _node_input("strength", "BACKGROUND", "Strength", "double", None, ""),
    ),
}


def _write_frame(scene: Any, value: Any, where: str) -> None:
    frame = coerce(value, "int", None, where)
    rna = scene.bl_rna.properties["frame_current"]
    if not rna.hard_min <= frame <= rna.hard_max:
        raise Refused("%s: %d is outside %d to %d" % (where, frame, rna.hard_min, rna.hard_max))
    if scene.frame_current != frame:
        scene.frame_set(frame)


SCENE = (
    _rna("name", "string", writable=False),
    Field("frame_current", lambda scene: scene.frame_current, _write_frame),
    _rna("frame_start", "int"),
    _rna("frame_end", "int"),
    _pointer("camera", "objects"),
    _pointer("world", "worlds"),
    _rna("render/fps", "int"),
    _rna("render/fps_base", "double"),
    _rna("render/engine", "string"),
    _rna("render/resolution_x", "int"),
    _rna("render/resolution_y", "int"),
    _rna("render/resolution_percentage", "int"),
    Field("render/frame_rate", lambda scene: scene.render.fps / scene.render.fps_base),
)
SCREEN = (
    Field(
        "is_animation_playing",
        lambda _: host.playing() if host.windowed() else None,
        lambda _, value, where: host.play(coerce(value, "bool", None, where)),
    ),
)
_FIELDS = {family: {field.name: field for field in fields} for family, fields in FAMILIES.items()}
_SCENE_FIELDS = {field.name: field for field in SCENE}
_SCREEN_FIELDS = {field.name: field for field in SCREEN if host.windowed()}
_OURS = {identity.PROPERTY, document.PROPERTY, stored.GROUP, stored.KINDS, "_RNA_UI", "cycles", "cycles_visibility"}


def segment(name: str) -> str:
    """Return *name* as one segment of a path on the link, where `.` and `..` have no place."""
    return name.replace(".", "%2E") if name in (".", "..") else encode_segment(name)


def custom(block: Any) -> Iterator[Tuple[str, Any]]:
    """Yield the custom properties of *block* that have a form on the link."""
    for name in block.keys():
        if name not in _OURS:
            value = from_property(block[name])
            if value is not None:
                yield name, value


def read_block(family: str, block: Any) -> Dict[str, Any]:
    """Return what *block* holds, by path below it."""
    result = {}
    for field in FAMILIES[family]:
        value = field.read(block)
        if value is not None:
            result[field.name] = value
    if family == "objects":
        for name, value in custom(block):
            result["custom/" + segment(name)] = value
    return result


def read_scene(scene: Any) -> Dict[str, Any]:
    """Return what the scene holds, by path below `scene`."""
    result = {}
    for field in SCENE:
        value = field.read(scene)
        if value is not None:
            result[field.name] = value
    for name, value in custom(scene):
        result["custom/" + segment(name)] = value
    for name, value in stored.items(scene):
        result["lightfast/" + segment(name)] = value
    return result


def read_screen() -> Dict[str, Any]:
    """Return what the window shows: whether it plays."""
    values = {field.name: field.read(None) for field in SCREEN}
    return {name: value for name, value in values.items() if value is not None}


def active_scene() -> Any:
    """Return the scene in view."""
    return getattr(bpy.context, "scene", None) or bpy.data.scenes[0]


def blocks(family: str) -> List[Tuple[str, Any]]:
    """Return (name, data-block) of a family, those in use: Blender does not save the others.

    Of two with one name, a local and a linked, it is the local one.
    """
    found: Dict[str, Any] = {}
    for block in getattr(bpy.data, family):
        if block.users and (block.name not in found or block.library is None):
            found[block.name] = block
    return list(found.items())


def resolve(path: str) -> Target:
    """Return what *path* (relative to the mount) means, or refuse, naming what is missing."""
    first, _, rest = path.strip("/").partition("/")
    if first == "scene":
        return _in_scene(path, rest)
    if first == "screen" and host.windowed():
        return _target(None, _SCREEN_FIELDS, rest, path)
    if first not in FAMILIES:
        raise Refused("%s: there is nothing at %r; the branches are scene, %s" % (path, first, ", ".join(FAMILIES)))
    segment, _, rest = rest.partition("/")
    name = decode_segment(segment)
    block = getattr(bpy.data, first).get(name)
    if block is None:
        raise Refused("%s: there is no %s named %r in this file" % (path, first[:-1], name))
    if first == "objects" and rest.startswith("custom/"):
        return _custom(block, path, decode_segment(rest[len("custom/") :]))
    return _target(block, _FIELDS[first], rest, path)


def _in_scene(path: str, rest: str) -> Target:
    scene = active_scene()
    branch, _, name = rest.partition("/")
    name = decode_segment(name)
    if branch == "lightfast" and name:
        return Target(
            scene,
            lambda: stored.get(scene, name),
            lambda value: stored.put(scene, name, value, path),
            lambda: stored.remove(scene, name),
        )
    if branch == "custom" and name:
        return _custom(scene, path, name)
    return _target(scene, _SCENE_FIELDS, rest, path)


def _target(block: Any, fields: Dict[str, Field], rest: str, path: str) -> Target:
    field = fields.get(rest)
    if field is None:
        raise Refused("%s: there is no %r here; there are %s" % (path, rest, ", ".join(fields)))
    write = field.write
    return Target(
        block,
        lambda: field.read(block),
        None if write is None else lambda value: write(block, value, path),
        rna_path=field.name.replace("/", "."),
    )


def _custom(block: Any, path: str, name: str) -> Target:
    if name in _OURS or not name:
        raise Refused("%s: this property is Lightfast's own" % path)

    def read() -> Any:
        return from_property(block[name]) if name in block.keys() else None

    def remove() -> None:
        if name in block.keys():
            del block[name]

    def write(value: Any) -> None:
        stored.check(value, path)
        try:
            block[name] = list(value) if type(value) is tuple else value
        except (AttributeError, TypeError, ValueError, OverflowError) as error:
            raise Refused("%s: %s" % (path, error)) from None
        block.update_tag()

    return Target(block, read, write, remove, '["%s"]' % bpy.utils.escape_identifier(name))
