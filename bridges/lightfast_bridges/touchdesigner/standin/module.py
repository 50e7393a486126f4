"""The module `td` of the stand-in, with one project: a COMP with a few operators, a timeline, an undo stack."""

from __future__ import annotations

import builtins
import itertools
import os
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from lightfast_bridges.touchdesigner.standin.op import COMP, DAT, OP
from lightfast_bridges.touchdesigner.standin.par import Par, ParMode, TdError
from lightfast_bridges.touchdesigner.standin.types import TYPES

LEFT_OUT = (
    "rendering, cooking and its order: a TOP shows a fade of its colour, a CHOP a number or a sine",
    "all but 17 types of operators, and most of their parameters; SOPs, POPs and MATs",
    "sequences, parameter groups, bindings that write back, clones, replicators, panels, private components",
    "undo of a deletion (all else can be undone), and the wording of TouchDesigner's own errors",
    "project files: a save counts up the name, tells the callbacks and writes a file with nothing in it",
    "OSC, MIDI, DMX and all other devices and protocols",
)
"""What the stand-in does not do."""


class Undo:
    """The undo stack: blocks of what takes back."""

    def __init__(self) -> None:
        self.undoStack: list[tuple[str, list[Callable[[], None]]]] = []
        self.blocks = 0
        """How many blocks were begun, for tests."""
        self._open: list[tuple[str, list[Callable[[], None]]]] = []

    def startBlock(self, name: str, enable: bool = True) -> None:
        """Begin a step."""
        self.blocks += 1
        self._open.append((name, []))

    def endBlock(self) -> None:
        """End a step."""
        if not self._open:
            raise TdError("endBlock without startBlock")
        block = self._open.pop()
        if block[1]:
            self.undoStack.append(block)

    def record(self, back: Callable[[], None]) -> None:
        """Note what takes a change back (of the stand-in alone); outside a block nothing is noted."""
        if self._open:
            self._open[-1][1].append(back)

    def undo(self) -> None:
        """Take the last step back."""
        if self.undoStack:
            for back in reversed(self.undoStack.pop()[1]):
                back()

    def redo(self) -> None:
        """Do nothing: the stand-in forgets what was undone."""


class _Finder:
    """`op`: finds by path, relative to an operator."""

    def __init__(self, td: Td, here: OP | None) -> None:
        self._td = td
        self._here = here

    @property
    def TDResources(self) -> OP:
        """What delays refer to."""
        return self._td.root

    def __call__(self, path: Any) -> OP | None:
        """Return the operator at *path*, or `None`."""
        if isinstance(path, OP):
            return path
        return (self._here or self._td.root).op(str(path))


class Project:
    """The open project."""

    def __init__(self, td: Td, folder: str, name: str) -> None:
        self._td = td
        self.folder = folder
        self.name = name
        self.cookRate = 60.0

    def save(self, path: str = "") -> bool:
        """Save, as the next number or as *path*."""
        self._td.callback("projectpresave", "onProjectPreSave")
        if path:
            self.folder, self.name = os.path.split(path)  # as TouchDesigner splits it
        else:
            stem, number = self.name[: -len(".toe")], 0
            if "." in stem and stem.rsplit(".", 1)[1].isdecimal():
                stem, digits = stem.rsplit(".", 1)
                number = int(digits)
            self.name = f"{stem}.{number + 1}.toe"
        (Path(self.folder) / self.name).write_text("a project of the stand-in", encoding="utf-8")
        self._td.callback("projectpostsave", "onProjectPostSave")
        return True


