"""The scene of the simulator: the factory scene as plain values, and the commands that need no Blender."""

from __future__ import annotations

import math
import struct
import uuid
from collections.abc import Callable, Mapping

from lightfast.sdk import Asset, Parameter, Value
from lightfast_bridges.blender import surface
from lightfast_link.messages import Change
from lightfast_link.path import compile_pattern, decode_segment, encode_segment
from lightfast_link.value import kind_of

_SIZES = {"location": 3, "rotation_euler": 3, "rotation_quaternion": 4, "scale": 3, "color": 3, "base_color": 4}
_TYPES = {
    "camera": "CAMERA",
    "empty": "EMPTY",
    "point_light": "LIGHT",
    "sun_light": "LIGHT",
    "spot_light": "LIGHT",
    "area_light": "LIGHT",
}
_MESHES = frozenset(
    ("cube", "plane", "uv_sphere", "ico_sphere", "cylinder", "cone", "torus", "monkey", "circle", "grid")
)
_REFERENCES = {"parent": "objects", "camera": "objects", "world": "worlds", "active_material": "materials"}
"""Properties that name something, and its family."""
_NOT_HERE = "this is the Blender simulator: it has a scene, but no {} (install Blender for that)"
_MISSING = {
    "render": "renderer",
    "save": "file",
    "save_as": "file",
    "open": "file",
    "undo": "undo of its own",
    "redo": "undo of its own",
    "play": "playback",
    "stop": "playback",
}


class RefusedError(Exception):
    """What was asked cannot be done; the message is for the user."""


