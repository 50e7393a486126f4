"""Operators of the stand-in: `OP`, `COMP`, `CHOP`, `TOP`, `DAT`, `Connector`, `Channel`."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from lightfast_bridges.touchdesigner.standin.par import Page, Par, ParCollection, TdError
from lightfast_bridges.touchdesigner.standin.picture import png
from lightfast_bridges.touchdesigner.standin.types import TYPES, OpType

if TYPE_CHECKING:
    from lightfast_bridges.touchdesigner.standin.module import Td

WIDTH, HEIGHT = 64, 36


class Connector:
    """One input or output."""

    def __init__(self, owner: OP, index: int, *, is_input: bool) -> None:
        self.owner = owner
        self.index = index
        self.isInput = is_input
        self.connections: list[Connector] = []

    def connect(self, target: Connector | OP) -> None:
        """Wire it; an input has one wire."""
        other = target
        if isinstance(other, OP):
            other = other.outputConnectors[0] if self.isInput else other.inputConnectors[0]
        end, start = (self, other) if self.isInput else (other, self)
        end.disconnect()
        end.connections.append(start)
        start.connections.append(end)
        self.owner.td.ui.undo.record(end.disconnect)

    def disconnect(self) -> None:
        """Unwire it."""
        for other in self.connections:
            other.connections.remove(self)
        self.connections = []


class OP:
    """An operator."""

    def __init__(self, td: Td, kind: OpType, name: str, parent: COMP | None) -> None:
        self.td = td
        self.id = td.next_id()
        self.valid = True
        self.OPType = kind.name
        self.family = kind.family
        self._name = name
        self._parent = parent
        self.storage: dict[str, Any] = {}
        self.nodeX = self.nodeY = 0
        self.dock: OP | None = None
        self.cooks = 0
        self.isCOMP, self.isTOP, self.isCHOP, self.isDAT = (
            kind.family == family for family in ("COMP", "TOP", "CHOP", "DAT")
        )
        self.isObject = kind.name in {"geometryCOMP", "cameraCOMP"}
        self.inputConnectors = [Connector(self, index, is_input=True) for index in range(kind.inputs)]
        self.outputConnectors = [Connector(self, index, is_input=False) for index in range(kind.outputs)]
        self.par = ParCollection(self)
        for row in kind.pars:
            self._built_in(*row)

    def _built_in(self, name: str, style: str, default: Any, more: Any) -> None:
        par = self.par.add(Par(self, name, style, name.capitalize()))
        if isinstance(more, list):
            par.menuNames = list(more)
        elif more is not None:
            par.normMin, par.normMax = more
        if default is not None:
            par.default = par._val = default  # noqa: SLF001  # no change of anybody's

    @property
    def name(self) -> str:
        """The name; one that is taken gets other digits."""
        return self._name

    @name.setter
    def name(self, name: str) -> None:
        if self._parent is None:
            raise TdError("the root keeps its name")
        before = self._name
        self._name = self._parent.free(re.sub(r"[^A-Za-z0-9_]", "_", name), self)
        self.td.ui.undo.record(lambda: setattr(self, "_name", before))

    @property
    def path(self) -> str:
        """The path."""
        if self._parent is None:
            return "/"
        return self._parent.path.rstrip("/") + "/" + self._name

    @property
    def time(self) -> Any:
        """The time component."""
        return self.td.time

    @property
    def children(self) -> list[OP]:
        """None, for all but COMPs."""
        return []

    @property
    def inputs(self) -> list[OP]:
        """The operators wired into this one."""
        return [end.owner for connector in self.inputConnectors for end in connector.connections]

    @property
    def outputs(self) -> list[OP]:
        """The operators that this one is wired into."""
        return [end.owner for connector in self.outputConnectors for end in connector.connections]

    def parent(self, _levels: int = 1) -> COMP | None:
        """Return the component it lies in."""
        return self._parent

    def pars(self, *_patterns: str) -> list[Par]:
        """Return all parameters."""
        return list(self.par)

    def op(self, path: str) -> OP | None:
        """Return the operator at *path*, relative to this one; `None` where there is none."""
        here: OP | None = self.td.root if path.startswith("/") else self
        for name in path.split("/"):
            if here is None or name in {"", "."}:
                continue
            here = here.parent() if name == ".." else next((c for c in here.children if c.name == name), None)
        return here

    def store(self, key: str, value: Any) -> Any:
        """Keep *value*; it is saved with the operator."""
        self.storage[key] = value
        return value

    def fetch(self, key: str, default: Any = None, search: bool = True) -> Any:
        """Return what was stored."""
        return self.storage.get(key, default)

    def unstore(self, *keys: str) -> None:
        """Forget what was stored."""
        for key in keys:
            self.storage.pop(key, None)

    def cook(self, force: bool = False, recurse: bool = False) -> None:
        """Count it."""
        self.cooks += 1

    def errors(self, recurse: bool = False) -> str:
        """Return none."""
        return ""

    def warnings(self, recurse: bool = False) -> str:
        """Return none."""
        return ""

    def destroy(self) -> None:
        """Delete it, and all in it."""
        if self._parent is None:
            raise TdError("the root cannot be deleted")
        for child in list(self.children):
            child.destroy()
        for connector in (*self.inputConnectors, *self.outputConnectors):
            connector.disconnect()
        self._parent.forget(self)
        self.valid = False
        for par in self.par:
            par.valid = False

    def __bool__(self) -> bool:
        return True


class COMP(OP):
    """A component: contains others, has custom parameters and extensions."""

    def __init__(self, td: Td, kind: OpType, name: str, parent: COMP | None) -> None:
        super().__init__(td, kind, name, parent)
        self._children: list[OP] = []
        self._extension: Any = None

    @property
    def children(self) -> list[OP]:
        """What lies in it."""
        return list(self._children)

    @property
    def ext(self) -> Any:
        """The extension, made when it is first asked for, by the name of its class."""
        if self._extension is None:
            self.initialize()
        return type("Ext", (), {type(self._extension).__name__: self._extension})()

    def initialize(self) -> None:
        """Make the extension anew."""
        if self._extension is not None:
            self._extension.onDestroyTD()
        text = str(self.par.ext0object.eval())
        self._extension = eval(text, self.td.space(self, self)) if text else None  # noqa: S307  # what TouchDesigner does

    def create(self, kind: OpType | str, name: str = "") -> OP:
        """Create an operator; a taken name gets other digits."""
        found = TYPES.get(kind) if isinstance(kind, str) else kind
        if found is None:
            raise TdError(f"there is no operator type {kind}")
        classes: dict[str, type[OP]] = {"COMP": COMP, "CHOP": CHOP, "TOP": TOP, "DAT": DAT}
        wanted = name or re.sub(r"[A-Z]+$", "", found.name) + "1"
        made = classes.get(found.family, OP)(self.td, found, self.free(wanted), self)
        self._children.append(made)
        self.td.ui.undo.record(made.destroy)
        return made

    def free(self, name: str, but: OP | None = None) -> str:
        """Return *name*, with other digits where it is taken (of the stand-in alone)."""
        taken = {child.name for child in self._children if child is not but}
        number = 0
        stem = name.rstrip("0123456789")
        while name in taken:
            number += 1
            name = f"{stem}{number}"
        return name

    def forget(self, child: OP) -> None:
        """Take a child out (of the stand-in alone)."""
        self._children.remove(child)

    def destroy(self) -> None:
        """Delete it; its extension is told."""
        if self._extension is not None:
            self._extension.onDestroyTD()
            self._extension = None
        super().destroy()

    def appendCustomPage(self, name: str) -> Page:
        """Add a page."""
        return Page(self, name)

    def save(self, filepath: str) -> str:
        """Write what this is made of as JSON: a real .tox is TouchDesigner's alone."""

        def told(op: OP) -> dict[str, Any]:
            return {
                "type": op.OPType,
                "name": op.name,
                "storage": sorted(op.storage),
                "text": getattr(op, "text", ""),
                "children": [told(child) for child in op.children],
            }

        Path(filepath).write_text(json.dumps({"stand-in": "not a .tox", **told(self)}), encoding="utf-8")
        return filepath


