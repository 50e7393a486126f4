"""Rendering a still: to a file of its own, the scene's settings put back, the picture sent as an asset."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from typing import Any, Callable, Generator, Iterator, List, Tuple

import bpy

from . import host, properties
from .commands import Upload, command
from .values import Refused

MAX_PIXELS = 16384
_FORM = {"media_type": "IMAGE", "file_format": "PNG", "color_mode": "RGBA", "color_depth": "8"}
"""How the picture is written; in this order, since each choice narrows the next."""
_SAMPLE = re.compile(r"Sample (\d+)/(\d+)")
_report: Callable[[float, str], None] = lambda fraction, message: None  # noqa: E731
busy = False
"""A render runs, the user's or ours: what handlers say now is nobody's edit, and data must be left alone."""


def tell(report: Callable[[float, str], None]) -> None:
    """Say where progress goes; it is called while Blender renders and must not touch `bpy`."""
    global _report
    _report = report


@command
def render(
    engine: str = "", width: int = 0, height: int = 0, samples: int = 0, frame: Any = None
) -> Generator[Any, Any, Any]:
    """Render one frame to a PNG asset."""
    scene = properties.active_scene()
    if scene.camera is None:
        raise Refused("the scene has no camera: set scene/camera")
    for name, number in (("width", width), ("height", height)):
        if number and not 4 <= number <= MAX_PIXELS:
            raise Refused("%s %d is outside 4 to %d" % (name, number, MAX_PIXELS))
    if samples < 0:
        raise Refused("samples %d is negative" % samples)
    folder = tempfile.mkdtemp(prefix="lightfast-")
    path = os.path.join(folder, "render.png")
    try:
        with _settings(scene, path, engine, width, height, samples, frame):
            _run(scene)
        if not os.path.exists(path):
            raise Refused("Blender rendered nothing: see its console")
        asset = yield Upload(
            path, "%s-%d.png" % (scene.name, scene.frame_current if frame is None else frame), "image/png"
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return asset


def _run(scene: Any) -> None:
    global busy
    busy = True
    bpy.app.handlers.render_stats.append(_stats)
    _report(-1.0, "rendering")
    try:
        _render(scene)
    finally:
        bpy.app.handlers.render_stats.remove(_stats)
        busy = False


def _render(scene: Any) -> None:
    """Render; a Blender built without the denoiser that the scene asks for renders without it."""
    denoised = scene.render.engine == "CYCLES" and scene.cycles.use_denoising
    try:
        with host.in_window():
            bpy.ops.render.render(write_still=True)
    except RuntimeError as error:
        if not denoised or "enois" not in str(error):
            raise Refused("render failed: %s" % str(error).strip()) from None
    else:
        return
    _report(-1.0, "rendering without the denoiser, which this Blender does not have")
    scene.cycles.use_denoising = False
    try:
        _render(scene)
    finally:
        scene.cycles.use_denoising = True


def _stats(*arguments: Any) -> None:
    """Take Blender's line of statistics, which before 4.0 does not come, and report the share done."""
    line = arguments[0] if arguments and isinstance(arguments[0], str) else ""
    found = _SAMPLE.search(line)
    if found and int(found.group(2)):
        _report(min(1.0, int(found.group(1)) / int(found.group(2))), line)
    elif not line:
        _report(-1.0, "rendering")


@contextlib.contextmanager
def _settings(scene: Any, path: str, engine: str, width: int, height: int, samples: int, frame: Any) -> Iterator[None]:
    settings = scene.render
    undo: List[Tuple[Any, str, Any]] = []
    image = settings.image_settings
    form = [(name, getattr(image, name)) for name in _FORM if hasattr(image, name)]

    def put(owner: Any, name: str, value: Any) -> None:
        undo.append((owner, name, getattr(owner, name)))
        setattr(owner, name, value)

    before = scene.frame_current
    try:
        if engine:
            _engine(put, settings, engine)
        put(settings, "filepath", path)
        put(settings, "use_file_extension", False)
        if width or height:
            put(settings, "resolution_percentage", 100)
        if width:
            put(settings, "resolution_x", width)
        if height:
            put(settings, "resolution_y", height)
        for name, _ in form:
            setattr(image, name, _FORM[name])
        if samples:
            _samples(put, scene, samples)
        if frame is not None and frame != before:
            scene.frame_set(frame)
        yield
    finally:
        for owner, name, value in reversed(undo):
            setattr(owner, name, value)
        for name, value in form:
            setattr(image, name, value)
        if scene.frame_current != before:
            scene.frame_set(before)


def _engine(put: Callable[[Any, str, Any], None], settings: Any, engine: str) -> None:
    """Choose the engine; Eevee has had two identifiers, and each version knows one."""
    names = [engine]
    if engine in ("EEVEE", "BLENDER_EEVEE", "BLENDER_EEVEE_NEXT"):
        names = ["BLENDER_EEVEE_NEXT", "BLENDER_EEVEE"]
    elif engine == "WORKBENCH":
        names = ["BLENDER_WORKBENCH"]
    for name in names:
        with contextlib.suppress(TypeError):
            put(settings, "engine", name)
            return
    raise Refused("this Blender has no engine %r: use CYCLES, BLENDER_EEVEE or BLENDER_WORKBENCH" % engine)


def _samples(put: Callable[[Any, str, Any], None], scene: Any, samples: int) -> None:
    engine = scene.render.engine
    if engine == "CYCLES":
        put(scene.cycles, "samples", samples)
    elif engine.startswith("BLENDER_EEVEE"):
        put(scene.eevee, "taa_render_samples", samples)