class Td:
    """The module: `op`, `root`, `project`, `app`, `ui`, `absTime`, `ParMode`, `run`, and the types of operators."""

    LIGHTFAST_SIMULATOR = True
    """Read by the component, which then says that it runs in a simulator."""
    ParMode = ParMode
    tdError = TdError

    def __init__(self, folder: str, name: str) -> None:
        self._ids = itertools.count(int.from_bytes(os.urandom(2), "big"))
        self.ui = SimpleNamespace(undo=Undo(), status="")
        self.app = SimpleNamespace(product="stand-in for TouchDesigner", version="099", build="simulator")
        self.absTime = SimpleNamespace(frame=0, seconds=0.0)
        self.time = SimpleNamespace(frame=1.0, seconds=0.0, rate=60.0, play=True, tempo=120.0, start=1.0, end=600.0)
        self.project = Project(self, folder, name)
        self.root = COMP(self, TYPES["baseCOMP"], "", None)
        self.op = _Finder(self, None)
        self._runs: list[tuple[float, str, tuple[Any, ...]]] = []
        self._changed: dict[tuple[int, str], tuple[Par, Any]] = {}
        self._pulses: list[Par] = []
        self.pulses: list[str] = []
        """What was pulsed, as OPERATOR/NAME, for tests."""
        self.problems: list[str] = []
        """What callbacks raised: TouchDesigner would show it on the operator, and go on."""

    def __getattr__(self, name: str) -> Any:
        kind = TYPES.get(name)
        if kind is None:
            raise AttributeError(name)
        return kind

    def next_id(self) -> int:
        """Return an `OP.id` (of the stand-in alone)."""
        return next(self._ids)

    def space(self, me: OP, here: OP) -> dict[str, Any]:
        """Return the names that the text of *me* finds (of the stand-in alone); `import td` there finds this module."""

        def load(name: str, *rest: Any, **more: Any) -> Any:
            return self if name == "td" else builtins.__import__(name, *rest, **more)

        return {
            "__builtins__": {**vars(builtins), "__import__": load},
            "me": me,
            "op": _Finder(self, here),
            "parent": lambda _levels=1: me.parent(),
            "root": self.root,
            "project": self.project,
            "app": self.app,
            "ui": self.ui,
            "absTime": self.absTime,
            "ParMode": ParMode,
            "run": self.run,
        }

    def run(self, script: str, *args: Any, delayMilliSeconds: int = 0, delayRef: Any = None) -> None:
        """Run a script later."""
        self._runs.append((time.monotonic() + delayMilliSeconds / 1000.0, script, args))

    def par_changed(self, par: Par, before: Any) -> None:
        """Note that a parameter changed, for the callbacks of the next frame (of the stand-in alone)."""
        self._changed.setdefault((par.owner.id, par.name), (par, before))

    def pulsed(self, par: Par) -> None:
        """Note a pulse; extensions are made anew at once (of the stand-in alone)."""
        self.pulses.append(f"{par.owner.path}/{par.name}")
        if par.name == "reinitextensions" and isinstance(par.owner, COMP):
            par.owner.initialize()
        else:
            self._pulses.append(par)

    def frame(self, seconds: float = 1.0 / 60.0) -> None:
        """Do what TouchDesigner does in a frame: time goes on, callbacks run (of the stand-in alone)."""
        self.absTime.frame += 1
        self.absTime.seconds += seconds
        if self.time.play:
            ahead = self.time.frame + seconds * self.time.rate
            self.time.frame = ahead if ahead <= self.time.end else self.time.start
        self.callback("framestart", "onFrameStart", self.time.frame)
        changed, self._changed = list(self._changed.values()), {}
        pulses, self._pulses = self._pulses, []
        for dat in self._dats("parameterexecuteDAT"):
            watched = dat.op(str(dat.par.op.eval()))
            for par, before in changed:
                if par.owner is watched and par.isCustom and dat.par.valuechange.eval():
                    self._call(dat, "onValueChange", par, before)
            for par in pulses:
                if par.owner is watched and par.isCustom and dat.par.onpulse.eval():
                    self._call(dat, "onPulse", par)
        self.beat()

    def beat(self) -> None:
        """Run the scripts that are due, as TouchDesigner does with the timeline paused, too (of the stand-in alone)."""
        now = time.monotonic()
        due = [entry for entry in self._runs if entry[0] <= now]
        self._runs = [entry for entry in self._runs if entry[0] > now]
        for _, script, args in due:
            self._guarded(lambda script=script, args=args: exec(script, {"args": args}))  # type: ignore[misc]  # noqa: S102

    def callback(self, switch: str, function: str, *args: Any) -> None:
        """Call *function* of each Execute DAT whose *switch* is on (of the stand-in alone)."""
        for dat in self._dats("executeDAT"):
            par = dat.par[switch]
            if par is not None and par.eval() and dat.par.active.eval():
                self._call(dat, function, *args)

    def close(self) -> None:
        """Do what TouchDesigner does when it ends (of the stand-in alone)."""
        self.callback("exit", "onExit")

    def _call(self, dat: DAT, function: str, *args: Any) -> None:
        self._guarded(lambda: getattr(dat.module, function)(*args))

    def _guarded(self, work: Callable[[], Any]) -> None:
        try:
            work()
        except Exception:  # noqa: BLE001  # a script may raise anything; TouchDesigner goes on
            self.problems.append(traceback.format_exc())

    def _dats(self, kind: str) -> list[DAT]:
        found: list[DAT] = []
        waiting: list[OP] = [self.root]
        while waiting:
            here = waiting.pop()
            if isinstance(here, DAT) and here.OPType == kind:
                found.append(here)
            waiting += here.children
        return found


def make_td(folder: str = "/nowhere", name: str = "NewProject.1.toe", *, empty: bool = False) -> Td:
    """Return a stand-in with a small project, as a new TouchDesigner has one; with nothing in /project1 if *empty*."""
    td = Td(folder, name)
    project = td.root.create("containerCOMP", "project1")
    assert isinstance(project, COMP)  # noqa: S101  # it was made as one
    if empty:
        return td
    project.create("geometryCOMP", "geo1")
    project.create("cameraCOMP", "cam1")
    noise = project.create("noiseTOP", "noise1")
    color = project.create("constantTOP", "constant1")
    level = project.create("levelTOP", "level1")
    out = project.create("nullTOP", "out1")
    level.inputConnectors[0].connect(noise)
    out.inputConnectors[0].connect(level)
    project.create("constantCHOP", "constant2")
    lfo = project.create("lfoCHOP", "lfo1")
    waves = project.create("nullCHOP", "waves")
    waves.inputConnectors[0].connect(lfo)
    project.create("timerCHOP", "timer1")
    project.create("textDAT", "notes")
    color.par.colorg = 0.4
    return td