class Scene:
    """Values by path relative to the mount; numbers are kept in 32 bits, as Blender keeps them."""

    def __init__(self) -> None:
        self.values: dict[str, Value] = {}
        self.ids: dict[str, str] = {}
        self.images: dict[str, Asset] = {}
        self.keyframes: dict[str, dict[int, Value]] = {}
        self._patterns = [(compile_pattern("/" + p.pattern), p) for p in surface.parameters()]
        self._factory()

    def changes(self) -> list[Change]:
        """Return everything, as a full report."""
        return [Change(path, value, object_id=self._id_of(path)) for path, value in self.values.items()]

    def set(self, path: str, value: Value | None) -> Value | None:
        """Set one value and return what is then held; raises `RefusedError`."""
        parameter = self._parameter(path)
        if value is None:
            if not path.startswith(("scene/lightfast/", "scene/custom/")) and path in self.values:
                raise RefusedError(f"{path} cannot be removed, only set")
            self.values.pop(path, None)
            return None
        if path not in self.values and not path.startswith(("scene/lightfast/", "scene/custom/")):
            raise RefusedError(f"{path}: there is no such object in this scene")
        if parameter.access == "r":
            raise RefusedError(f"{path} is read-only")
        self.values[path] = held = _rounded(_checked(path, value, parameter), path)
        return held

    def follows(self, path: str) -> list[Change]:
        """Return what changes because *path* was set."""
        fps, base = self.values["scene/render/fps"], self.values["scene/render/fps_base"]
        rate = "scene/render/frame_rate"
        if path not in {"scene/render/fps", "scene/render/fps_base"} or not isinstance(fps, int):
            return []
        self.values[rate] = fps / float(base)  # type: ignore[arg-type]  # a number, as it is declared
        return [Change(rate, self.values[rate])]

    def rename(self, source: str, target: str) -> list[Change]:
        """Rename what lies at *source*, and what refers to it by name; return what else changed by that."""
        old, new = source.split("/"), target.split("/")
        if len(old) != 2 or len(new) != 2 or old[0] != new[0] or old[0] == "scene":
            raise RefusedError(f"{source} cannot become {target}: only the name of an object can change")
        if not any(path.startswith(source + "/") for path in self.values):
            raise RefusedError(f"there is no {old[0][:-1]} named {decode_segment(old[1])!r}")
        if any(path.startswith(target + "/") for path in self.values):
            raise RefusedError(f"the name {decode_segment(new[1])!r} is taken")
        if source in self.ids:
            self.ids[target] = self.ids.pop(source)
        for path in [path for path in self.values if path.startswith(source + "/")]:
            self.values[target + path[len(source) :]] = self.values.pop(path)
        changes = []
        for path, value in self.values.items():
            family = _REFERENCES.get(path.rsplit("/", 1)[-1])
            if family == old[0] and value == decode_segment(old[1]):
                self.values[path] = decode_segment(new[1])
                changes.append(Change(path, self.values[path], object_id=self._id_of(path)))
        return changes

    def run(self, command: str, arguments: Mapping[str, Value]) -> tuple[Value | None, list[Change]]:
        """Run a command; return its result and what it changed. Raises `RefusedError`."""
        if command in _MISSING:
            raise RefusedError(_NOT_HERE.format(_MISSING[command]))
        known = {entry.name: entry for entry in surface.commands()}.get(command)
        if known is None:
            raise RefusedError(f"there is no command {command!r}")
        names = {argument.name for argument in known.arguments}
        for name in arguments:
            if name not in names:
                raise RefusedError(f"{command} has no argument {name!r}; it takes {', '.join(sorted(names))}")
        for argument in known.arguments:
            if argument.required and argument.name not in arguments:
                raise RefusedError(f"{command} needs the argument {argument.name!r}")
        function: Callable[..., tuple[Value | None, list[Change]]] = getattr(self, "_" + command)
        return function(**arguments)

    def _factory(self) -> None:
        self._add("Camera", "CAMERA", location=(7.358891, -6.925791, 4.958309))
        self._add("Cube", "MESH")
        self._add("Light", "LIGHT", location=(4.076245, 1.005454, 5.903862))
        self.values.update(
            {
                "objects/Cube/active_material": "Material",
                "lights/Light/type": "POINT",
                "lights/Light/energy": 1000.0,
                "lights/Light/color": (1.0, 1.0, 1.0),
                "cameras/Camera/type": "PERSP",
                "cameras/Camera/lens": 50.0,
                "cameras/Camera/sensor_width": 36.0,
                "cameras/Camera/ortho_scale": _rounded(7.314286),
                "cameras/Camera/clip_start": _rounded(0.1),
                "cameras/Camera/clip_end": 100.0,
                "materials/Material/base_color": _rounded((0.8, 0.8, 0.8, 1.0)),
                "materials/Material/metallic": 0.0,
                "materials/Material/roughness": 0.5,
                "worlds/World/color": _rounded((0.05, 0.05, 0.05)),
                "worlds/World/strength": 1.0,
                "scene/name": "Scene",
                "scene/frame_current": 1,
                "scene/frame_start": 1,
                "scene/frame_end": 250,
                "scene/camera": "Camera",
                "scene/world": "World",
                "scene/render/fps": 24,
                "scene/render/fps_base": 1.0,
                "scene/render/frame_rate": 24.0,
                "scene/render/engine": "BLENDER_EEVEE",
                "scene/render/resolution_x": 1920,
                "scene/render/resolution_y": 1080,
                "scene/render/resolution_percentage": 100,
            }
        )

    def _add(self, name: str, kind: str, **given: Value) -> list[Change]:
        prefix = "objects/" + encode_segment(name)
        self.ids[prefix] = uuid.uuid4().hex[:16]
        values: dict[str, Value] = {
            "type": kind,
            "location": (0.0, 0.0, 0.0),
            "rotation_mode": "XYZ",
            "rotation_euler": (0.0, 0.0, 0.0),
            "scale": (1.0, 1.0, 1.0),
            "hide_viewport": False,
            "hide_render": False,
            "parent": "",
            "data": "" if kind == "EMPTY" else name,
            "active_material": "",
            **given,
        }
        made = {f"{prefix}/{key}": _rounded(value) for key, value in values.items()}
        self.values.update(made)
        return [Change(path, value, object_id=self.ids[prefix]) for path, value in made.items()]

    def _parameter(self, path: str) -> Parameter:
        for pattern, parameter in self._patterns:
            if pattern.matches("/" + path):
                return parameter
        raise RefusedError(f"{path}: there is no such property")

    def _id_of(self, path: str) -> str:
        return self.ids.get("/".join(path.split("/")[:2]), "")

    def _find(self, name: str) -> str:
        prefix = "objects/" + encode_segment(name)
        if prefix not in self.ids:
            raise RefusedError(f"there is no object named {name!r}")
        return prefix

    def _free(self, name: str) -> str:
        if "objects/" + encode_segment(name) not in self.ids:
            return name
        number = 1
        while f"objects/{encode_segment(name)}.{number:03d}" in self.ids:
            number += 1
        return f"{name}.{number:03d}"

    def _list_objects(self) -> tuple[Value, list[Change]]:
        return [
            {
                "name": decode_segment(prefix.split("/")[1]),
                "type": self.values[prefix + "/type"],
                "location": self.values[prefix + "/location"],
                "path": prefix,
            }
            for prefix in self.ids
        ], []

    def _create_object(self, kind: str, name: str = "", **given: Value) -> tuple[Value, list[Change]]:
        kind = kind.lower()
        if kind not in _MESHES and kind not in _TYPES:
            raise RefusedError(f"kind {kind!r} is unknown: use {', '.join(sorted(_MESHES | set(_TYPES)))}")
        name, color = self._free(name or kind.capitalize()), given.pop("color", None)
        if color is not None and (kind in {"camera", "empty"} or not _is_color(color)):
            raise RefusedError("color is for meshes and lights: red, green, blue, each 0 to 1")
        changes = self._add(name, _TYPES.get(kind, "MESH"), **given)
        if isinstance(color, tuple):
            changes += self._paint(name, kind in _TYPES, color)
        return {"name": name, "path": "objects/" + encode_segment(name)}, changes

    def _paint(self, name: str, light: bool, color: tuple[float, ...]) -> list[Change]:
        """Give a new light its color, a new mesh a material of that color."""
        segment = encode_segment(name)
        made: dict[str, Value] = {f"lights/{segment}/color": color}
        if not light:
            made = {
                f"materials/{segment}/base_color": (*color, 1.0),
                f"materials/{segment}/metallic": 0.0,
                f"materials/{segment}/roughness": 0.5,
                f"objects/{segment}/active_material": name,
            }
        self.values.update({path: _rounded(value) for path, value in made.items()})
        return [self.told(path) for path in made]

    def _delete_object(self, object: str) -> tuple[Value, list[Change]]:  # noqa: A002
        prefix = self._find(object)
        gone = [path for path in self.values if path.startswith(prefix + "/")]
        for path in gone:
            del self.values[path]
        del self.ids[prefix]
        return {"name": object, "path": prefix}, [Change(path, None) for path in gone]

    def _duplicate(
        self,
        object: str,  # noqa: A002
        name: str = "",
        location: Value | None = None,
        linked: bool = False,
    ) -> tuple[Value, list[Change]]:
        prefix = self._find(object)
        values = {p[len(prefix) + 1 :]: v for p, v in self.values.items() if p.startswith(prefix + "/")}
        if location is not None:
            values["location"] = location
        kind = str(values.pop("type"))
        name = self._free(name or object)
        if not linked and values["data"]:
            values["data"] = name
        return {"name": name, "path": "objects/" + encode_segment(name)}, self._add(name, kind, **values)

    def _rename_object(self, object: str, name: str) -> tuple[Value, list[Change]]:  # noqa: A002
        source, target = self._find(object), "objects/" + encode_segment(name)
        if not name:
            raise RefusedError("a name has at least one character")
        changes = self.rename(source, target) if target != source else []
        moved = [Change(target, None, object_id=self.ids[target], moved_from=source)] if target != source else []
        return {"name": name, "path": target}, [*moved, *changes]

    def told(self, path: str) -> Change:
        """Return what is told of *path* as it is now."""
        return Change(path, self.values[path], object_id=self._id_of(path))

    def _set_property(self, path: str, value: Value) -> tuple[Value | None, list[Change]]:
        held = self.set(path, value)
        return held, [Change(path, held, object_id=self._id_of(path)), *self.follows(path)]

    def _set_keyframe(
        self,
        object: str,  # noqa: A002
        path: str,
        frame: int | None = None,
        value: Value | None = None,
    ) -> tuple[Value, list[Change]]:
        where = f"{self._find(object)}/{path}"
        if where not in self.values:
            raise RefusedError(f"{where}: there is no such property")
        current = self.values["scene/frame_current"]
        at = frame if frame is not None else current if isinstance(current, int) else 0
        kept = self.values[where] if value is None else _checked(where, value, self._parameter(where))
        self.keyframes.setdefault(where, {})[at] = kept
        return {"path": where, "frame": at, "value": kept}, []

    def _frame_set(self, frame: int) -> tuple[Value | None, list[Change]]:
        return self._set_property("scene/frame_current", frame)

    def _place_image(self, asset: Asset, name: str = "", **given: Value) -> tuple[Value, list[Change]]:
        if not asset.media_type.startswith("image/"):
            raise RefusedError("the asset is not an image")
        label = name or "Image " + asset.sha256[:8]
        prefix = "objects/" + encode_segment(label)
        self.images[prefix] = asset
        given.pop("height", None)
        if prefix in self.ids:
            changes = [c for key, v in given.items() for c in self._set_property(f"{prefix}/{key}", v)[1]]
        else:
            changes = self._add(label, "MESH", **{"rotation_euler": (math.pi / 2, 0.0, 0.0), **given})
        return {"name": label, "path": prefix, "note": "recorded by the simulator, not shown"}, changes


