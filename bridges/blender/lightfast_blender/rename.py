"""Renaming: a data-block by its name, a custom property by its key."""

from __future__ import annotations

from typing import Any, Tuple

import bpy
from lightfast_link.path import decode_segment

from . import properties
from .values import Refused


def rename(source: str, target: str) -> None:
    """Rename what lies at the path *source* to *target*, both relative to the mount, or refuse."""
    old, new = _block_path(source), _block_path(target)
    if old[0] and old[0] == new[0]:
        rename_block(old[0], old[1], new[1])
    elif old[0] or new[0]:
        raise Refused("%s cannot become %s: only a name can change, not what it is the name of" % (source, target))
    else:
        _rename_property(source, target)


def rename_block(family: str, old: str, new: str) -> Any:
    """Give the data-block called *old* the free name *new* and return it, or refuse."""
    blocks = getattr(bpy.data, family)
    kind = family[:-1]
    block = blocks.get(old)
    if block is None:
        raise Refused("there is no %s named %r in this file" % (kind, old))
    if block.library is not None:
        raise Refused("the %s %r is linked from another file: rename it there" % (kind, old))
    if not new:
        raise Refused("a name has at least one character")
    other = blocks.get(new)
    if other is not None and other != block:
        unused = "" if other.users else ", by a %s that nothing uses: purge it first" % kind
        raise Refused("the name %r is taken%s" % (new, unused))
    block.name = new
    if block.name != new:
        took, block.name = block.name, old
        raise Refused("Blender cannot take the name %r, only %r" % (new, took))
    return block


def _block_path(path: str) -> Tuple[str, str]:
    """Return family and name where *path* is that of a data-block, else two empty texts."""
    family, _, segment = path.strip("/").partition("/")
    if family in properties.FAMILIES and segment and "/" not in segment:
        return family, decode_segment(segment)
    return "", ""


def _rename_property(source: str, target: str) -> None:
    """Rename a custom property of the scene or of an object."""
    before, after = properties.resolve(source), properties.resolve(target)
    if before.remove is None or after.remove is None or after.write is None:
        raise Refused("%s cannot be renamed: only objects, data-blocks and custom properties can" % source)
    value = before.read()
    if value is None:
        raise Refused("there is no property at %s" % source)
    if after.read() is not None:
        raise Refused("there is a property at %s already" % target)
    after.write(value)
    before.remove()
