"""The commands: Blender's own verbs, with checked arguments. None runs code.

A command is a function of its arguments that returns a value, or a generator that yields
`Upload` or `Download` while bytes travel and returns a value.
"""

from __future__ import annotations

import os
from typing import Any, Callable, Dict, List, Mapping, NamedTuple

import bpy

from . import apply, files, host, properties, rename
from .values import Refused, coerce

Command = Callable[..., Any]
TABLE: Dict[str, Command] = {}


class Upload(NamedTuple):
    """Wait until the file at *path* is stored; the answer is its `Asset`."""

    path: str
    name: str
    media_type: str


class Download(NamedTuple):
    """Wait until the asset is in the file at *path*."""

    sha256: str
    path: str


def command(function: Command) -> Command:
    """Register a command under its function's name."""
    TABLE[function.__name__.rstrip("_")] = function
    return function


def check(arguments: Mapping[str, Any], schema: Mapping[str, Any]) -> Dict[str, Any]:
    """Return the arguments as the schema wants them, or refuse, naming the one that is wrong."""
    wanted = {argument["name"]: argument for argument in schema["arguments"]}
    for name in arguments:
        if name not in wanted:
            raise Refused("%s has no argument %r; it takes %s" % (schema["name"], name, ", ".join(wanted) or "none"))
    for name, argument in wanted.items():
        if argument["required"] and name not in arguments:
            raise Refused("%s needs the argument %r: %s" % (schema["name"], name, argument["description"]))
    size = {"location": 3, "rotation_euler": 3, "scale": 3, "color": 3}
    return {
        name: coerce(value, wanted[name]["kind"], size.get(name), "%s of %s" % (name, schema["name"]))
        for name, value in arguments.items()
    }


def find(name: str) -> Any:
    """Return the object of that name, or refuse."""
    found = bpy.data.objects.get(name)
    if found is None:
        raise Refused("there is no object named %r in this file" % name)
    return found


def described(item: Any) -> Dict[str, Any]:
    """Return what a command says of an object it made."""
    return {"name": item.name, "path": "objects/" + properties.segment(item.name), "type": item.type}


@command
def list_objects() -> List[Any]:
    """List all objects."""
    return [
        {
            "name": item.name,
            "type": item.type,
            "location": tuple(map(float, item.location)),
            "path": described(item)["path"],
        }
        for item in bpy.data.objects
    ]


@command
def delete_object(object: str) -> Dict[str, Any]:
    """Delete an object, and its data when nothing else shows it."""
    item = find(object)
    gone = described(item)
    data = item.data
    bpy.data.objects.remove(item, do_unlink=True)
    if data is not None and data.users == 0 and data.library is None:
        bpy.data.batch_remove([data])
    return gone


@command
def duplicate(object: str, name: str = "", location: Any = None, linked: bool = False) -> Dict[str, Any]:
    """Duplicate an object beside it."""
    item = find(object)
    copy = item.copy()
    if item.data is not None and not linked:
        copy.data = item.data.copy()
    if name:
        copy.name = name
    if location is not None:
        copy.location = location
    for collection in list(item.users_collection) or [properties.active_scene().collection]:
        collection.objects.link(copy)
    return described(copy)


@command
def rename_object(object: str, name: str) -> Dict[str, Any]:
    """Rename an object to a free name."""
    return described(rename.rename_block("objects", object, name))


@command
def set_property(path: str, value: Any) -> Any:
    """Set one property and return what it then is."""
    return apply.set_one(path, value)


@command
def set_keyframe(object: str, path: str, frame: Any = None, value: Any = None) -> Dict[str, Any]:
    """Insert a keyframe; a value that is given is set first, and the frame in view stays."""
    item = find(object)
    where = described(item)["path"] + "/" + path
    target = properties.resolve(where)
    if target.write is None:
        raise Refused("%s is read-only" % where)
    scene = properties.active_scene()
    at = scene.frame_current if frame is None else frame
    before = target.read()
    if value is not None:
        target.write(value)
    try:
        done = item.keyframe_insert(data_path=target.rna_path, frame=at)
    except (TypeError, RuntimeError) as error:
        raise Refused("%s cannot be animated: %s" % (where, error)) from None
    finally:
        if value is not None and at != scene.frame_current and before is not None:
            target.write(before)
    if not done:
        raise Refused("Blender did not insert a keyframe at %s" % where)
    scene.frame_set(scene.frame_current)
    return {"path": where, "frame": at, "value": target.read() if value is None else value}


@command
def frame_set(frame: int) -> int:
    """Go to a frame."""
    properties.resolve("scene/frame_current").write(frame)
    return int(properties.active_scene().frame_current)


@command
def play() -> bool:
    """Start playback."""
    return _playback(True)


@command
def stop() -> bool:
    """Stop playback."""
    return _playback(False)


def _playback(wanted: bool) -> bool:
    if not host.windowed():
        raise Refused("this Blender runs without a window and cannot play: use frame_set")
    host.play(wanted)
    return host.playing()


@command
def save(path: str = "") -> str:
    """Save the file, where it is or at *path*."""
    target = files.checked(path) if path else bpy.data.filepath
    if not target:
        raise Refused("this file was never saved: give a path")
    return _write(target)


@command
def save_as(path: str) -> str:
    """Save the file at *path* and go on there."""
    return _write(files.checked(path))


def _write(target: str) -> str:
    os.makedirs(os.path.dirname(target), exist_ok=True)
    try:
        with host.in_window():
            bpy.ops.wm.save_as_mainfile(filepath=target, check_existing=False)
    except RuntimeError as error:
        raise Refused("cannot save %s: %s" % (target, str(error).strip())) from None
    return target


@command
def open_(path: str) -> str:
    """Open a file without running the scripts in it."""
    target = files.checked(path)
    if not os.path.isfile(target):
        raise Refused("there is no file %s" % target)
    try:
        with host.in_window():
            bpy.ops.wm.open_mainfile(filepath=target, load_ui=False, use_scripts=False)
    except RuntimeError as error:
        raise Refused("cannot open %s: %s" % (target, str(error).strip())) from None
    return target


@command
def undo() -> None:
    """Undo one step."""
    _step(bpy.ops.ed.undo, "undo")


@command
def redo() -> None:
    """Redo one step."""
    _step(bpy.ops.ed.redo, "redo")


def _step(operator: Any, name: str) -> None:
    try:
        with host.in_window():
            done = operator()
    except RuntimeError as error:
        raise Refused("nothing to %s: %s" % (name, str(error).strip())) from None
    if "FINISHED" not in done:
        raise Refused("nothing to %s" % name)