class Channel:
    """One channel."""

    def __init__(self, owner: CHOP, name: str) -> None:
        self.owner = owner
        self.name = name

    def eval(self, index: int | None = None) -> float:
        """Return the value at the current time."""
        return self.owner.sample(self.name)


class CHOP(OP):
    """Channels that hold a number, or turn with the frames."""

    def __init__(self, td: Td, kind: OpType, name: str, parent: COMP | None) -> None:
        super().__init__(td, kind, name, parent)
        self.held: dict[str, float] = {}
        """Channels with a value of their own (of the stand-in alone)."""

    def chans(self, *_patterns: str) -> list[Channel]:
        """Return the channels."""
        if self.inputs and isinstance(self.inputs[0], CHOP):
            return [Channel(self, channel.name) for channel in self.inputs[0].chans()]
        names = list(self.held) or [str(self.par.const0name.eval()) if self.OPType == "constantCHOP" else "chan1"]
        return [Channel(self, name) for name in names]

    def sample(self, name: str) -> float:
        """Return the value of a channel (of the stand-in alone)."""
        if self.inputs and isinstance(self.inputs[0], CHOP):
            return self.inputs[0].sample(name)
        if name in self.held:
            return self.held[name]
        if self.OPType == "constantCHOP":
            return float(self.par.const0value.eval())
        if self.OPType == "lfoCHOP":
            turn = self.td.absTime.seconds * float(self.par.frequency.eval())
            return math.sin(turn * math.tau) * float(self.par.amp.eval())
        return 0.0


class TOP(OP):
    """A picture."""

    width = WIDTH
    height = HEIGHT

    def saveByteArray(self, filetype: str = ".tiff") -> bytearray:
        """Return the picture; the stand-in writes PNG only."""
        if not filetype.endswith(".png"):
            raise TdError("the stand-in for TouchDesigner writes .png only")
        color = [1.0, 1.0, 1.0, 1.0]
        for index, name in enumerate(("colorr", "colorg", "colorb", "alpha")):
            par = self.par[name]
            color[index] = 1.0 if par is None else float(par.eval())
        return bytearray(png(WIDTH, HEIGHT, (color[0], color[1], color[2], color[3])))


class DAT(OP):
    """A text."""

    def __init__(self, td: Td, kind: OpType, name: str, parent: COMP | None) -> None:
        super().__init__(td, kind, name, parent)
        self._text = ""
        self._module: ModuleType | None = None

    @property
    def text(self) -> str:
        """The text."""
        return self._text

    @text.setter
    def text(self, text: str) -> None:
        before, self._text, self._module = self._text, text, None
        self.td.ui.undo.record(lambda: setattr(self, "_text", before))

    @property
    def module(self) -> Any:
        """The text as a module, which finds all of `td` in its names."""
        if self._module is None:
            made = ModuleType(self.name)
            made.__dict__.update(self.td.space(self, self.parent() or self.td.root))
            exec(compile(self._text, self.path, "exec"), made.__dict__)  # noqa: S102  # what a DAT's module is
            self._module = made
        return self._module
