"""Carries wishes out, reads back what Blender then holds, and answers each."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence

import bpy
from lightfast_link.value import close

from . import properties, rename
from .scan import Scanner
from .values import Refused

_TOLERANCE = 0.0
_CONVERTS = "/rotation_mode"
"""Setting it makes the rotation of the new mode out of that of the old one: over what was set before."""


class Answer(NamedTuple):
    """The answer to one wish: the value that is now there, or why not."""

    wish_id: int
    value: Any
    refused: str = ""


_UNFORESEEN = (AttributeError, KeyError, ReferenceError, RuntimeError, TypeError, ValueError)


def apply(wishes: Sequence[Any], scanner: Scanner) -> List[Answer]:
    """Apply *wishes* (of `lightfast_link.messages`) and answer all.

    Of the values for one path between two renames only the last is set; what converts others goes first.
    """
    answers: List[Answer] = []
    together: List[Any] = []
    for wish in wishes:
        if not wish.moved_from:
            together.append(wish)
            continue
        answers += _apply_values(together, scanner)
        together = []
        answers.append(_rename(wish, scanner))
    return answers + _apply_values(together, scanner)


def _rename(wish: Any, scanner: Scanner) -> Answer:
    source, target = wish.moved_from.strip("/"), wish.path.strip("/")
    try:
        rename.rename(source, target)
    except Refused as refused:
        return Answer(wish.id, None, str(refused))
    except _UNFORESEEN as error:
        return Answer(wish.id, None, "%s: Blender raised %s: %s" % (source, type(error).__name__, error))
    scanner.renamed(source, target)
    return Answer(wish.id, None)


def _apply_values(wishes: Sequence[Any], scanner: Scanner) -> List[Answer]:
    last = {wish.path.strip("/"): wish for wish in wishes}
    targets: Dict[str, Optional[properties.Target]] = {}
    refusals: Dict[str, str] = {}
    for path, wish in sorted(last.items(), key=lambda item: not item[0].endswith(_CONVERTS)):
        try:
            targets[path] = _carry_out(path, wish.value)
        except Refused as refused:
            refusals[path] = str(refused)
        except _UNFORESEEN as error:
            refusals[path] = "%s: Blender raised %s: %s" % (path, type(error).__name__, error)
    if targets:
        update()
    held = {path: _read(target) for path, target in targets.items()}
    for path, value in held.items():
        wanted = last[path].value
        if wanted is not None and (value is None or not _close(value, wanted)):
            refusals[path] = "%s: Blender holds %r instead: a driver, constraint or limit decides it" % (path, value)
        else:
            scanner.remember(path, value)
    return [
        Answer(wish.id, None, refusals[path]) if path in refusals else Answer(wish.id, held[path])
        for wish, path in ((wish, wish.path.strip("/")) for wish in wishes)
    ]


def update() -> None:
    """Evaluate the scene: until then Blender does not know of what was set."""
    layer = getattr(bpy.context, "view_layer", None)
    if layer is not None:
        layer.update()


def set_one(path: str, value: Any) -> Any:
    """Set one property and return what is then there, or refuse."""
    target = _carry_out(path.strip("/"), value)
    update()
    return _read(target)


def _carry_out(path: str, value: Any) -> Optional[properties.Target]:
    if value is None:
        return _remove(path)
    target = properties.resolve(path)
    if target.write is None:
        raise Refused("%s is read-only" % path)
    target.write(value)
    return target


def _remove(path: str) -> Optional[properties.Target]:
    try:
        target = properties.resolve(path)
    except Refused:
        return None
    remove: Optional[Callable[[], None]] = target.remove
    if remove is None:
        if target.read() is None:
            return target
        raise Refused("%s cannot be removed, only set; an object goes with the command delete_object" % path)
    remove()
    return target


def _read(target: Optional[properties.Target]) -> Any:
    if target is None:
        return None
    try:
        return target.read()
    except ReferenceError:
        return None


def _close(held: Any, wanted: Any) -> bool:
    if type(wanted) is list and type(held) is tuple:
        wanted = tuple(float(item) for item in wanted)
    return close(held, wanted, _TOLERANCE)