def _checked(path: str, value: Value, parameter: Parameter) -> Value:
    held = kind_of(value)
    if parameter.kind == "double" and held == "int":
        value = float(value)  # type: ignore[arg-type]
    elif parameter.kind and held != parameter.kind:
        raise RefusedError(f"{path} takes a {parameter.kind}, not a {held}")
    size = _SIZES.get(path.rsplit("/", 1)[-1])
    if isinstance(value, tuple) and size is not None and len(value) != size:
        raise RefusedError(f"{path} takes {size} numbers, not {len(value)}")
    for number in value if isinstance(value, tuple) else (value,):
        if isinstance(number, (int, float)) and not isinstance(number, bool):
            low, high = parameter.minimum, parameter.maximum
            if (low is not None and number < low) or (high is not None and number > high):
                raise RefusedError(f"{path}: {number} is outside {low} to {high}")
    if parameter.choices and value not in parameter.choices:
        raise RefusedError(f"{path} takes one of {', '.join(parameter.choices)}")
    return value


def _rounded(value: Value, path: str = "") -> Value:
    """Return *value* as 32 bits keep it; custom properties keep 64."""
    if path.startswith(("scene/lightfast/", "scene/custom/")):
        return value
    if type(value) is float:
        return float(struct.unpack("f", struct.pack("f", value))[0])
    if isinstance(value, tuple):
        return struct.unpack(f"{len(value)}f", struct.pack(f"{len(value)}f", *value))
    return value


def _is_color(value: Value) -> bool:
    return isinstance(value, tuple) and len(value) == 3 and all(0.0 <= part <= 1.0 for part in value)
