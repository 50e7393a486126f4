"""Making things: primitives, lights, cameras, and images as planes. Without operators, so in any context."""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from typing import Any, Dict, Generator

import bmesh
import bpy

from . import properties
from .commands import Download, command, described
from .values import Refused

_MESHES = {
    "plane": lambda mesh: bmesh.ops.create_grid(mesh, x_segments=1, y_segments=1, size=1.0),
    "grid": lambda mesh: bmesh.ops.create_grid(mesh, x_segments=10, y_segments=10, size=1.0),
    "cube": lambda mesh: bmesh.ops.create_cube(mesh, size=2.0),
    "uv_sphere": lambda mesh: bmesh.ops.create_uvsphere(mesh, u_segments=32, v_segments=16, radius=1.0),
    "ico_sphere": lambda mesh: bmesh.ops.create_icosphere(mesh, subdivisions=2, radius=1.0),
    "cylinder": lambda mesh: bmesh.ops.create_cone(
        mesh, cap_ends=True, segments=32, radius1=1.0, radius2=1.0, depth=2.0
    ),
    "cone": lambda mesh: bmesh.ops.create_cone(mesh, cap_ends=True, segments=32, radius1=1.0, radius2=0.0, depth=2.0),
    "circle": lambda mesh: bmesh.ops.create_circle(mesh, cap_ends=False, segments=32, radius=1.0),
    "monkey": lambda mesh: bmesh.ops.create_monkey(mesh),
    "torus": lambda mesh: _torus(mesh, 48, 12, 1.0, 0.25),
}
_LIGHTS = {"point_light": "POINT", "sun_light": "SUN", "spot_light": "SPOT", "area_light": "AREA"}
_LABELS = {
    "uv_sphere": "Sphere",
    "ico_sphere": "Icosphere",
    "monkey": "Suzanne",
    "point_light": "Point",
    "sun_light": "Sun",
    "spot_light": "Spot",
    "area_light": "Area",
}


@command
def create_object(
    kind: str, name: str = "", location: Any = None, rotation_euler: Any = None, scale: Any = None, color: Any = None
) -> Dict[str, Any]:
    """Create an object in the active collection."""
    kind = kind.lower()
    if color is not None and (kind in ("camera", "empty") or not all(0.0 <= part <= 1.0 for part in color)):
        raise Refused("color is for meshes and lights: red, green, blue, each 0 to 1")
    label = name or _LABELS.get(kind, kind.capitalize())
    if kind in _MESHES:
        data = bpy.data.meshes.new(label)
        work = bmesh.new()
        try:
            _MESHES[kind](work)
            work.to_mesh(data)
        finally:
            work.free()
    elif kind in _LIGHTS:
        data = bpy.data.lights.new(label, _LIGHTS[kind])
        data.energy = 1.0 if kind == "sun_light" else 1000.0
    elif kind == "camera":
        data = bpy.data.cameras.new(label)
    elif kind == "empty":
        data = None
    else:
        raise Refused("kind %r is unknown: use %s" % (kind, ", ".join([*_MESHES, "empty", "camera", *_LIGHTS])))
    item = link(bpy.data.objects.new(label, data))
    for attribute, value in (("location", location), ("rotation_euler", rotation_euler), ("scale", scale)):
        if value is not None:
            setattr(item, attribute, value)
    if color is not None:
        _paint(item, tuple(color))
    return described(item)


def _paint(item: Any, color: Any) -> None:
    """Give a new light its color, a new mesh a material of that color."""
    if item.type == "LIGHT":
        item.data.color = color
        return
    material = bpy.data.materials.new(item.name)
    if material.node_tree is None:
        material.use_nodes = True
    for node in material.node_tree.nodes:
        if node.type == "BSDF_PRINCIPLED":
            node.inputs["Base Color"].default_value = (*color, 1.0)
    material.diffuse_color = (*color, 1.0)
    item.data.materials.append(material)


def link(item: Any) -> Any:
    """Put a new object into the collection in use and return it."""
    collection = getattr(bpy.context, "collection", None) or properties.active_scene().collection
    collection.objects.link(item)
    return item


