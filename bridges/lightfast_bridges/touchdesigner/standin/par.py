"""Parameters of the stand-in: `Par`, `ParCollection`, `Page`, `ParMode`."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightfast_bridges.touchdesigner.standin.op import OP


class ParMode(enum.Enum):
    """How a parameter gets its value."""

    CONSTANT = 0
    EXPRESSION = 1
    EXPORT = 2
    BIND = 3


class TdError(Exception):
    """What `td` raises."""


_TEXTS = {"Str", "StrMenu", "File", "Folder", "Python", "OP", "COMP", "TOP", "CHOP", "DAT"}


class Par:
    """One parameter. Setting `val` makes its mode constant; what happens is told to the project."""

    def __init__(self, owner: OP, name: str, style: str, label: str = "", *, custom: bool = False) -> None:
        self.owner = owner
        self.name = name
        self.style = style
        self.label = label or name
        self.isCustom = custom
        self.valid = True
        self.hidden = False
        self.password = False
        self.readOnly = False
        self.enable = True
        self.help = ""
        self.default: Any = "" if style in _TEXTS else 0.0 if style == "Float" else 0
        self.min: float = 0
        self.max: float = 1
        self.clampMin = False
        self.clampMax = False
        self.normMin: float = 0
        self.normMax: float = 1
        self.menuNames: list[str] | None = [] if style in {"Menu", "StrMenu"} else None
        self.mode = ParMode.CONSTANT
        self.source: Callable[[], Any] | None = None
        """Where an export or a bind has its value from."""
        self._expr = ""
        self._val: Any = self.default
        self.isMenu = style in {"Menu", "StrMenu"}
        self.isPulse = style == "Pulse"
        self.isMomentary = style == "Momentary"
        self.isToggle = style == "Toggle"
        self.isInt = style == "Int"
        self.isFloat = style == "Float"
        self.isNumber = style in {"Int", "Float", "Toggle"}
        self.isOP = style in {"OP", "COMP", "TOP", "CHOP", "DAT"}
        self.isPython = style == "Python"
        self.isString = style in {"Str", "StrMenu", "File", "Folder"}

    @property
    def val(self) -> Any:
        """The constant."""
        return self._val

    @val.setter
    def val(self, value: Any) -> None:
        before, mode = self._val, self.mode
        self._val = self._taken(value)
        self.mode = ParMode.CONSTANT
        if self._val != before or mode is not ParMode.CONSTANT:
            self.owner.td.ui.undo.record(lambda: self._back(before, mode))
            self.owner.td.par_changed(self, before)

    def _back(self, value: Any, mode: ParMode) -> None:
        self._val, self.mode = value, mode

    def _taken(self, value: Any) -> Any:
        if self.isMenu and self.style == "Menu":
            names = self.menuNames or []
            if isinstance(value, int) and 0 <= value < len(names):
                return names[value]
            return value if value in names else self._val
        if self.isToggle or self.isMomentary:
            return bool(value)
        if self.isInt or self.isFloat:
            number = float(value)
            number = max(number, self.min) if self.clampMin else number
            number = min(number, self.max) if self.clampMax else number
            return int(number) if self.isInt else number
        return getattr(value, "path", None) or str(value)

    @property
    def expr(self) -> str:
        """The expression; setting it makes the mode `EXPRESSION`."""
        return self._expr

    @expr.setter
    def expr(self, text: str) -> None:
        self._expr = text
        self.mode = ParMode.EXPRESSION

    def drive(self, source: Callable[[], Any], mode: ParMode = ParMode.EXPORT) -> None:
        """Export to this parameter, or bind it (of the stand-in alone)."""
        self.source, self.mode = source, mode

    def eval(self) -> Any:
        """Return the working value."""
        if self.mode is ParMode.EXPRESSION:
            space = self.owner.td.space(self.owner, self.owner.parent() or self.owner)
            return eval(self._expr, space)  # noqa: S307  # what an expression is; nothing from the link gets here
        if self.mode is not ParMode.CONSTANT and self.source is not None:
            return self.source()
        if self.isOP and self._val:
            return self.owner.op(self._val) or self.owner.td.op(self._val)
        return self._val

    def pulse(self) -> None:
        """Pulse it."""
        self.owner.td.pulsed(self)


class ParCollection:
    """The parameters of an operator, by name."""

    def __init__(self, owner: OP) -> None:
        self.__dict__["owner"] = owner
        self.__dict__["_pars"] = {}

    def __getattr__(self, name: str) -> Par:
        found = self[name]
        if found is None:
            raise AttributeError(f"{self.__dict__['owner'].path} has no parameter {name}")
        return found

    def __setattr__(self, name: str, value: Any) -> None:
        getattr(self, name).val = value

    def __getitem__(self, name: str) -> Par | None:
        found: Par | None = self.__dict__["_pars"].get(name)
        return found

    def __iter__(self) -> Iterator[Par]:
        return iter(list(self.__dict__["_pars"].values()))

    def add(self, par: Par) -> Par:
        """Add one (of the stand-in alone)."""
        self.__dict__["_pars"][par.name] = par
        return par

    def remove(self, name: str) -> None:
        """Take one away (of the stand-in alone)."""
        self.__dict__["_pars"].pop(name).valid = False


class Page:
    """A page of custom parameters."""

    def __init__(self, owner: OP, name: str) -> None:
        self.owner = owner
        self.name = name

    def _append(self, style: str, name: str, label: str) -> list[Par]:
        if not name[:1].isupper() or not name.isalnum() or name[1:] != name[1:].lower():
            raise TdError(f"a custom parameter is called like 'Myname', not {name!r}")
        return [self.owner.par.add(Par(self.owner, name, style, label, custom=True))]

    def appendFloat(self, name: str, label: str = "") -> list[Par]:
        return self._append("Float", name, label)

    def appendInt(self, name: str, label: str = "") -> list[Par]:
        return self._append("Int", name, label)

    def appendToggle(self, name: str, label: str = "") -> list[Par]:
        return self._append("Toggle", name, label)

    def appendStr(self, name: str, label: str = "") -> list[Par]:
        return self._append("Str", name, label)

    def appendFolder(self, name: str, label: str = "") -> list[Par]:
        return self._append("Folder", name, label)

    def appendMenu(self, name: str, label: str = "") -> list[Par]:
        return self._append("Menu", name, label)

    def appendPulse(self, name: str, label: str = "") -> list[Par]:
        return self._append("Pulse", name, label)

    def appendPython(self, name: str, label: str = "") -> list[Par]:
        return self._append("Python", name, label)