@command
def place_image(
    asset: Any, name: str = "", location: Any = None, rotation_euler: Any = None, height: float = 2.0
) -> Generator[Any, Any, Dict[str, Any]]:
    """Show an image on an upright plane; the picture is packed into the file."""
    if not asset.media_type.startswith("image/"):
        raise Refused("the asset is %s, not an image" % asset.media_type)
    if not 0.0 < height <= 1e6:
        raise Refused("height %g is not a size in meters" % height)
    label = name or "Image " + asset.sha256[:8]
    suffix = {"image/jpeg": ".jpg", "image/webp": ".webp", "image/x-exr": ".exr"}.get(asset.media_type, ".png")
    folder = tempfile.mkdtemp(prefix="lightfast-")
    path = os.path.join(folder, asset.sha256[:16] + suffix)
    try:
        yield Download(asset.sha256, path)
        image = _load(path, label)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    item = bpy.data.objects.get(label)
    if item is None or item.type != "MESH":
        mesh = bpy.data.meshes.new(label)
        item = link(bpy.data.objects.new(label, mesh))
        item.rotation_euler = (math.pi / 2, 0.0, 0.0)
    width = height * image.size[0] / max(1, image.size[1])
    _plane(item.data, width, height)
    material = _material(label, image)
    item.data.materials.clear()
    item.data.materials.append(material)
    if location is not None:
        item.location = location
    if rotation_euler is not None:
        item.rotation_euler = rotation_euler
    item["lightfast_asset"] = asset.sha256
    return dict(described(item), material=material.name, image=image.name)


def _load(path: str, label: str) -> Any:
    try:
        image = bpy.data.images.load(path)
    except RuntimeError as error:
        raise Refused("Blender cannot read the image: %s" % str(error).strip()) from None
    if 0 in tuple(image.size):
        bpy.data.images.remove(image)
        raise Refused("Blender cannot read the image: it has no size")
    image.name = label
    image.pack()
    return image


def _plane(mesh: Any, width: float, height: float) -> None:
    x, y = width / 2, height / 2
    mesh.clear_geometry()
    mesh.from_pydata([(-x, -y, 0), (x, -y, 0), (x, y, 0), (-x, y, 0)], [], [(0, 1, 2, 3)])
    layer = mesh.uv_layers.new(name="UVMap")
    for loop, corner in zip(layer.data, ((0, 0), (1, 0), (1, 1), (0, 1))):
        loop.uv = corner
    mesh.update()


def _material(label: str, image: Any) -> Any:
    material = bpy.data.materials.get(label) or bpy.data.materials.new(label)
    if material.node_tree is None:
        material.use_nodes = True
    tree = material.node_tree
    tree.nodes.clear()
    output = tree.nodes.new("ShaderNodeOutputMaterial")
    shader = tree.nodes.new("ShaderNodeBsdfPrincipled")
    texture = tree.nodes.new("ShaderNodeTexImage")
    texture.image = image
    shader.location, texture.location, output.location = (-300, 0), (-600, 0), (0, 0)
    tree.links.new(texture.outputs["Color"], shader.inputs["Base Color"])
    tree.links.new(texture.outputs["Alpha"], shader.inputs["Alpha"])
    tree.links.new(shader.outputs["BSDF"], output.inputs["Surface"])
    return material


def _torus(mesh: Any, around: int, across: int, major: float, minor: float) -> None:
    rings = []
    for i in range(around):
        turn = 2 * math.pi * i / around
        ring = []
        for j in range(across):
            angle = 2 * math.pi * j / across
            radius = major + minor * math.cos(angle)
            ring.append(mesh.verts.new((radius * math.cos(turn), radius * math.sin(turn), minor * math.sin(angle))))
        rings.append(ring)
    for i in range(around):
        near, far = rings[i], rings[(i + 1) % around]
        for j in range(across):
            k = (j + 1) % across
            mesh.faces.new((near[j], far[j], far[k], near[k]))
